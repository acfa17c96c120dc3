import CMempoolShims
import Testing

@testable import MempoolCore

/// What was wrong with the original, each as a property that must hold here, by its number in Tests/README.md.
@Suite struct CompactPoolTests {
  @Test(
    "C1: every size from 1 to the largest that a region holds succeeds, and beyond", arguments: CompactKind.allCases)
  func everySize(kind: CompactKind) throws {
    let test = try TestCompact(kind)
    let pool = test.pool
    let step = kind.isFile ? 13 : 1
    for size in Array(stride(from: 1, through: Int(pool.largestBlock) + 20, by: step)) + [
      4092, 65_532, 65_536, 1 << 20,
    ] {
      let handle = try #require(pool.allocate(UInt(size)), "\(size) bytes")
      #expect(pool.size(handle) == UInt(size))
      pool.free(handle)
    }
    #expect(pool.totalBytes == 0 && pool.checkInvariants())
  }

  @Test(
    "C1: sizes that cannot be had are refused, and failed calls do not grow the pool", arguments: CompactKind.allCases)
  func refusedSizes(kind: CompactKind) throws {
    let test = try TestCompact(kind) { $0.byteLimit = 4 << 20 }
    let pool = test.pool
    let one = try #require(pool.allocate(100))
    let before = pool.totalBytes
    for size in [0, UInt.max, UInt(Int.max), pool.largest + 1] {
      #expect(pool.allocate(size) == nil && mp_errno_get() == Int32(MP_EINVAL), "\(size) bytes")
    }
    for _ in 0..<1000 {
      #expect(pool.allocate(pool.largest) == nil && mp_errno_get() == Int32(MP_ENOMEM))
    }
    #expect(pool.totalBytes == before)
    // Until the limit, and then no further.
    var handles: [CompactHandle] = []
    while let handle = pool.allocate(4092) { handles.append(handle) }
    #expect(handles.count >= 900 && pool.totalBytes <= 4 << 20)
    let full = pool.totalBytes
    for _ in 0..<1000 { #expect(pool.allocate(4092) == nil) }
    #expect(pool.totalBytes == full)
    for handle in handles { pool.free(handle) }
    pool.free(one)
    #expect(pool.totalBytes == 0 && pool.checkInvariants())
  }

  @Test("C2: an allocation that must not grow the pool really does not", arguments: CompactKind.allCases)
  func noGrowth(kind: CompactKind) throws {
    let test = try TestCompact(kind)
    let pool = test.pool
    #expect(pool.allocate(10, grows: false) == nil && pool.totalBytes == 0 && test.runBytes == 0)
    let seed = SplitMix64.seed("noGrowth(\(kind))")
    var model = CompactModel(pool, seed: seed)
    for _ in 0..<2000 { _ = try model.take(model.size()) }
    for _ in 0..<1000 { try model.freeAny() }
    let before = pool.totalBytes, records = pool.statistics().metadataBytes
    var taken = 0
    for _ in 0..<3000 where try model.take(1 + model.random.below(4092), grows: false) { taken += 1 }
    #expect(pool.totalBytes == before && taken > 100, "seed \(seed): \(taken) objects")
    #expect(pool.statistics().metadataBytes == records, "seed \(seed): records came")
    try model.freeAll()
    #expect(pool.totalBytes == 0 && pool.checkInvariants())
  }

  @Test("C2: what was freed is there for an allocation that must not grow the pool", arguments: CompactKind.allCases)
  func noGrowthIntoTheReserve(kind: CompactKind) throws {
    // Of a page that was given back, only the system can say whether there is one again.
    let test = try TestCompact(kind) { $0.reservePages = 1 << 20 }
    let pool = test.pool
    let seed = SplitMix64.seed("noGrowthIntoTheReserve(\(kind))")
    var model = CompactModel(pool, seed: seed)
    for _ in 0..<2000 { _ = try model.take(1 + model.random.below(20_000)) }
    for _ in 0..<1000 { try model.freeAny() }
    for _ in 0..<300 {
      let size = model.live[0].byteCount
      try model.free(0)
      #expect(try model.take(size, grows: false), "seed \(seed): \(size) bytes")
    }
    try model.freeAll()
    pool.trim()
    #expect(pool.totalBytes == 0 && pool.checkInvariants())
  }

  @Test("C5: destroying a pool gives all of its memory back, live objects or not", arguments: CompactKind.allCases)
  func destroyReturnsEverything(kind: CompactKind) throws {
    var memoryOptions = PoolOptions()
    memoryOptions.backing = .elastic(reserve: 1 << 30)
    let memory = try MemoryPoolPointer.create(memoryOptions)
    defer { memory.destroy() }
    let segment = memory.pointee.first
    for round in 0..<3 {
      let pool = try CompactPoolPointer.create(kind.options, in: memory)
      for size in 1...2000 { _ = try #require(pool.allocate(UInt(size * 3))) }
      _ = try #require(pool.allocate(1 << 20))
      #expect(pool.checkInvariants() && pool.totalBytes > 6_000_000)
      pool.destroy()
      #expect(memory.statistics().runBytes == 0, "round \(round)")
      #expect(
        memory.checkInvariants()
          && segment.arena.checkInvariants(
            byteCount: segment.arena.usedBytes.loadRelaxed() + segment.arena.idleBytes.loadRelaxed()
              + segment.arena.pointee.limit - segment.arena.pointee.next, from: segment.pointee.start,
            to: segment.pointee.start + segment.pointee.byteCount)
      )
    }
  }

  @Test("C5: or ends the process, if that was asked for")
  func destroyRefuses() async {
    await #expect(processExitsWith: .signal(6)) {
      var options = CompactOptions()
      options.refusesLiveObjects = true
      let pool = try CompactPoolPointer.create(options)
      _ = pool.allocate(10)
      pool.destroy()
    }
    await #expect(processExitsWith: .success) {
      var options = CompactOptions()
      options.refusesLiveObjects = true
      let pool = try CompactPoolPointer.create(options)
      pool.free(pool.allocate(10)!)
      pool.destroy()
    }
  }

  /// In which order three neighbours are freed before the middle one is freed again.
  static let orders = [[1], [0, 1], [1, 0], [1, 2], [2, 1], [0, 2, 1], [1, 0, 2], [2, 1, 0], [0, 1, 2]]

  @Test(
    "C6: a double free is always detected, also after joining on both sides",
    arguments: [CompactKind.plain, .movable, .file])
  func doubleFree(kind: CompactKind) async {
    for (index, _) in Self.orders.enumerated() {
      await #expect(processExitsWith: .signal(6)) { [kind = kind.rawValue as String, index = index as Int] in
        let pool = try CompactPoolPointer.create(CompactKind(rawValue: kind)!.options)
        let all = (0..<5).map { pool.allocate(UInt(50 + $0))! }
        for neighbour in CompactPoolTests.orders[index] { pool.free(all[1 + neighbour]) }
        pool.free(all[2])
      }
    }
  }

  @Test("C7: sizes of every list succeed, those that are the last of a word among them")
  func everyList() throws {
    let test = try TestCompact()
    let pool = test.pool
    var handles: [CompactHandle] = []
    for list in 0..<SegregatedFit.list(CompactRegion.unitCount) {
      // The smallest size of the list.
      let units = list < 128 ? UInt(list) : (UInt(list) & 63 + 64) << (UInt(list) >> 6 - 1)
      guard units > 2 else { continue }
      let size = min(units * 4 - 4, pool.largestBlock)
      let handle = try #require(pool.allocate(size), "\(size) bytes")
      #expect(pool.size(handle) == size)
      handles.append(handle)
    }
    for handle in handles.shuffled() { pool.free(handle) }
    #expect(pool.totalBytes == 0 && pool.checkInvariants())
  }

  @Test(
    "C8: small objects freed alone between live ones are used again by others of their size",
    arguments: CompactKind.allCases)
  func smallHoles(kind: CompactKind) throws {
    let test = try TestCompact(kind)
    let pool = test.pool
    for size in UInt(1)...40 {
      let all = (0..<2000).map { _ in pool.allocate(size)! }
      for index in stride(from: 0, to: 2000, by: 2) { pool.free(all[index]) }
      let before = pool.totalBytes
      let again = (0..<1000).map { _ in pool.allocate(size)! }
      #expect(pool.totalBytes == before, "\(size) bytes")
      for handle in again { pool.free(handle) }
      for index in stride(from: 1, to: 2000, by: 2) { pool.free(all[index]) }
      #expect(pool.totalBytes == 0)
    }
    #expect(pool.checkInvariants())
  }

  @Test("C9: a hole of exactly the size that is asked for is found")
  func exactHoles() throws {
    let test = try TestCompact()
    let pool = test.pool
    var found = 0, tried = 0
    for size in stride(from: UInt(8), to: 20_000, by: 77) {
      let all = (0..<3).map { _ in pool.allocate(size)! }
      pool.free(all[1])
      let again = try #require(pool.allocate(size))
      tried += 1
      if again == all[1] { found += 1 }
      for handle in [all[0], again, all[2]] { pool.free(handle) }
    }
    #expect(found == tried)
  }

  @Test("C10: a reserve of empty pages: an object that comes and goes at a page's boundary costs the system nothing")
  func reserve() throws {
    let test = try TestCompact(.plain) { $0.reservePages = 4 }
    let pool = test.pool
    let base = pool.allocate(4000)!
    pool.free(pool.allocate(9000)!)
    var before = mp_system_counters(), after = mp_system_counters()
    for _ in 0..<3 {
      let kept = pool.totalBytes
      mp_system_counters_read(&before)
      for _ in 0..<1000 { pool.free(pool.allocate(9000)!) }
      mp_system_counters_read(&after)
      // Other tests run beside this one: a call of this loop's would be a thousand.
      #expect(after.purge - before.purge < 1000 && pool.totalBytes == kept)
    }
    pool.free(base)
    #expect(pool.totalBytes > 0 && pool.totalBytes <= 4 * pool.pageByteCount, "kept also without an object")
    #expect(pool.statistics().idleBytes == pool.totalBytes)
    #expect(pool.checkInvariants())
    pool.trim()
    #expect(pool.totalBytes == 0 && test.runBytes == 0 && pool.checkInvariants())
  }

  @Test("C10: none, and by default none when there is no object; what is kept never raises the peak")
  func noReserve() throws {
    let seed = SplitMix64.seed("noReserve")
    for reserve in [0, 4, nil] as [UInt?] {
      let test = try TestCompact(.plain) { $0.reservePages = reserve }
      let pool = test.pool
      var model = CompactModel(pool, seed: seed)
      var peakInUse: UInt = 0
      for _ in 0..<20_000 {
        if model.random.below(2) == 0 { _ = try model.take(1 + model.random.below(4092)) } else { try model.freeAny() }
        let now = pool.pageCounts()
        if reserve == 0 { #expect(now.idle == 0) }
        #expect(now.idle <= 4)
        peakInUse = max(peakInUse, now.held - now.idle)
        #expect(now.held <= peakInUse)
      }
      try model.freeAll()
      if reserve != 4 { #expect(pool.totalBytes == 0 && test.runBytes == 0) }
      #expect(pool.checkInvariants())
    }
  }

  @Test("C11: objects are aligned as the pool's options say", arguments: [UInt(4), 8, 16])
  func alignment(alignment: UInt) throws {
    for isFile in [false, true] {
      let test = try TestCompact {
        $0.alignment = alignment
        if isFile { $0.backing = .file(window: 0) }
      }
      let pool = test.pool
      for size in [1, 3, 4, 5, 8, 12, 13, 100, 4092, 30_000, 65_000, 70_000, 300_000] as [UInt] {
        for _ in 0..<20 {
          let (start, byteCount) = try #require(pool.map(pool.allocate(size)!))
          #expect(UInt(bitPattern: start) % alignment == 0 && byteCount == size)
        }
      }
      #expect(pool.checkInvariants())
    }
    #expect(throws: PoolError.invalidArgument) { try TestCompact { $0.alignment = 32 } }
  }

  @Test("C12: objects of half a page to a page, and to four, leave no more than a fourteenth of the memory unused")
  func largeObjects() throws {
    for size in stride(from: UInt(2049), through: 16_384, by: 311) {
      let test = try TestCompact()
      let pool = test.pool
      for _ in 0..<300 { _ = pool.allocate(size) }
      let used = Double(size * 300) / Double(pool.totalBytes)
      // Of a region of 64 KiB the end may be too short for another one: then it is not touched, but for its first page's rest.
      #expect(used > 13.0 / 14, "\(size) bytes: \(used)")
    }
  }

  @Test("C13: statistics tell how much of the memory is used; compaction gives back what lies between objects")
  func utilisation() throws {
    let seed = SplitMix64.seed("utilisation")
    for kind in [CompactKind.movable, .movableFile] {
      let test = try TestCompact(kind)
      let pool = test.pool
      var model = CompactModel(pool, seed: seed)
      for _ in 0..<4000 { _ = try model.take(1 + model.random.below(4092)) }
      for _ in 0..<3000 { try model.freeAny() }
      let before = pool.statistics()
      #expect(before.liveObjects == 1000 && before.liveBytes == UInt(model.liveBytes))
      let returned = pool.compact()
      let after = pool.statistics()
      #expect(before.totalBytes - after.totalBytes == returned && after.liveBytes == before.liveBytes)
      // 8 bytes an object, and the rest of each region's last page.
      #expect(Double(after.totalBytes) < Double(after.liveBytes) * 1.16, "seed \(seed): \(after)")
      #expect(Double(before.totalBytes) > Double(before.liveBytes) * 1.5, "seed \(seed): \(before)")
      #expect(pool.checkInvariants())
      for object in model.live { try model.check(object) }
      try model.freeAll()
      #expect(pool.totalBytes == 0 && pool.checkInvariants())
    }
  }
}
