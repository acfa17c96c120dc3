import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// What hardened pools do in themselves. What they report is a matter of Tests/Hardening.
@Suite(.serialized) struct HardeningTests {
  static let levels: [Hardening] = [.zeroing, .canaries, .guards]
  static let kinds: [PoolKind] = [.elastic, .crowded, .fixed, .buffer, .dense, .denseFixed]

  private func pool(_ kind: PoolKind, _ level: Hardening) throws -> TestPool {
    try TestPool(kind) { $0.hardening = level }
  }

  /// Whatever kind of pool: any call against a plain model, and nothing is left afterwards, in records and in figures.
  @Test(arguments: kinds, levels)
  func randomOperations(kind: PoolKind, level: Hardening) throws {
    let test = try pool(kind, level)
    var model = PoolModel(test.pool, kind, seed: SplitMix64.seed("hardened randomOperations, \(kind), \(level)"))
    try model.run(steps: 6_000)
    try demand(test.pool.checkInvariants(), "broken while objects are out")
    try model.finish()
    #expect(test.pool.statistics().allocatedBytes == 0)
    #expect(test.pool.statistics().brokenInvariant(isQuiescent: true) == nil)
    #expect(test.pool.checkInvariants())
    test.pool.purge()
    #expect(test.pool.statistics().allocatedBytes == 0)
    #expect(test.pool.checkInvariants())
    #expect(test.isFenceIntact)
  }

  @Test(arguments: levels)
  func randomOperationsOnManyThreads(level: Hardening) throws {
    let seed = SplitMix64.seed("hardened randomOperationsOnManyThreads, \(level)")
    let test = try pool(.elastic, level)
    let shared = Shared(test.pool)
    let findings = Findings()
    TestThread.run(6) { number in
      findings.report {
        var model = PoolModel(shared.value, .elastic, seed: seed &+ UInt64(number))
        model.mostBytes = 3 << 20
        try model.run(steps: 2_000)
        try model.finish()
      }
    }
    #expect(findings.all == [])
    #expect(test.pool.statistics().allocatedBytes == 0)
    #expect(test.pool.checkInvariants())
    for index in 0..<test.pool.registry.count {
      guard let quarantine = test.pool.registry.heap(index)?.quarantine else { continue }
      for queue in 0..<Quarantine.queueCount {
        #expect(quarantine.count(queue) == 0, "an exited thread holds objects back")
      }
    }
  }

