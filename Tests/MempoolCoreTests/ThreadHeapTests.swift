import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

@Suite struct ThreadHeapTests {
  private func slabs(_ pool: MemoryPoolPointer, _ size: UInt) -> UInt {
    pool.statistics().classes[SizeClass.index(size)].slabs
  }

  /// Slabs that empty go back at once, but for the class's current one and 256 KiB of spares; those with room are used before new
  /// ones, spares, too.
  @Test func slabsComeAndGo() throws {
    // Nobody looks after what such a pool's threads keep.
    let test = try TestPool(.elastic) { $0.purgeDelayMilliseconds = 0 }
    let pool = test.pool
    var pointers = try (0..<10_000).map { _ in try #require(pool.allocate(200)) }
    let full = slabs(pool, 200)
    #expect(full > 20)
    // Every second one: all slabs have room, none is empty.
    for index in stride(from: 0, to: 10_000, by: 2) { pool.deallocate(pointers[index]) }
    #expect(slabs(pool, 200) == full)
    let again = try (0..<5_000).map { _ in try #require(pool.allocate(200)) }
    #expect(slabs(pool, 200) == full, "slabs with room were passed by")
    #expect(pool.checkInvariants())
    pointers = stride(from: 1, to: 10_000, by: 2).map { pointers[$0] } + again
    for pointer in pointers { pool.deallocate(pointer) }
    let heap = try #require(pool.threadHeap())
    let spareBytes = heap.spareBytes.loadRelaxed()
    #expect(spareBytes > 128 << 10 && spareBytes <= 256 << 10, "nothing spare, or too much")
    #expect(slabs(pool, 200) <= 16)  // of a page each
    #expect(pool.checkInvariants())
    let spares = slabs(pool, 200)
    let more = try (0..<800).map { _ in try #require(pool.allocate(200)) }
    #expect(slabs(pool, 200) == spares && heap.spareBytes.loadRelaxed() < spareBytes, "spare slabs were passed by")
    for pointer in more { pool.deallocate(pointer) }
    #expect(pool.purge() > 0 && slabs(pool, 200) == 0 && heap.spareBytes.loadRelaxed() == 0)
    #expect(pool.checkInvariants())
  }

  /// Slabs with room are taken in the order in which they got it: those that have waited for longest have gathered most.
  @Test func theSlabWithRoomForLongestIsTaken() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    let heap = try #require(pool.threadHeap())
    let sizeClass = SizeClass.index(96)
    var slabs: [SlabPointer] = [], firsts: [UnsafeMutableRawPointer] = [], others: [UnsafeMutableRawPointer] = []
    func allocate() throws -> UnsafeMutableRawPointer { try #require(pool.allocate(96)) }
    while slabs.count < 4 {
      let pointer = try allocate(), slab = heap.current(sizeClass)
      if slabs.last == slab {
        others.append(pointer)
      } else {
        slabs.append(slab)
        firsts.append(pointer)
      }
    }
    for slab in [1, 0, 2] { pool.deallocate(firsts[slab]) }  // all but the current one are full
    while heap.current(sizeClass).hasRoom { others.append(try allocate()) }
    for slab in [1, 0, 2] { #expect(try allocate() == firsts[slab]) }
    #expect(pool.checkInvariants())
    for pointer in firsts + others { pool.deallocate(pointer) }
  }

  /// One object that comes and goes after a burst makes no slab come and go; in how many classes at once is bounded.
  @Test func oneObjectAfterABurst() throws {
    try #require(MemoryPoolPointer.shared.start())
    let outcome = Findings()
    TestThread.run {
      let pool = MemoryPoolPointer.shared
      guard let heap = pool.threadHeap() else { return outcome.report("no heap") }
      for size in stride(from: UInt(64), through: 1024, by: 64) {
        let burst = (0..<200).map { _ in pool.allocate(size) }
        for pointer in burst { pool.deallocate(pointer) }
        pool.deallocate(pool.allocate(size))
        let uses = heap.spareUses.loadRelaxed()
        for _ in 0..<100 { pool.deallocate(pool.allocate(size)) }
        let stays = heap.current(SizeClass.index(size)).pointee.staysEmpty
        if stays, heap.spareUses.loadRelaxed() != uses { outcome.report("\(size) bytes: a slab comes and goes") }
      }
      let staying = (0..<SizeClass.count).filter { heap.current($0).pointee.staysEmpty }
      if staying.isEmpty || staying.count > 4 { outcome.report("\(staying) stay") }
      if staying.reduce(0, { $0 | 1 << UInt($1) }) != heap.pointee.staysEmpty { outcome.report("not noted") }
      if !heap.checkInvariants() { outcome.report("broken") }
    }
    #expect(outcome.all == [])
  }

  /// What a thread keeps and does not use for a while may be taken from it.
  @Test func idleSparesGo() throws {
    let test = try TestPool(.elastic) { $0.purgeDelayMilliseconds = 0 }
    let pool = test.pool
    let heap = try #require(pool.threadHeap())
    func burst() throws {
      let pointers = try (0..<5_000).map { _ in try #require(pool.allocate(100)) }
      for pointer in pointers { pool.deallocate(pointer) }
    }
    try burst()
    #expect(heap.spareBytes.loadRelaxed() > 0)
    heap.releaseIdleSpares()
    #expect(heap.spareBytes.loadRelaxed() > 0, "used since, and taken")
    try burst()
    heap.releaseIdleSpares()
    #expect(heap.spareBytes.loadRelaxed() > 0, "used since, and taken")
    heap.releaseIdleSpares()
    #expect(heap.spareBytes.loadRelaxed() == 0, "idle, and kept")
    #expect(pool.checkInvariants())
    try burst()
    #expect(pool.checkInvariants())
  }

  /// Others take a thread's spares while it keeps and uses them: none is lost, none used twice.
  @Test func sparesAreTakenFromAThreadAtWork() throws {
    let seed = SplitMix64.seed("ThreadHeap, spares")
    let test = try TestPool(.elastic)
    let pool = Shared(test.pool), gate = ThreadGate(2)
    let ended = Shared(AtomicPointer(UnsafeMutablePointer<UInt>.allocate(capacity: 1)))
    ended.value.storeRelaxed(0)
    defer { ended.value.word.deallocate() }
    let findings = Findings()
    let owner = TestThread {
      gate.arrive()
      findings.report {
        var random = SplitMix64(seed: seed)
        for _ in 0..<300 {
          let size = 16 + random.below(2000)
          let pointers = (0..<3 * 65_536 / size).map { _ in pool.value.allocate(UInt(size)) }
          for (number, pointer) in pointers.enumerated() {
            guard let pointer else { throw Broken(description: "no memory") }
            Pattern.fill(pointer, size, UInt64(number))
          }
          for (number, pointer) in pointers.enumerated() {
            try demand(Pattern.isIntact(pointer!, size, UInt64(number)), "an item handed out twice")
            pool.value.deallocate(pointer)
          }
        }
      }
      ended.value.storeRelease(1)
    }
    let other = TestThread {
      gate.arrive()
      while ended.value.loadAcquire() == 0 {
        for index in 1..<max(pool.value.registry.count, 1) { pool.value.registry.heap(index)?.releaseSpares() }
      }
    }
    owner.join()
    other.join()
    #expect(findings.all == [])
    #expect(test.pool.checkInvariants())
  }

  /// Before a pool counts as exhausted it takes what a thread that does nothing keeps to spare.
  @Test func anIdleThreadsSparesAreNoReasonToFail() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        let test = try TestPool(.elastic), pool = Shared(test.pool)
        let hasSpares = ThreadGate(2), isOver = ThreadGate(2)
        let idle = TestThread {
          let pointers = (0..<10_000).map { _ in pool.value.allocate(64) }
          for pointer in pointers { pool.value.deallocate(pointer) }
          hasSpares.arrive()
          isOver.arrive()
        }
        hasSpares.arrive()
        let heaps = (1..<test.pool.registry.count).compactMap { test.pool.registry.heap($0) }
        try demand(heaps.contains { $0.spareBytes.loadRelaxed() > 0 }, "nothing to spare")
        mp_system_fail_every(1)
        while test.pool.allocate(1000) != nil {}
        mp_system_fail_every(0)
        try demand(!heaps.contains { $0.spareBytes.loadRelaxed() > 0 }, "no memory, and another has some to spare")
        isOver.arrive()
        idle.join()
      }
    }
  }

  /// In the shared pool also the current slab goes, once it is empty and more than its first items were touched.
  @Test func anEmptyCurrentSlabGoes() throws {
    let pool = MemoryPoolPointer.shared
    try #require(pool.start())
    let outcome = Findings()
    TestThread.run {
      let pool = MemoryPoolPointer.shared
      let sizeClass = SizeClass.index(3000)
      guard let one = pool.allocate(3000) else { return outcome.report("no memory") }
      guard let heap = pool.threadHeap() else { return outcome.report("no heap") }
      let seat = heap.current(sizeClass)
      pool.deallocate(one)
      if heap.current(sizeClass) != seat { outcome.report("a slab went whose first items alone were touched") }
      var many = (0..<100).map { _ in pool.allocate(3000) }
      while heap.current(sizeClass).isMostlyUntouched { many.append(pool.allocate(3000)) }
      for pointer in many { pool.deallocate(pointer) }
      if heap.current(sizeClass) != ThreadHeapPointer.emptySlab { outcome.report("an empty slab stays current") }
      if heap.spareBytes.loadRelaxed() > ThreadHeapPointer.mostSpareBytes { outcome.report("too many spares") }
      if !heap.checkInvariants() { outcome.report("broken") }
    }
    #expect(outcome.all == [])
  }

  /// A walk over slabs would show: a refill costs the same with one slab and with thousands.
  @Test func laterSlabsAreLarger() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    let size: UInt = 1024
    let pages = (0..<20).map { _ in
      let before = slabs(pool, size)
      var count: UInt = 0
      repeat {
        _ = pool.allocate(size)
        count += 1
      } while slabs(pool, size) == before
      return pool.statistics().classes[SizeClass.index(size)].capacity * size / Page.byteCount
    }
    #expect(
      pages.prefix(10) == [1, 2, 3, 4, 6, 8, 10, 12, 16, 20], "four of a page, four of two, then of four: \(pages)")
  }

