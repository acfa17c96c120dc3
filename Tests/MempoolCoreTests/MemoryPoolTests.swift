import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

@Suite struct MemoryPoolTests {
  private func address(_ pointer: UnsafeMutableRawPointer?) -> UInt { UInt(bitPattern: pointer) }

  // MARK: Against a shadow

  /// Random calls of every kind and size, every block's content checked whenever it is touched; at the end everything is
  /// free, and the pool is as good as new.
  @Test(arguments: PoolKind.allCases)
  func randomOperations(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    var model = PoolModel(pool, kind, seed: SplitMix64.seed("MemoryPool, \(kind)"))
    for _ in 0..<6 {
      try model.run(steps: 4_000)
      try model.checkDisjoint()
      #expect(pool.checkInvariants())
      let statistics = pool.statistics()
      #expect(statistics.brokenInvariant(isQuiescent: true) == nil)
      if !kind.isDense, kind != .passThrough { #expect(statistics.allocatedBytes == model.usableBytes) }
    }
    try model.finish()
    #expect(pool.checkInvariants())
    #expect(pool.statistics().allocatedBytes == 0)
    #expect(test.isFenceIntact)
    if kind != .passThrough {
      pool.purge()
      #expect(pool.statistics().activeBytes == pool.pointee.first.arenaPageBytes, "only the arena's own pages are left")
      #expect(pool.checkInvariants())
    }
  }

  // MARK: Sizes and alignments

  /// Whatever is asked for is aligned to 16, or to 8 below 16 bytes; and every alignment up to 4 MiB is served.
  @Test("T10: results are aligned to 16, and on request to whatever is asked for", arguments: PoolKind.allCases)
  func alignments(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    for byteCount in Array(0...600) + [1000, 2047, 2048, 3840, 3841, 4096, 10_000, 16_384, 70_000, 1 << 20] {
      let pointer = try #require(pool.allocate(UInt(byteCount)))
      try demand(
        address(pointer) % (byteCount >= 16 ? 16 : byteCount >= 8 || !kind.isDense ? 8 : 4) == 0, "\(byteCount) bytes")
      pool.deallocate(pointer)
    }
    var alignment: UInt = 1
    while alignment <= 4 << 20 {
      for byteCount in [UInt(0), 1, 8, 24, 100, 500, 2000, 3840, 5000, 16_384, 100_000, 1_000_000, 3_000_000] {
        let pointer = try #require(
          pool.allocateAligned(byteCount, alignment: alignment), "\(byteCount) aligned to \(alignment)")
        try demand(address(pointer) % alignment == 0, "\(byteCount) aligned to \(alignment): \(pointer)")
        try demand(pool.usableSize(of: pointer) >= byteCount, "\(byteCount) aligned to \(alignment)")
        pointer.initializeMemory(as: UInt8.self, repeating: 1, count: Int(byteCount))
        pool.deallocate(pointer)
      }
      alignment *= 2
    }
    #expect(pool.checkInvariants())
    #expect(test.isFenceIntact)
  }

