import CMempoolShims
import Testing

@testable import MempoolCore

/// Neighbouring classes that begin in one slab, and go on in slabs of their own.
@Suite struct SeatTests {
  /// How many slabs of each item size there are.
  private func slabs(_ pool: MemoryPoolPointer) -> [UInt: UInt] {
    let statistics = pool.statistics()
    var counts: [UInt: UInt] = [:]
    for sizeClass in 0..<SizeClass.count where statistics.classes[sizeClass].slabs > 0 {
      counts[SizeClass.itemSize(sizeClass)] = statistics.classes[sizeClass].slabs
    }
    return counts
  }

  /// An object of each class: four classes above 128 bytes take one slab, in whichever order they come.
  @Test(arguments: [false, true])
  func fewObjectsShareSlabs(largestFirst: Bool) throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    let classes = Array(9..<SizeClass.smallCount)
    var pointers: [UnsafeMutableRawPointer] = []
    for sizeClass in largestFirst ? classes.reversed() : classes {
      let byteCount = SizeClass.itemSize(sizeClass)
      let pointer = try #require(pool.allocate(byteCount))
      #expect(pool.usableSize(of: pointer) >= byteCount)
      pointer.initializeMemory(as: UInt8.self, repeating: UInt8(sizeClass), count: Int(byteCount))
      pointers.append(pointer)
      #expect(pool.checkInvariants())
    }
    let expected: [UInt: UInt] = [
      192: 1, 256: 1, 384: 1, 512: 1, 768: 1, 1024: 1, 1536: 1, 2048: 1, 3072: 1, 3584: 1, 3840: 1,
    ]
    #expect(slabs(pool) == expected, "3584 has a slab of its own, as it is aligned to 512")
    for (sizeClass, pointer) in zip(largestFirst ? classes.reversed() : classes, pointers) {
      let bytes = UnsafeRawBufferPointer(start: pointer, count: Int(SizeClass.itemSize(sizeClass)))
      #expect(bytes.allSatisfy { $0 == UInt8(sizeClass) })
      pool.deallocate(pointer)
      #expect(pool.checkInvariants())
    }
  }

  /// Many objects of a class have slabs of their own size: at most 48 KiB of larger items come before.
  @Test(arguments: [9, 18, 27, 33, 45])
  func manyObjectsHaveTheirOwn(sizeClass: Int) throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    let itemSize = SizeClass.itemSize(sizeClass), shared = SizeClass.itemSize(SizeClass.shared(sizeClass))
    let count = (1 << 20) / Int(itemSize)
    let pointers = try (0..<count).map { _ in try #require(pool.allocate(itemSize)) }
    let larger = pointers.count { pool.usableSize(of: $0) > itemSize }
    #expect(larger > 0 && UInt(larger) * shared <= 48 << 10)
    #expect(pool.checkInvariants())
    for pointer in pointers { pool.deallocate(pointer) }
    #expect(pool.checkInvariants())
  }

  /// Objects of 4 to 32 KiB are items where the pool can grow; elsewhere they are runs.
  @Test(arguments: [PoolKind.elastic, .crowded, .fixed, .buffer, .dense])
  func mediumObjects(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let pool = test.pool
    for byteCount in [UInt(3_841), 4_096, 4_097, 10_000, 32_768] {
      let pointers = try (0..<20).map { _ in try #require(pool.allocate(byteCount)) }
      let areItems = kind == .elastic || kind == .crowded
      for pointer in pointers {
        let usable = pool.usableSize(of: pointer)
        #expect(usable >= pool.goodSize(byteCount))
        if areItems { #expect(usable == SizeClass.itemSize(SizeClass.medium(byteCount)), "\(byteCount) bytes") }
        Pattern.fill(pointer, Int(usable), UInt64(byteCount))
      }
      let counted = slabs(pool)[SizeClass.itemSize(SizeClass.medium(byteCount))]
      if areItems {
        #expect(counted == 4 || counted == 5, "at least 2, 4, 4, 8 and 8 of them in a slab")
      } else {
        #expect(counted == nil)
      }
      for pointer in pointers {
        #expect(Pattern.isIntact(pointer, Int(pool.usableSize(of: pointer)), UInt64(byteCount)))
        pool.deallocate(pointer)
      }
      #expect(pool.checkInvariants() && pool.statistics().allocatedBytes == 0)
    }
  }

  /// Where a slab finds no place, a run may: memory that is nearly full is used to the last page.
  @Test func mediumObjectsFillMemory() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let pool = try TestPool(.elastic) { $0.backing = .elastic(reserve: 2 << 20) }.keptPool
        _ = try #require(pool.allocate(100))
        mp_system_fail_every(1)
        var pointers: [UnsafeMutableRawPointer] = []
        while let pointer = pool.allocate(32 << 10) { pointers.append(pointer) }
        mp_system_fail_every(0)
        let byteCount = pool.statistics().committedBytes
        try demand(UInt(pointers.count) << 15 >= byteCount / 10 * 9, "\(pointers.count) objects in \(byteCount) bytes")
        for pointer in pointers { pool.deallocate(pointer) }
        try demand(pool.checkInvariants(), "broken")
      }
    }
  }

  /// A shared class is aligned as well as the class that it serves.
  @Test func sharedItemsAreAsAligned() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    for sizeClass in 0..<SizeClass.smallCount {
      let byteCount = SizeClass.itemSize(sizeClass)
      let shared = SizeClass.shared(sizeClass)
      #expect(shared >= sizeClass && SizeClass.shared(shared) == shared)
      #expect(byteCount <= 128 ? shared == sizeClass : SizeClass.itemSize(shared) * 3 <= byteCount * 4)
      let alignment = min(byteCount & (0 &- byteCount), 2048)
      for _ in 0..<5 {
        let pointer = try #require(pool.allocateAligned(byteCount, alignment: alignment))
        #expect(UInt(bitPattern: pointer) % alignment == 0)
      }
    }
  }

  /// Random sizes and orders by threads that come and go, one after the other: what each leaves, the next adopts and frees.
  ///
  /// In the shared pool, which has a short way to the next slab of its own, others work at the same time: there each thread's heap is checked.
  @Test(arguments: [false, true])
  func seatsUnderRandomUse(inSharedPool: Bool) throws {
    let test = try TestPool(.elastic)
    if inSharedPool { try #require(MemoryPoolPointer.shared.start()) }
    let shared = Shared(inSharedPool ? MemoryPoolPointer.shared : test.pool)
    let seed = SplitMix64.seed("ThreadHeap, seats")
    let outcome = Findings()
    let left = Left()
    for round in 0..<12 {
      TestThread.run {
        let pool = shared.value
        var random = SplitMix64(seed: seed &+ UInt64(round))
        for step in 0..<4_000 {
          if left.objects.count > 300 || !left.objects.isEmpty && random.next() % 2 == 0 {
            let (pointer, byteCount, mark) = left.objects.remove(at: Int(random.next() % UInt64(left.objects.count)))
            let bytes = UnsafeRawBufferPointer(start: pointer, count: byteCount)
            if !bytes.allSatisfy({ $0 == mark }) { outcome.report("an object changed") }
            pool.deallocate(pointer)
          } else {
            let byteCount = Int(random.next() % UInt64(16 << (random.next() % 9))) + 1
            guard let pointer = pool.allocate(UInt(min(byteCount, 3840))) else { return outcome.report("exhausted") }
            let mark = UInt8(truncatingIfNeeded: random.next())
            pointer.initializeMemory(as: UInt8.self, repeating: mark, count: min(byteCount, 3840))
            left.objects.append((pointer, min(byteCount, 3840), mark))
          }
          guard step % 64 == 0, let heap = pool.threadHeap() else { continue }
          if !(inSharedPool ? heap.checkInvariants() : pool.checkInvariants()) { return outcome.report("broken") }
        }
      }
      if !test.pool.checkInvariants() { outcome.report("broken after its thread") }
    }
    for (pointer, _, _) in left.objects { shared.value.deallocate(pointer) }
    #expect(outcome.all == [])
  }

  /// Slabs that are all full take each other's seat at each free; so a class of many gets a few more, and seats change now and then.
  @Test func fullSlabsAreRelieved() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let pool = MemoryPoolPointer.shared
        try demand(pool.start(), "no pool")
        let heap = try #require(pool.threadHeap())
        for (byteCount, count) in [(UInt(64), 100), (96, 4)] {
          let sizeClass = SizeClass.index(byteCount)
          var pointers: [UnsafeMutableRawPointer] = []
          while heap.pointee.made[sizeClass] < count || heap.current(sizeClass).hasRoom
            || heap.pointee.room[sizeClass] != nil
          {
            pointers.append(try #require(pool.allocate(byteCount)))
          }
          let before = heap.pointee.made[sizeClass]
          var random = SplitMix64(seed: 1)
          func changes(_ replacements: Int) -> Int {
            var seat = heap.current(sizeClass), changes = 0
            for _ in 0..<replacements {
              let index = random.below(pointers.count)
              pool.deallocate(pointers[index])
              guard let pointer = pool.allocate(byteCount) else { return .max }
              pointers[index] = pointer
              if heap.current(sizeClass) != seat { changes += 1 }
              seat = heap.current(sizeClass)
            }
            return changes
          }
          _ = changes(100_000)
          try demand(heap.pointee.made[sizeClass] > before, "not relieved")
          let more = UInt(heap.pointee.made[sizeClass]) - UInt(before)
          try demand(more <= max(UInt(before) / 32, 1), "relieved too often")
          let seats = changes(10_000)
          try demand(seats < 2_000, "\(seats) seats changed in 10,000 replacements")
          try demand(heap.checkInvariants(), "broken")
          for pointer in pointers { pool.deallocate(pointer) }
        }
        try demand(pool.checkInvariants(), "broken when empty")
      }
    }
  }

  /// What others have freed waits until a class has nothing else: each list that is emptied costs those who free next an operation more.
  @Test func roomComesBeforeWhatOthersFreed() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let pool = MemoryPoolPointer.shared
        try demand(pool.start(), "no pool")
        let heap = try #require(pool.threadHeap())
        let sizeClass = SizeClass.index(64)
        let others = try #require(pool.allocate(100))
        var pointers: [UnsafeMutableRawPointer] = []
        while heap.pointee.made[sizeClass] < 3 || heap.current(sizeClass).hasRoom {
          pointers.append(try #require(pool.allocate(64)))
        }
        // The first takes the last slab's seat; the second, of another slab, is in the list.
        pool.deallocate(pointers.removeFirst())
        pool.deallocate(pointers.remove(at: pointers.count / 2))
        let object = Shared(others)
        TestThread.run { MemoryPoolPointer.shared.deallocate(object.value) }
        try demand(heap.pending.loadRelaxed() != 0, "nothing is pending")
        heap.samples.storeRelaxed(0)
        for _ in 0..<2 { pointers.append(try #require(pool.allocate(64))) }
        try demand(heap.pointee.made[sizeClass] == 3 && heap.pointee.room[sizeClass] == nil, "not from the list")
        try demand(heap.pending.loadRelaxed() != 0, "collected although there was room")
        pointers.append(try #require(pool.allocate(64)))
        try demand(heap.pending.loadRelaxed() == 0, "not collected although there was no room")
        for pointer in pointers { pool.deallocate(pointer) }
        try demand(pool.checkInvariants(), "broken")
      }
    }
  }

  /// A class that always has room does not keep waiting what others freed of another, be it in a heap that its thread adopted.
  @Test(arguments: [false, true])
  func whatOthersFreedDoesNotWaitForEver(inAdoptedHeap: Bool) async {
    if inAdoptedHeap {
      await #expect(processExitsWith: .success) { try Waiting.run(inAdoptedHeap: true) }
    } else {
      await #expect(processExitsWith: .success) { try Waiting.run(inAdoptedHeap: false) }
    }
  }

  /// The current slab may be one of an adopted heap. When what others freed there is taken in, it has room again: it keeps its seat, and
  /// is not put into the list of those with room as well, or given back under its objects.
  @Test(arguments: [false, true])
  func currentSlabOfAnAdoptedHeapKeepsItsSeat(othersFreeAll: Bool) async {
    if othersFreeAll {
      await #expect(processExitsWith: .success) { try Adopted.run(othersFreeAll: true) }
    } else {
      await #expect(processExitsWith: .success) { try Adopted.run(othersFreeAll: false) }
    }
  }

  private enum Adopted {
    static func run(othersFreeAll: Bool) throws {
      try Forks.inside {
        let pool = MemoryPoolPointer.shared
        try demand(pool.start(), "no pool")
        let heap = try #require(pool.threadHeap())
        let sizeClass = SizeClass.index(64)
        let left = Objects()
        TestThread.run { left.take(8) }
        try demand(heap.current(sizeClass) == ThreadHeapPointer.emptySlab, "a slab before the heap was adopted")
        let own = Objects()
        own.take(1)
        let seat = heap.current(sizeClass)
        try demand(seat.pointee.heap == heap.pointee.nextOwned, "the current slab is not of an adopted heap")
        while seat.hasRoom { own.take(1) }
        TestThread.run {
          left.giveBack()
          if othersFreeAll { own.giveBack() }
        }
        heap.samples.storeRelaxed(63)  // the refill that looks at adopted heaps, too
        let next = Objects()
        next.take(1)
        try demand(heap.current(sizeClass) == seat, "the slab with room has lost its seat")
        try demand(pool.checkInvariants(), "broken after the refill")
        next.take(3 * Int(seat.pointee.itemCount))
        try demand(Set(next.objects + own.objects).count == next.objects.count + own.objects.count, "one item twice")
        try demand(pool.checkInvariants(), "broken")
        next.giveBack()
        own.giveBack()
        try demand(pool.checkInvariants(), "broken when empty")
      }
    }
  }

  /// Handed from one thread to the next, never to two at once.
  private final class Objects: @unchecked Sendable {
    var objects: [UnsafeMutableRawPointer?] = []
    func take(_ count: Int) { for _ in 0..<count { objects.append(MemoryPoolPointer.shared.allocate(64)) } }
    func giveBack() {
      for object in objects { MemoryPoolPointer.shared.deallocate(object) }
      objects = []
    }
  }

  private enum Waiting {
    static func allocate(_ count: Int, _ byteCount: UInt) throws -> [UnsafeMutableRawPointer] {
      try (0..<count).map { _ in try #require(MemoryPoolPointer.shared.allocate(byteCount)) }
    }

    static func run(inAdoptedHeap: Bool) throws {
      try Forks.inside {
        let pool = MemoryPoolPointer.shared
        try demand(pool.start(), "no pool")
        let heap = try #require(pool.threadHeap())
        let sizeClass = SizeClass.index(64)
        var random = SplitMix64(seed: 1)
        var pointers = try allocate(30_000, 64)
        for _ in 0..<4_000 { pool.deallocate(pointers.remove(at: random.below(pointers.count))) }
        let large = Large()
        var small: [UnsafeMutableRawPointer] = []
        if inAdoptedHeap {
          TestThread.run {
            large.take()
            // Room, for which the heap will be adopted.
            let pointers = (0..<200).map { _ in MemoryPoolPointer.shared.allocate(48) }
            for pointer in pointers.prefix(100) { MemoryPoolPointer.shared.deallocate(pointer) }
          }
          while heap.pointee.nextOwned == nil, small.count < 10_000 { small += try allocate(1, 48) }
        } else {
          large.take()
        }
        let owning = try #require(inAdoptedHeap ? heap.pointee.nextOwned : heap)
        let slabs = owning.slabs.loadRelaxed()
        TestThread.run { large.giveBack() }
        try demand(owning.pending.loadRelaxed() != 0 && owning.slabs.loadRelaxed() == slabs, "collected already")
        var steps = 0
        while owning.pending.loadRelaxed() != 0, steps < 200_000 {
          let index = random.below(pointers.count)
          pool.deallocate(pointers[index])
          pointers[index] = try #require(pool.allocate(64))
          steps += 1
        }
        try demand(owning.pending.loadRelaxed() == 0, "still waiting")
        try demand(owning.slabs.loadRelaxed() + 20 < slabs, "\(owning.slabs.loadRelaxed()) slabs of \(slabs) are left")
        try demand(heap.pointee.room[sizeClass] != nil, "the class had no room, so this shows nothing")
        for pointer in pointers + small { pool.deallocate(pointer) }
        try demand(pool.checkInvariants(), "broken")
      }
    }
  }

  private final class Large: @unchecked Sendable {
    private var objects: [UnsafeMutableRawPointer?] = []
    func take() { objects = (0..<3_000).map { _ in MemoryPoolPointer.shared.allocate(500) } }
    func giveBack() { for object in objects { MemoryPoolPointer.shared.deallocate(object) } }
  }

  /// Handed from one thread to the next, never to two at once.
  private final class Left: @unchecked Sendable {
    var objects: [(UnsafeMutableRawPointer, Int, UInt8)] = []
  }
}
