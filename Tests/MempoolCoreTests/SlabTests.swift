import Foundation
import Testing

@testable import MempoolCore

@Suite struct SlabTests {
  init() { #expect(MemoryPoolPointer.shared.start()) }

  /// A slab of a class in a segment of the test's, for a heap that is nobody's.
  private final class TestSlab {
    let test: TestSegment
    let heap: ThreadHeapPointer
    let slab: SlabPointer

    init(_ sizeClass: Int, pages: UInt) {
      test = TestSegment(pages: Int(pages) + 4)
      heap = .allocate(capacity: 1)
      slab = .make(sizeClass, pages: pages, in: test.segment, for: heap)!
    }

    deinit { heap.deallocate() }
  }

  private let shapes: [(Int, UInt)] = (0..<SizeClass.count).flatMap { sizeClass in
    sizeClass < SizeClass.smallCount
      ? [UInt(1), 2, 4].map { (sizeClass, $0) }
      : [UInt(2), 4, 8].map { (sizeClass, ($0 * SizeClass.itemSize(sizeClass) + Page.byteCount - 1) >> Page.shift) }
  }

  /// Every class × every offset: the item's number and whether the address is an item's first byte, by the reciprocal, as by
  /// division. This is all that `free` knows of a pointer.
  @Test func everyOffsetOfEveryClass() throws {
    for (sizeClass, pages) in shapes {
      let test = TestSlab(sizeClass, pages: pages)
      let slab = test.slab, size = SizeClass.itemSize(sizeClass)
      for offset in 0..<pages << Page.shift {
        let address = slab.address + offset
        let entry = test.test.segment.entry(of: address)
        let reciprocal = entry.reciprocal.loadRelaxed()
        let (item, rest) = (address &- entry.base.loadRelaxed()).multipliedFullWidth(by: reciprocal)
        try demand(item == offset / size + 1, "class \(size), offset \(offset): item \(item)")
        try demand((rest < reciprocal) == (offset % size == 0), "class \(size), offset \(offset): interior or not")
      }
    }
  }

  /// All items, each once, none outside the pages; then none; all given back, all of them again.
  @Test func everyItemOnce() throws {
    for (sizeClass, pages) in shapes {
      let test = TestSlab(sizeClass, pages: pages)
      let slab = test.slab, size = SizeClass.itemSize(sizeClass), count = Int(slab.pointee.itemCount)
      #expect(UInt(count) == min((pages << Page.shift) / size, Slab.largestItemCount))
      for round in 0..<2 {
        var seen = Set<UInt>()
        while true {
          var address = UInt(bitPattern: slab.take())
          if address == 0, slab.carve() { address = UInt(bitPattern: slab.take()) }
          if address == 0 { break }
          try demand((address - slab.address) % size == 0, "class \(size): no item begins there")
          try demand(address >= slab.address && address + size <= slab.address + pages << Page.shift, "class \(size)")
          try demand(seen.insert(address).inserted, "class \(size), round \(round): an item twice")
        }
        try demand(seen.count == count, "class \(size), round \(round): \(seen.count) of \(count) items")
        #expect(slab.used == UInt(count) && !slab.hasRoom)
        for address in seen { _ = slab.put((address - slab.address) / size + 1) }
        #expect(slab.used == 0)
      }
      test.slab.destroy()
      #expect(test.test.segment.arena.usedBytes.loadRelaxed() == 0, "the record came back")
      #expect(test.test.segment.checkInvariants())
    }
  }

  /// Taken, put, freed by others and collected at random, against a set of who is out.
  @Test func randomOperationsAgainstAShadow() throws {
    var random = SplitMix64(seed: SplitMix64.seed("SlabTests.random"))
    for (sizeClass, pages) in shapes where sizeClass % 5 == 0 {
      let test = TestSlab(sizeClass, pages: pages)
      let slab = test.slab
      var out: [UInt] = [], told = Set<UInt>(), isPending = false
      let size = SizeClass.itemSize(sizeClass)
      for step in 0..<3_000 {
        switch random.below(10) {
        case 0..<5:
          var address = UInt(bitPattern: slab.take())
          if address == 0, slab.carve() { address = UInt(bitPattern: slab.take()) }
          guard address != 0 else {
            try demand(out.count + told.count == Int(slab.pointee.itemCount), "step \(step): empty before its time")
            break
          }
          let item = (address - slab.address) / size + 1
          try demand(!out.contains(item) && !told.contains(item), "step \(step): item \(item) handed out twice")
          out.append(item)
        case 5..<7:
          guard !out.isEmpty else { break }
          let item = out.remove(at: random.below(out.count))
          _ = slab.put(item)
        case 7..<9:
          guard !out.isEmpty else { break }
          let item = out.remove(at: random.below(out.count))
          told.insert(item)
          // Exactly the first since the last collection is told to push the slab.
          let isFirst = slab.freeRemotely(item) == .first && slab.tell(item)
          try demand(isFirst == !isPending, "step \(step): first \(isFirst), pending \(isPending)")
          isPending = true
          try demand(slab.isUncollected(item), "step \(step)")
        default:
          guard isPending else { break }
          slab.collect()
          told = []
          isPending = false
        }
        try demand(slab.used == UInt(out.count + told.count), "step \(step): a wrong count")
      }
      if isPending { slab.collect() }
      for item in out { _ = slab.put(item) }
      #expect(slab.used == 0)
      slab.setPlace(.room)
      #expect(slab.checkInvariants())
    }
  }

  /// An owner and three threads that free what it hands out, through the slab's cells: nothing is lost, nothing is handed out
  /// twice, and exactly one of those who free is told to push the slab between two collections.
  @Test(arguments: [0, 2, 40])
  func remoteFreesAgainstTheOwner(sizeClass: Int) throws {
    let test = TestSlab(sizeClass, pages: 1)
    let slab = test.slab, count = Int(slab.pointee.itemCount)
    let shared = Shared((slab: slab, pushed: AtomicPointer(UnsafeMutablePointer<UInt>.allocate(capacity: 1))))
    let pushed = shared.value.pushed
    pushed.storeRelaxed(0)
    defer { pushed.word.deallocate() }
    let findings = Findings()
    // Who has an item: a word each, 0 nobody, else the number of the thread that is to free it.
    let table = UnsafeMutablePointer<UInt>.allocate(capacity: count + 2)
    table.initialize(repeating: 0, count: count + 2)
    defer { table.deallocate() }
    let words = Shared(AtomicPointer(table))
    let rounds = 100 * count + 20_000
    let done = Shared(AtomicPointer(UnsafeMutablePointer<UInt>.allocate(capacity: 1)))
    done.value.storeRelaxed(0)
    defer { done.value.word.deallocate() }
    TestThread.run(4) { number in
      findings.report {
        let slab = shared.value.slab, pushed = shared.value.pushed, words = words.value
        if number > 0 {
          var isLast = false
          while true {
            var found = false
            for item in 1...count where words.advanced(by: item).loadRelaxed() == UInt(number) {
              guard words.advanced(by: item).exchangeAcquire(0) == UInt(number) else { continue }
              found = true
              if slab.freeRemotely(UInt(item)) == .first, slab.tell(UInt(item)) {
                try demand(pushed.fetchAddAcquireRelease(1) == 0, "two threads were told to push the slab")
              }
            }
            if isLast { return }
            if !found {
              if done.value.loadAcquire() == 1 { isLast = true }
              sched_yield()
            }
          }
        }
        defer { done.value.storeRelease(1) }
        var handedOut = 0
        while handedOut < rounds {
          var address = UInt(bitPattern: slab.take())
          if address == 0, slab.carve() { address = UInt(bitPattern: slab.take()) }
          if address == 0 {
            if pushed.loadAcquire() == 1 {
              // As the pending list does: taken off before it is collected.
              pushed.storeRelease(0)
              slab.collect()
              if slab.used == 0 {
                // All are back, so nobody is still on its way: the slab could go.
                for _ in 0..<10 { sched_yield() }
                try demand(slab.summary.loadRelaxed() == 0 && pushed.loadRelaxed() == 0, "told of items that are back")
              }
            } else {
              sched_yield()
            }
            continue
          }
          let item = Int((address - slab.address) / slab.pointee.itemSize + 1)
          try demand(words.advanced(by: item).loadRelaxed() == 0, "item \(item) handed out twice")
          words.advanced(by: item).storeRelease(UInt(1 + handedOut % 3))
          handedOut += 1
        }
      }
    }
    #expect(findings.all == [])
    slab.collect()
    for item in 1...count where table[item] != 0 { Issue.record("item \(item) was not freed") }
    #expect(slab.used == 0)
    slab.setPlace(.room)
    #expect(slab.checkInvariants())
  }

  /// A request that the segment cannot serve leaves no record behind.
  @Test func noRoomForASlab() throws {
    let test = TestSegment(pages: 3)
    let heap = ThreadHeapPointer.allocate(capacity: 1)
    defer { heap.deallocate() }
    let first = try #require(test.segment.allocateMetadata(64))
    let used = test.segment.arena.usedBytes.loadRelaxed()
    #expect(SlabPointer.make(5, pages: 4, in: test.segment, for: heap) == nil)
    #expect(test.segment.arena.usedBytes.loadRelaxed() == used)
    let slab = try #require(SlabPointer.make(5, pages: 2, in: test.segment, for: heap))
    #expect(SlabPointer.make(5, pages: 1, in: test.segment, for: heap) == nil)
    slab.destroy()
    test.segment.deallocateMetadata(first, 64)
    #expect(test.segment.arena.usedBytes.loadRelaxed() == 0)
    #expect(test.segment.checkInvariants())
  }
}