  @Test(
    "T9: the usable size is at least what was asked for, and every byte of it can be written without touching neighbours",
    arguments: [PoolKind.elastic, .fixed, .buffer, .dense])
  func usableSizeIsUsable(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    for byteCount in Array(1...200) + Array(stride(from: 201, to: 9000, by: 37)) + [16_383, 16_384, 16_385, 65_536] {
      let pointers = try (0..<4).map { _ in try #require(pool.allocate(UInt(byteCount))) }
      for (tag, pointer) in pointers.enumerated() {
        let usable = Int(pool.usableSize(of: pointer))
        try demand(usable >= byteCount, "\(byteCount) bytes")
        Pattern.fill(pointer, usable, UInt64(tag))
      }
      for (tag, pointer) in pointers.enumerated() {
        try demand(Pattern.isIntact(pointer, Int(pool.usableSize(of: pointer)), UInt64(tag)), "\(byteCount) bytes")
        pool.deallocate(pointer)
      }
    }
    #expect(pool.usableSize(of: nil) == 0)
    #expect(pool.checkInvariants())
  }

  @Test("T12: results of zero size are distinct, and can be freed and resized", arguments: PoolKind.allCases)
  func zeroBytes(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    var pointers = try (0..<100).map { index in
      switch index % 4 {
      case 0: try #require(pool.allocate(0))
      case 1: try #require(pool.allocateZeroed(count: 0, byteCount: 100))
      case 2: try #require(pool.allocateZeroed(count: 100, byteCount: 0))
      default: try #require(pool.allocateAligned(0, alignment: 64))
      }
    }
    #expect(Set(pointers.map { address($0) }).count == 100)
    for index in pointers.indices {
      pointers[index] = try #require(pool.reallocate(pointers[index], UInt(index % 3) * 50), "not null, at any size")
    }
    #expect(Set(pointers.map { address($0) }).count == 100)
    for pointer in pointers { pool.deallocate(pointer) }
    #expect(pool.statistics().allocatedBytes == 0)
  }

  /// Sizes that overflow, or that no memory can have: ENOMEM, and nothing has changed.
  @Test(arguments: PoolKind.allCases)
  func absurdSizes(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    let kept = try #require(pool.allocate(100))
    Pattern.fill(kept, 100, 1)
    let sizes: [UInt] = [
      .max, .max - 15, .max - 4095, UInt(Int.max) + 1, UInt(Int.max), UInt(Int.max) - 4096, 1 << 62, 1 << 50,
    ]
    func refused(_ what: String, _ pointer: UnsafeMutableRawPointer?) throws {
      try demand(pointer == nil, "\(what) was served")
      try demand(mp_errno_get() == Int32(MP_ENOMEM), "\(what): errno \(mp_errno_get())")
      mp_errno_set(0)
    }
    for size in sizes {
      try refused("allocate(\(size))", pool.allocate(size))
      try refused("allocateZeroed(1, \(size))", pool.allocateZeroed(count: 1, byteCount: size))
      try refused("allocateZeroed(\(size), 3)", pool.allocateZeroed(count: size, byteCount: 3))
      try refused("allocateAligned(\(size), 64)", pool.allocateAligned(size, alignment: 64))
      try refused("allocateAligned(\(size), 1 MiB)", pool.allocateAligned(size, alignment: 1 << 20))
      try refused("reallocate(\(size))", pool.reallocate(kept, size))
    }
    try refused("2^32 * 2^32", pool.allocateZeroed(count: 1 << 32, byteCount: 1 << 32))
    for shift in [48, 60, 62, 63] {
      try refused("aligned to 2^\(shift)", pool.allocateAligned(8, alignment: 1 << UInt(shift)))
    }
    #expect(Pattern.isIntact(kept, 100, 1))
    pool.deallocate(kept)
    #expect(pool.checkInvariants())
  }

  // MARK: Reallocation

  @Test(
    "T8: no growth over 10^5 reallocations that change nothing, and the content stays", arguments: PoolKind.allCases)
  func reallocationThatChangesNothing(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    for byteCount in [UInt(1), 100, 3000, 5000, 40_000, 900_000, 3 << 20] {
      var pointer = try #require(pool.reallocate(nil, byteCount))
      Pattern.fill(pointer, Int(byteCount), UInt64(byteCount))
      let before = pool.statistics()
      for _ in 0..<15_000 { pointer = try #require(pool.reallocate(pointer, byteCount)) }
      let after = pool.statistics()
      #expect(after.allocatedBytes == before.allocatedBytes && after.committedBytes == before.committedBytes)
      #expect(Pattern.isIntact(pointer, Int(byteCount), UInt64(byteCount)))
      pool.deallocate(pointer)
    }
    #expect(pool.checkInvariants())
  }

  @Test("T13: nil is nothing to free, of no size; reallocating it allocates", arguments: PoolKind.allCases)
  func nilIsNoObject(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    let before = pool.statistics()
    pool.deallocate(nil)
    #expect(pool.usableSize(of: nil) == 0)
    #expect(pool.statistics().allocatedBytes == before.allocatedBytes)
    for byteCount in [UInt(0), 1, 300, 5_000, 70_000, 2 << 20] {
      let pointer = try #require(pool.reallocate(nil, byteCount))
      try demand(pool.usableSize(of: pointer) >= byteCount, "\(byteCount) bytes")
      Pattern.fill(pointer, Int(byteCount), UInt64(byteCount))
      #expect(Pattern.isIntact(pointer, Int(byteCount), UInt64(byteCount)))
      pool.deallocate(pointer)
    }
    #expect(pool.checkInvariants())
  }

  /// What is made much smaller moves, so that the rest can be used.
  @Test(arguments: [PoolKind.elastic, .fixed, .dense, .crowded])
  func neverShrinksInPlaceBelowHalf(kind: PoolKind) throws {
    var random = SplitMix64(seed: SplitMix64.seed("neverShrinksInPlaceBelowHalf"))
    let test = try TestPool(kind)
    let pool = test.pool
    for _ in 0..<2_000 {
      let byteCount = UInt(1 + random.below(random.below(20) == 0 ? 3 << 20 : 30_000))
      let pointer = try #require(pool.allocate(byteCount))
      Pattern.fill(pointer, Int(byteCount), 7)
      let usable = pool.usableSize(of: pointer)
      let wanted = UInt(random.below(Int(byteCount)))
      let smaller = try #require(pool.reallocate(pointer, wanted))
      let left = pool.usableSize(of: smaller)
      // 16 bytes and the page of the system's are as small as it gets.
      let least: UInt = byteCount > 1 << 20 && wanted > 1 << 20 ? 4096 : 16
      try demand(left <= 2 * wanted + least || smaller != pointer, "\(byteCount) (\(usable)) to \(wanted) left \(left)")
      try demand(
        Pattern.isIntact(smaller, Int(wanted), filled: Int(byteCount), 7), "\(byteCount) to \(wanted): content")
      pool.deallocate(smaller)
    }
  }

  /// A run grows into the free fragments behind it, a span by the system's means; an item into what it was rounded up to.
  @Test func growsInPlaceWhereItCan() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    let run = try #require(pool.allocate(40_000))
    #expect(pool.reallocate(run, 49_000) == run, "the rest of the page is free")
    #expect(pool.usableSize(of: run) >= 49_000)
    let item = try #require(pool.allocate(33))
    #expect(pool.reallocate(item, 48) == item)
    let span = try #require(pool.allocate(33 << 20))
    Pattern.fill(span, 33 << 20, 3)
    let calls = pool.statistics().spanCount
    let grown = try #require(pool.reallocate(span, 80 << 20))
    #expect(Pattern.isIntact(grown, 33 << 20, 3))
    #expect(Pattern.isZero(grown + 33 << 20, 47 << 20), "moved by the system, not copied to dirty memory")
    #expect(pool.statistics().spanCount == calls)
    pool.deallocate(grown)
    pool.deallocate(run)
    pool.deallocate(item)
    #expect(pool.statistics().allocatedBytes == 0)
  }

  // MARK: Packing

  @Test("T11: k objects use the slabs that they fill, and no more")
  func objectsFillTheirSlabs() throws {
    for sizeClass in [0, 1, 6, 12, 20, 30, 40, 47] {
      let test = try TestPool(.elastic)
      let pool = test.pool, size = SizeClass.itemSize(sizeClass)
      var count: UInt = 0
      for _ in 0..<5_000 {
        _ = try #require(pool.allocate(size))
        count += 1
        let row = pool.pointee.first.pageCount.loadRelaxed()  // a walk for each would take too long
        if count % 100 != 1 || row == 0 { continue }
        // The first are in slabs that neighbouring classes share.
        let figures = Set([sizeClass, SizeClass.shared(sizeClass)]).map { pool.statistics().classes[$0] }
        let live = figures.reduce(0) { $0 + $1.liveItems }, capacity = figures.reduce(0) { $0 + $1.capacity }
        try demand(live == count, "\(live) of \(count) items of \(size)")
        // Slabs are one, two, then four pages: at most the newest is not full.
        try demand(capacity < count + 4 * Page.byteCount / size, "\(capacity) items of \(size) for \(count)")
      }
    }
  }

  /// Slabs that empty go back: after a burst, what another class or a long run needs is there.
  @Test func emptySlabsServeOtherSizes() throws {
    let test = try TestPool(.fixed)
    let pool = test.pool
    // What part of 32 MiB must be had as objects of that size: items of 16 bytes have links of 2, runs of 79 fragments leave
    // what they do not need of their second page to shorter ones, and what the arena once took it keeps.
    let parts: [(UInt, UInt)] = [
      (16, 75), (100, 70), (1_000, 75), (3_000, 70), (20_000, 50), (200_000, 65), (4 << 20, 60),
    ]
    for (byteCount, percent) in parts {
      var pointers: [UnsafeMutableRawPointer] = []
      while let pointer = pool.allocate(byteCount) { pointers.append(pointer) }
      let bytes = UInt(pointers.count) * byteCount
      #expect(bytes * 100 > UInt(PoolKind.byteCount) * percent, "\(bytes) bytes in objects of \(byteCount)")
      for pointer in pointers { pool.deallocate(pointer) }
      #expect(pool.checkInvariants())
    }
  }

  // MARK: Exhaustion

  @Test(
    "T15: exhaustion is a value; one back, one more, again and again",
    arguments: [PoolKind.fixed, .buffer, .denseFixed])
  func fillFailFreeOneSucceed(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    for byteCount in [UInt(64), 1000, 3840, 6000, 30_000, 500_000] {
      var pointers: [UnsafeMutableRawPointer] = []
      while let pointer = pool.allocate(byteCount) { pointers.append(pointer) }
      try #require(pointers.count > 20, "\(pointers.count) objects of \(byteCount) bytes")
      for round in 0..<20 {
        mp_errno_set(0)
        try demand(
          pool.allocate(byteCount) == nil && mp_errno_get() == Int32(MP_ENOMEM),
          "round \(round) of \(byteCount) bytes: not full")
        pool.deallocate(pointers.removeLast())
        let again = try #require(pool.allocate(byteCount), "\(byteCount) bytes were just freed")
        pointers.append(again)
      }
      #expect(pool.statistics().exhaustions >= 20)
      for pointer in pointers { pool.deallocate(pointer) }
      #expect(pool.statistics().allocatedBytes == 0)
    }
    #expect(pool.checkInvariants())
    #expect(test.isFenceIntact)
  }

  /// A full pool sleeps as often as its own settings say before it refuses a long run; and a short one without sleeping.
  @Test(arguments: [UInt(0), 1, 5])
  func sleepsBeforeItRefuses(maxRetries: UInt) throws {
    let test = try TestPool(.fixed) { options in
      options.maxRetries = maxRetries
      options.waitNanoseconds = 1
    }
    let pool = test.pool, wait = pool.pointee.first.wait
    while pool.allocate(200_000) != nil {}
    while pool.allocate(10_000) != nil {}
    for _ in 0..<4 {
      let before = wait.sleeps
      #expect(pool.allocate(200_000) == nil)
      #expect(wait.sleeps - before == maxRetries)
      let short = wait.sleeps
      #expect(pool.allocate(10_000) == nil)
      #expect(wait.sleeps == short)
    }
    #expect(wait.waitNanoseconds == 1)
  }

  /// What does not fit goes to the system's allocator, is counted, and goes back there; alignment and zeroes included.
  @Test func fallingBackToTheSystem() throws {
    let test = try TestPool(.fixed) { options in
      options.backing = .fixed(size: 1 << 20, locked: false, prefault: false)
      options.exhaustion = .system
    }
    let pool = test.pool
    var pointers: [UnsafeMutableRawPointer] = []
    while pool.statistics().fallbackCount < 50 {
      pointers.append(try #require(pool.allocate(5_000)))
      Pattern.fill(pointers.last!, 5_000, UInt64(pointers.count))
    }
    for alignment in [UInt(64), 4096, 1 << 16] {
      let aligned = try #require(pool.allocateAligned(2 << 20, alignment: alignment))
      #expect(address(aligned) % alignment == 0, "aligned to \(alignment)")
      pool.deallocate(aligned)
    }
    let zeroed = try #require(pool.allocateZeroed(count: 2, byteCount: 1 << 20))
    #expect(Pattern.isZero(zeroed, 2 << 20))
    #expect(pool.usableSize(of: zeroed) >= 2 << 20)
    let larger = try #require(pool.reallocate(zeroed, 3 << 20))
    #expect(Pattern.isZero(larger, 2 << 20))
    pool.deallocate(larger)
    for (index, pointer) in pointers.enumerated() {
      try demand(Pattern.isIntact(pointer, 5_000, UInt64(index + 1)), "block \(index)")
    }
    #expect(pool.statistics().fallbackLiveCount == 50)
    for pointer in pointers { pool.deallocate(pointer) }
    let statistics = pool.statistics()
    #expect(statistics.fallbackLiveCount == 0 && statistics.fallbackCount >= 54)
    #expect(statistics.allocatedBytes == 0)
    #expect(pool.checkInvariants())
  }

  /// An elastic pool that is full takes a further reservation; its objects are found wherever they are.
  @Test func furtherReservations() throws {
    let test = try TestPool(.crowded)
    let pool = test.pool
    var pointers: [UnsafeMutableRawPointer] = []
    for index in 0..<3_000 {
      let byteCount = [100, 3_000, 20_000, 700_000][index % 100 == 0 ? 3 : index % 3]
      pointers.append(try #require(pool.allocate(UInt(byteCount))))
      Pattern.fill(pointers.last!, byteCount, UInt64(index))
    }
    var segments = 0
    pool.segments.first { _ in
      segments += 1
      return false
    }
    #expect(segments > 10)
    #expect(pool.statistics().limitHits >= UInt(segments) - 1)
    for (index, pointer) in pointers.enumerated() {
      let byteCount = [100, 3_000, 20_000, 700_000][index % 100 == 0 ? 3 : index % 3]
      try demand(pool.owns(pointer) && pool.owns(pointer + byteCount - 1), "block \(index)")
      try demand(Pattern.isIntact(pointer, byteCount, UInt64(index)), "block \(index)")
      pool.deallocate(pointer)
    }
    #expect(pool.statistics().allocatedBytes == 0)
    #expect(pool.checkInvariants())
  }

  // MARK: Lives of pools

  @Test(arguments: PoolKind.allCases)
  func destroyedWithEverythingInIt(kind: PoolKind) throws {
    let before = mappedByteCount()
    for round in 0..<30 {
      let test = try TestPool(kind) { options in
        if case .elastic = options.backing { options.backing = .elastic(reserve: 64 << 20) }
      }
      for size in [UInt(10), 1_000, 10_000, 300_000, 2 << 20] where kind != .passThrough {
        let pointer = try #require(test.pool.allocate(size), "round \(round)")
        pointer.storeBytes(of: 1, as: UInt8.self)
      }
    }
    // Other tests map and unmap at the same time: thirty of these would not go unnoticed.
    let grown = mappedByteCount() - before
    if kind.isElastic { #expect(grown < 30 * 64 << 20, "\(grown) bytes of address space stayed") }
  }

  private func mappedByteCount() -> Int {
    let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    return (text.split(separator: " ").first.flatMap { Int($0) } ?? 0) * Int(mp_system_page_size())
  }

  /// Pools of many kinds at once: each knows its own memory and nobody else's.
  @Test func eachKnowsItsOwn() throws {
    let tests = try [PoolKind.elastic, .crowded, .fixed, .buffer, .dense, .elastic, .fixed].map { try TestPool($0) }
    var owned: [(Int, UnsafeMutableRawPointer)] = []
    for size in [UInt(1), 200, 3_000, 9_000, 100_000, 2 << 20] {
      for (index, test) in tests.enumerated() { owned.append((index, try #require(test.pool.allocate(size)))) }
    }
    for (owner, pointer) in owned {
      for (index, test) in tests.enumerated() {
        try demand(test.pool.owns(pointer) == (index == owner), "pool \(index) and memory of pool \(owner)")
      }
      try demand(!MemoryPoolPointer.shared.owns(pointer), "the shared pool and memory of pool \(owner)")
    }
    var local = 0
    withUnsafePointer(to: &local) { for test in tests { #expect(!test.pool.owns($0)) } }
    for address in [1, 8, 1 << 40, 1 << 47, 1 << 48, UInt.max - 7] as [UInt] {
      for test in tests { #expect(!test.pool.owns(UnsafeRawPointer(bitPattern: address)!)) }
    }
    for (owner, pointer) in owned { tests[owner].pool.deallocate(pointer) }
    for test in tests { #expect(test.pool.statistics().allocatedBytes == 0) }
  }

  // MARK: The caller's memory

  /// However small or odd the memory is: a pool that works, or invalidArgument; and nothing around it is touched.
  @Test func buffersOfEverySize() throws {
    let size = 400_000
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    defer { memory.deallocate() }
    var random = SplitMix64(seed: SplitMix64.seed("buffersOfEverySize"))
    var smallest = Int.max
    for step in 0..<200 {
      let lead = 1 + random.below(5_000)
      let count = step < 60 ? step * step : random.below(size - lead)
      memory.initializeMemory(as: UInt8.self, repeating: 0x99, count: size)
      var options = PoolOptions()
      options.backing = .buffer(start: UInt(bitPattern: memory) + UInt(lead), count: count)
      do throws(PoolError) {
        let pool = try MemoryPoolPointer.create(options)
        smallest = min(smallest, count)
        var pointers: [UnsafeMutableRawPointer] = []
        while let pointer = pool.allocate(UInt(1 + random.below(2_000))) {
          pointer.initializeMemory(as: UInt8.self, repeating: 1, count: Int(pool.usableSize(of: pointer)))
          pointers.append(pointer)
        }
        if pointers.isEmpty { Issue.record("a pool of \(count) bytes that holds nothing") }
        for pointer in pointers { pool.deallocate(pointer) }
        if !pool.checkInvariants() { Issue.record("\(count) bytes at +\(lead)") }
        pool.destroy()
      } catch {
        if error != .invalidArgument || count >= 6 * Int(Page.byteCount) { Issue.record("\(count) bytes: \(error)") }
      }
      for offset in 0..<size where offset < lead || offset >= lead + count {
        try demand(
          memory.load(fromByteOffset: offset, as: UInt8.self) == 0x99, "\(count) bytes at +\(lead): wrote at \(offset)")
      }
    }
    print("the smallest buffer that a pool was made in: \(smallest) bytes")
  }

  /// On the stack: gone with the function, without a word to anybody.
  @Test func aPoolOnTheStack() throws {
    try withUnsafeTemporaryAllocation(byteCount: 200_000, alignment: 16) { memory in
      var options = PoolOptions()
      options.backing = .buffer(start: UInt(bitPattern: memory.baseAddress!), count: memory.count)
      let pool = try MemoryPoolPointer.create(options)
      var model = PoolModel(pool, .buffer, seed: SplitMix64.seed("aPoolOnTheStack"))
      model.mostBytes = 100_000
      try model.run(steps: 5_000)
      try model.finish()
      #expect(pool.statistics().allocatedBytes == 0)
      pool.destroy()
    }
  }

  @Test func sizesThatNoPoolCanHave() {
    let backings: [PoolOptions.Backing] = [
      .elastic(reserve: -1), .fixed(size: 0, locked: false, prefault: false),
      .fixed(size: -5, locked: false, prefault: false), .fixed(size: 100, locked: false, prefault: false),
      .buffer(start: 0, count: 1 << 20), .buffer(start: 1 << 20, count: 0), .buffer(start: 1 << 20, count: -1),
      .buffer(start: .max - 100, count: 1 << 20),
    ]
    for backing in backings {
      var options = PoolOptions()
      options.backing = backing
      #expect(throws: PoolError.invalidArgument, "\(backing)") { try MemoryPoolPointer.create(options) }
    }
    var options = PoolOptions()
    options.backing = .fixed(size: .max - 100_000, locked: false, prefault: false)
    #expect(throws: PoolError.reservationFailed(errno: Int32(MP_ENOMEM))) { try MemoryPoolPointer.create(options) }
  }

  /// Locked where that is allowed, an error that says so where it is not; never silently unlocked.
  @Test("T17: memory is locked where that is allowed, and an error where it is not")
  func lockedMemory() throws {
    var options = PoolOptions()
    options.backing = .fixed(size: 1 << 20, locked: true, prefault: true)
    do throws(PoolError) {
      let pool = try MemoryPoolPointer.create(options)
      #expect(pool.allocate(1000) != nil)
      pool.destroy()
    } catch {
      guard case .lockFailed(let errno) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(errno != 0)
    }
  }

  // MARK: Statistics

  /// Every figure that has an oracle, against a ledger, while one thread does what it likes.
  @Test(arguments: [PoolKind.elastic, .crowded, .fixed, .buffer])
  func figuresAgainstALedger(kind: PoolKind) throws {
    var random = SplitMix64(seed: SplitMix64.seed("figuresAgainstALedger, \(kind)"))
    let test = try TestPool(kind)
    let pool = test.pool
    var live: [(pointer: UnsafeMutableRawPointer, size: UInt)] = []
    var requested: UInt = 0, lastGeneration: UInt = 0
    for step in 0..<6_000 {
      if live.count < 300, random.below(2) == 0 {
        let size = UInt(
          [random.below(300), random.below(3_840), random.below(60_000), random.below(1_500_000)][
            min(random.below(20) / 6, 3)])
        let pointer: UnsafeMutableRawPointer?
        switch random.below(3) {
        case 0: pointer = pool.allocate(size)
        case 1: pointer = pool.allocateZeroed(count: 1, byteCount: size)
        default: pointer = pool.allocateAligned(size, alignment: 64)
        }
        guard let pointer else { continue }
        requested += size
        live.append((pointer, size))
      } else if !live.isEmpty {
        pool.deallocate(live.remove(at: random.below(live.count)).pointer)
      }
      guard step % 200 == 0 else { continue }
      let statistics = pool.statistics()
      try demand(statistics.generation > lastGeneration, "step \(step): generation")
      lastGeneration = statistics.generation
      try demand(
        statistics.brokenInvariant(isQuiescent: true) == nil, "\(statistics.brokenInvariant(isQuiescent: true)!)")
      try demand(
        statistics.requestedBytes == requested, "step \(step): requested \(statistics.requestedBytes), is \(requested)")
      var items: [UInt: UInt] = [:], bytes: UInt = 0, spans: UInt = 0, spanBytes: UInt = 0, runs: UInt = 0
      for block in live {
        let usable = pool.usableSize(of: block.pointer)
        bytes += usable
        switch pool.locate(block.pointer, "test") {
        case .item(let slab, _): items[UInt(slab.pointee.sizeClass), default: 0] += 1
        case .run: runs += usable
        case .span:
          spans += 1
          spanBytes += usable
        default: throw Broken(description: "neither item nor run nor span")
        }
      }
      try demand(
        statistics.allocatedBytes == bytes, "step \(step): allocated \(statistics.allocatedBytes), is \(bytes)")
      try demand(statistics.spanCount == spans && statistics.spanBytes == spanBytes, "step \(step): spans")
      try demand(statistics.runBytes == runs, "step \(step): \(statistics.runBytes) bytes in runs, are \(runs)")
      for index in 0..<SizeClass.count {
        try demand(statistics.classes[index].liveItems == items[UInt(index)] ?? 0, "step \(step): class \(index)")
      }
    }
    for block in live { pool.deallocate(block.pointer) }
    let statistics = pool.statistics()
    #expect(statistics.allocatedBytes == 0 && statistics.spanCount == 0 && statistics.runBytes == 0)
    #expect(statistics.peakActiveBytes > 0)
  }
}

extension UnsafeMutablePointer where Pointee == Segment {
  /// Bytes of the pages that hold the segment's own records.
  var arenaPageBytes: UInt {
    var pages: UInt = 0
    for page in 0..<pageCount.loadRelaxed() where !entry(page).isSlab && entry(page).kind == .metadata { pages += 1 }
    return pages << Page.shift
  }
}