  /// A caller's buffer may hold anything: what nobody has had yet is not what was written after it was freed.
  @Test(arguments: levels)
  func aBufferThatIsNotZero(level: Hardening) throws {
    let byteCount = 1 << 20
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 4096)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 0xa5, count: byteCount)
    var options = PoolOptions()
    options.backing = .buffer(start: UInt(bitPattern: buffer), count: byteCount)
    options.hardening = level
    let pool = try MemoryPoolPointer.create(options)
    defer { pool.destroy() }
    for byteCount in [1, 16, 75, 300, 1000, 3000, 5000, 20_000] as [UInt] { try takesZeroes(pool, byteCount) }
  }

  /// The same of pages that were a slab cache's, which clears nothing.
  @Test(arguments: [PoolKind.elastic, .fixed], levels)
  func pagesThatACacheLeft(kind: PoolKind, level: Hardening) throws {
    let test = try pool(kind, level)
    let cache = try test.pool.makeCache(itemSize: 64, alignment: 8)
    let items = (0..<2000).map { _ in cache.take()! }
    for item in items { item.initializeMemory(as: UInt8.self, repeating: 0xa5, count: 64) }
    for item in items { cache.put(item) }
    try demand(cache.destroyIfUnused(), "an unused cache cannot go")
    for _ in 0..<500 { try takesZeroes(test.pool, 200) }
  }

  private func takesZeroes(_ pool: MemoryPoolPointer, _ byteCount: UInt) throws {
    let block = try #require(pool.allocate(byteCount))
    let bytes = UnsafeRawBufferPointer(start: block, count: Int(byteCount))
    #expect(bytes.allSatisfy { $0 == 0 })
  }

  /// Also what was used before, of all sizes; and the usable size is what was asked for, to the byte.
  @Test(arguments: levels)
  func allBytesAreZeroAndTheSizeIsExact(level: Hardening) throws {
    let test = try pool(.elastic, level)
    for round in 0..<3 {
      var objects: [UnsafeMutableRawPointer] = []
      for size in [0, 1, 7, 8, 15, 16, 17, 100, 2_000, 3_839, 3_840, 5_000, 16_384, 100_000, 900_000, 34 << 20] {
        for _ in 0..<20 {
          guard let pointer = test.pool.allocate(UInt(size)) else { throw Broken(description: "no memory") }
          try demand(Pattern.isZero(pointer, size), "\(size) bytes, round \(round): not zero")
          try demand(test.pool.usableSize(of: pointer) == UInt(size), "\(size) bytes: another usable size")
          pointer.initializeMemory(as: UInt8.self, repeating: 0xee, count: min(size, 1 << 20))
          objects.append(pointer)
        }
      }
      for pointer in objects { test.pool.deallocate(pointer) }
    }
    #expect(test.pool.checkInvariants())
  }

  /// Fresh slabs are handed out whole, each item once, and seldom from the first on.
  @Test func theFirstItemOfASlabIsARandomOne() throws {
    var firsts: Set<UInt> = []
    for _ in 0..<20 {
      let test = try pool(.elastic, .zeroing)
      var seen: Set<UInt> = []
      let first = UInt(bitPattern: test.pool.allocate(64))
      seen.insert(first)
      for _ in 1..<256 { seen.insert(UInt(bitPattern: test.pool.allocate(64))) }
      firsts.insert(first & (Page.byteCount - 1))
      #expect(seen.count == 256)
      #expect(Set(seen.map { $0 >> Page.shift }).count == 1, "the slab's page, and no other")
    }
    #expect(firsts.count > 5, "20 pools began at \(firsts.count) items")
  }

  /// As many others have to be given back before an item may be handed out again, and no more wait than may.
  @Test(arguments: [8, 64, 1_000, 3_000])
  func theQuarantineDelaysReuseAndIsBounded(size: Int) throws {
    let test = try pool(.elastic, .canaries)
    let sizeClass = SizeClass.index(UInt(size) + 1)
    let capacity = Int(Quarantine.capacity(sizeClass))
    guard let pointer = test.pool.allocate(UInt(size)) else { throw Broken(description: "no memory") }
    test.pool.deallocate(pointer)
    let quarantine = try #require(test.pool.threadHeap()?.quarantine)
    for round in 1..<3 * capacity {
      let next = test.pool.allocate(UInt(size))
      if round < capacity { #expect(next != pointer, "handed out after \(round) others, of \(capacity)") }
      test.pool.deallocate(next)
      #expect(Int(quarantine.count(sizeClass)) == min(round + 1, capacity))
    }
    #expect(UInt(capacity) * SizeClass.itemSize(sizeClass) <= max(Quarantine.classBytes, 4 * SizeClass.largest))
    test.pool.purge()
    #expect(quarantine.count(sizeClass) == 0)
    #expect(test.pool.checkInvariants())
  }

  /// Before the pool counts as exhausted, what waits anywhere is free: also of a thread that does nothing.
  @Test(arguments: [PoolKind.fixed, .buffer])
  func quarantinesServeBeforeExhaustion(kind: PoolKind) throws {
    let test = try pool(kind, .canaries)
    let shared = Shared(test.pool), findings = Findings()
    let filled = ThreadGate(2), looked = ThreadGate(2)
    let owner = TestThread {
      shared.value.deallocate(shared.value.allocate(40_000))  // now it has a quarantine
      var objects: [UnsafeMutableRawPointer] = []
      while let pointer = shared.value.allocate(40_000) { objects.append(pointer) }
      for pointer in objects.suffix(5) { shared.value.deallocate(pointer) }
      let quarantine = shared.value.threadHeap()?.quarantine
      if quarantine?.count(Quarantine.runs) != 5 { findings.report("five runs do not wait") }
      filled.arrive()
      looked.arrive()
      for pointer in objects.dropLast(5) { shared.value.deallocate(pointer) }
    }
    filled.arrive()
    let pointer = test.pool.allocate(40_000)
    if pointer == nil { findings.report("exhausted, and five objects wait in a quarantine") }
    looked.arrive()
    owner.join()
    test.pool.deallocate(pointer)
    #expect(findings.all == [])
    #expect(test.pool.checkInvariants())
  }

  /// Of threads that give the same object back at once, one is told that it has.
  @Test func oneOfManyTakesBack() throws {
    let test = try pool(.elastic, .canaries)
    for size in [40, 100_000, 34 << 20] {
      for _ in 0..<200 {
        let pointer = try #require(test.pool.allocate(UInt(size)))
        let object = Shared(try #require(test.pool.hardenedObject(pointer, CallName("test"))))
        let winners = Findings()
        TestThread.run(3) { number in if object.value.takeBack() { winners.report("\(number)") } }
        try demand(winners.all.count == 1, "\(size) bytes: taken back by \(winners.all.count) of 3")
        if size > 1 << 20 { break }
      }
    }
  }

  /// A page that nobody may access behind each slab; it comes back with the slab.
  @Test func slabsEndAtGuardPages() throws {
    let test = try pool(.elastic, .guards)
    let pool = test.pool
    var objects: [UnsafeMutableRawPointer] = []
    for _ in 0..<5_000 { objects.append(try #require(pool.allocate(100))) }
    var slabs: Set<SlabPointer> = []
    for pointer in objects {
      if case .item(let slab, _) = pool.locate(pointer, "test") { slabs.insert(slab) }
    }
    #expect(slabs.count > 5)
    for slab in slabs {
      let behind = slab.address + slab.byteCount
      #expect(slab.pointee.segment.entry(of: behind).kind == .guardPage)
      #expect(!Guards.isReadable(behind) && !Guards.isReadable(behind + Page.byteCount - 1))
      #expect(Guards.isReadable(behind - 1))
    }
    for pointer in objects { pool.deallocate(pointer) }
    pool.purge()
    #expect(pool.statistics().activeBytes == 0)
    #expect(pool.checkInvariants())
  }

  /// Before it, behind it, and all of it once it is given back.
  @Test(arguments: [16_384, 100_000, 3 << 20, 40 << 20])
  func largeObjectsLieBetweenGuards(size: Int) throws {
    let test = try pool(.elastic, .guards)
    let pointer = try #require(test.pool.allocate(UInt(size)))
    let address = UInt(bitPattern: pointer), page = UInt(mp_system_page_size())
    let end = (address + UInt(size) + 1 + page - 1) & ~(page - 1)
    #expect(!Guards.isReadable(address - 1) && Guards.isReadable(address))
    #expect(Guards.isReadable(end - 1) && !Guards.isReadable(end))
    test.pool.deallocate(pointer)
    #expect(!Guards.isReadable(address))
    #expect(test.pool.statistics().allocatedBytes == 0 && test.pool.statistics().spanCount == 0)
    #expect(test.pool.checkInvariants())
  }

  /// In a child, what other threads held back is free, and what they were in the middle of giving back.
  @Test(arguments: [1, 2, 3])
  func fork(level: Int) async {
    switch level {
    case 1: await #expect(processExitsWith: .success) { try HardenedForks.run(.zeroing) }
    case 2: await #expect(processExitsWith: .success) { try HardenedForks.run(.canaries) }
    default: await #expect(processExitsWith: .success) { try HardenedForks.run(.guards) }
    }
  }

  /// A child finishes what a thread of its parent's had begun: a run that was given back, and not cleared to its end yet.
  @Test func forkWhileARunIsCleared() async {
    await #expect(processExitsWith: .success) { try HardenedForks.runWhileARunIsCleared() }
  }

  /// Every nth call of the system fails, also those that make guards: each failure is nil, and nothing is lost.
  @Test(arguments: [2, 3])
  func everyNthCallFails(level: Int) async {
    switch level {
    case 2: await #expect(processExitsWith: .success) { try HardenedFaults.run(.canaries) }
    default: await #expect(processExitsWith: .success) { try HardenedFaults.run(.guards) }
    }
  }
}

private enum Guards {
  /// Whether the byte can be read: the kernel is asked to.
  static func isReadable(_ address: UInt) -> Bool {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return false }
    defer { for end in ends { close(end) } }
    return write(ends[1], UnsafeRawPointer(bitPattern: address), 1) == 1
  }
}

private enum HardenedForks {
  /// Pages that another thread was about to claim stay lost in a child, so counts of pages say nothing.
  static func areSlabsSound(_ pool: MemoryPoolPointer) -> Bool {
    var isSound = true
    pool.segments.first { segment in
      for page in 0..<segment.pageCount.loadRelaxed() where segment.entry(page).isSlab {
        guard let record = segment.entry(page).slab.loadPointerRelaxed() else { continue }
        if !record.assumingMemoryBound(to: Slab.self).checkInvariants() { isSound = false }
      }
      return false
    }
    return isSound
  }

  static func runWhileARunIsCleared() throws {
    try Forks.inside {
      let test = try TestPool(.elastic) { $0.hardening = .zeroing }
      let pointer = try #require(test.pool.allocate(20_000))
      pointer.initializeMemory(as: UInt8.self, repeating: 7, count: 20_000)
      let object = try #require(test.pool.hardenedObject(pointer, CallName("free")))
      try demand(object.takeBack(), "cannot be taken back")
      let status = Forks.child {
        guard test.pool.statistics().allocatedBytes == 0 else { return 1 }
        return Wipe.isClear(UInt(bitPattern: pointer), 20_000) ? 0 : 2
      }
      try demand(status == 0, "the child: status \(status)")
    }
  }

  static func run(_ level: Hardening) throws {
    try Forks.inside {
      let test = try TestPool(.elastic) { $0.hardening = level }
      let pool = Shared(test.pool), stop = ThreadGate(4), isOver = Shared(AtomicPointer(.allocate(capacity: 1)))
      isOver.value.storeRelaxed(0)
      // They give and take all the time; a fork finds them wherever they are.
      let threads = (0..<3).map { number in
        TestThread {
          stop.arrive()
          var random = SplitMix64(seed: UInt64(number) + 1)
          var objects: [UnsafeMutableRawPointer] = []
          while isOver.value.loadRelaxed() == 0 {
            let size = random.below(50) == 0 ? 20_000 : 1 + random.below(300)
            if objects.count > 50 || random.below(2) == 0, let last = objects.popLast() {
              pool.value.deallocate(last)
            } else if let pointer = pool.value.allocate(UInt(size)) {
              pointer.initializeMemory(as: UInt8.self, repeating: 7, count: size)
              objects.append(pointer)
            }
          }
          for pointer in objects { pool.value.deallocate(pointer) }
        }
      }
      stop.arrive()
      var failure: String?
      for round in 0..<40 where failure == nil {
        let own = pool.value.allocate(100)
        pool.value.deallocate(pool.value.allocate(200))
        let status = Forks.child {
          pool.value.deallocate(own)
          // Everything that it gets must be zero, or the process aborts.
          for size in 1..<300 {
            guard let pointer = pool.value.allocate(UInt(size)) else { return 2 }
            if size % 2 == 0 { pool.value.deallocate(pointer) }
          }
          if !Forks.canAllocate(pool.value) { return 3 }
          return areSlabsSound(pool.value) ? 0 : 1
        }
        pool.value.deallocate(own)
        if status != 0 { failure = "round \(round): the child's status is \(status)" }
      }
      isOver.value.storeRelaxed(1)
      for thread in threads { thread.join() }
      try demand(failure == nil, failure ?? "")
      try demand(pool.value.checkInvariants(), "the parent's pool is broken")
    }
  }
}

private enum HardenedFaults {
  static func run(_ level: Hardening) throws {
    try Forks.inside {
      for n in 1...12 {
        let test = try TestPool(.elastic) { $0.hardening = level }
        var model = PoolModel(test.pool, .elastic, seed: SplitMix64.seed("HardenedFaults \(n)"))
        model.mayFail = true
        mp_system_fail_every(UInt(n))
        try model.run(steps: 1_500)
        mp_system_fail_every(0)
        try model.run(steps: 500)
        try model.finish()
        try demand(test.pool.checkInvariants(), "every \(n)th: broken")
        try demand(test.pool.statistics().allocatedBytes == 0, "every \(n)th: something is lost")
      }
    }
  }
}