  /// Another thread frees everything, round after round: the owner collects it, and no slab is lost.
  @Test(arguments: [16, 200, 2000])
  func remoteFreesAreCollected(size: Int) throws {
    let test = try TestPool(.elastic)
    let pool = test.pool, shared = Shared(pool)
    let count = 4_000
    var most: UInt = 0
    for round in 0..<25 {
      let pointers = Shared(try (0..<count).map { _ in try #require(pool.allocate(UInt(size))) })
      if round == 2 { most = slabs(pool, UInt(size)) }
      if round > 2 { try demand(slabs(pool, UInt(size)) <= most, "round \(round): \(slabs(pool, UInt(size))) slabs") }
      TestThread.run { for pointer in pointers.value { shared.value.deallocate(pointer) } }
      #expect(pool.statistics().allocatedBytes == 0, "freed by another, whether collected or not")
      #expect(pool.checkInvariants())
    }
    let statistics = pool.statistics()
    #expect(statistics.remoteFreesPushed == UInt(25 * count))
    pool.purge()
    #expect(pool.statistics().remoteFreesDrained == UInt(25 * count))
    #expect(slabs(pool, UInt(size)) == 0)
  }

  /// A thread that exits with live blocks leaves its heap to the next: the room in it is used before new slabs are made.
  @Test func anAbandonedHeapIsAdopted() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool, shared = Shared(pool)
    let kept = Findings()
    TestThread.run {
      let pool = shared.value
      let pointers = (0..<10_000).map { _ in pool.allocate(160)! }
      // Every tenth stays.
      for (index, pointer) in pointers.enumerated() {
        if index % 10 != 0 { pool.deallocate(pointer) } else { kept.report("\(UInt(bitPattern: pointer))") }
      }
    }
    let before = pool.statistics()
    #expect(before.abandonedHeapCount == 1 && before.abandonedBytes > 0)
    TestThread.run {
      let pool = shared.value
      let pointers = (0..<8_000).map { _ in pool.allocate(160)! }
      if pool.statistics().classes[SizeClass.index(160)].slabs > before.classes[SizeClass.index(160)].slabs {
        kept.report("new slabs with room in abandoned ones")
      }
      for pointer in pointers { pool.deallocate(pointer) }
    }
    #expect(!kept.all.contains { $0.contains("new slabs") })
    #expect(pool.statistics().heapCount <= 2)
    #expect(pool.checkInvariants())
  }

  /// A thread that has a heap, and runs out of a class, takes the room in an abandoned one beside it.
  @Test func roomInAnAbandonedHeapIsUsedByARunningThread() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool, shared = Shared(pool)
    let own = try #require(pool.allocate(3_000))  // this thread has a heap, so it will not adopt one as its first
    TestThread.run {
      let pool = shared.value
      let pointers = (0..<5_000).map { _ in pool.allocate(96)! }
      for (index, pointer) in pointers.enumerated() where index % 50 != 0 { pool.deallocate(pointer) }
    }
    let before = pool.statistics().classes[SizeClass.index(96)].slabs
    for _ in 0..<4_000 { _ = try #require(pool.allocate(96)) }
    #expect(pool.statistics().classes[SizeClass.index(96)].slabs <= before, "new slabs with room in abandoned ones")
    #expect(pool.checkInvariants())
    pool.deallocate(own)
  }

  /// Late frees: blocks of a thread that is gone. Its empty slabs go back although nobody adopts the heap.
  @Test(arguments: [true, false])
  func freesAfterTheOwnerIsGone(byThreadsWithAHeap: Bool) throws {
    let test = try TestPool(.elastic)
    let pool = test.pool, shared = Shared(pool)
    let box = Shared(UnsafeMutablePointer<UnsafeMutableRawPointer>.allocate(capacity: 20_000))
    defer { box.value.deallocate() }
    TestThread.run {
      for index in 0..<20_000 { box.value[index] = shared.value.allocate(UInt(8 + index % 500))! }
    }
    let full = pool.statistics().activeBytes
    #expect(full > 4 << 20)
    if byThreadsWithAHeap {
      let own = try #require(pool.allocate(1))
      for index in 0..<20_000 { pool.deallocate(box.value[index]) }
      pool.deallocate(own)
    } else {
      TestThread.run(4) { number in
        for index in stride(from: number, to: 20_000, by: 4) { shared.value.deallocate(box.value[index]) }
      }
    }
    // What threads keep for a while is another matter.
    for index in 1..<max(pool.registry.count, 1) { pool.registry.heap(index)?.releaseSpares() }
    let statistics = pool.statistics()
    #expect(statistics.allocatedBytes == 0)
    #expect(pool.checkInvariants())
    let kept = statistics.cachedBytes + statistics.abandonedBytes
    #expect(kept < 1 << 20, "\(kept) bytes are kept by slabs that nobody uses")
  }

  /// Threads that hand blocks round, exit, and are followed by others: contents stay, nothing is lost, and when all is freed
  /// nothing is left.
  @Test(arguments: [PoolKind.elastic, .crowded, .fixed, .dense])
  func handedRound(kind: PoolKind) throws {
    let seed = SplitMix64.seed("handedRound, \(kind)")
    let test = try TestPool(kind)
    let shared = Shared(test.pool)
    let exchange = BlockExchange(slots: 64)
    let findings = Findings()
    for generation in 0..<6 {
      TestThread.run(4) { number in
        findings.report {
          let pool = shared.value
          var random = SplitMix64(seed: seed &+ UInt64(generation * 10 + number))
          for step in 0..<5_000 {
            let size = random.below(20) == 0 ? 1 + random.below(30_000) : 1 + random.below(700)
            guard let pointer = pool.allocate(UInt(size)) else { throw Broken(description: "no memory") }
            let tag = random.next()
            Pattern.fill(pointer, size, tag)
            guard let other = exchange.swap((pointer, size, tag), at: random.below(64)) else { continue }
            try demand(
              Pattern.isIntact(other.0, other.1, other.2), "step \(step): a block of \(other.1) was written to")
            pool.deallocate(other.0)
          }
        }
      }
      #expect(findings.all == [])
      #expect(test.pool.checkInvariants())
    }
    for slot in 0..<64 {
      guard let block = exchange.swap(nil, at: slot) else { continue }
      #expect(Pattern.isIntact(block.0, block.1, block.2))
      test.pool.deallocate(block.0)
    }
    #expect(test.pool.statistics().allocatedBytes == 0)
    test.pool.purge()
    #expect(test.pool.checkInvariants())
    #expect(test.pool.statistics().brokenInvariant(isQuiescent: true) == nil)
  }
}

/// Places where threads leave blocks for each other.
final class BlockExchange: @unchecked Sendable {
  typealias Block = (UnsafeMutableRawPointer, Int, UInt64)
  private let lock = NSLock()
  private var slots: [Block?]

  init(slots: Int) { self.slots = Array(repeating: nil, count: slots) }

  /// Leaves a block and takes what was there.
  func swap(_ block: Block?, at slot: Int) -> Block? {
    lock.withLock {
      let old = slots[slot]
      slots[slot] = block
      return old
    }
  }
}
