import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// Medium objects that others have freed, and whose owner does not come to collect them.
@Suite struct UncollectedTests {
  /// Objects of a thread that waits, until `body` is done; then the thread collects, and uses them again.
  private func withOwner(
    of count: Int, _ byteCount: UInt,
    _ body: (MemoryPoolPointer, ThreadHeapPointer, [UnsafeMutableRawPointer]) throws -> Void
  ) throws {
    let test = try TestPool(.elastic)
    let pool = Shared(test.pool), outcome = Findings(), gate = ThreadGate(2)
    let made = Shared(UnsafeMutablePointer<UnsafeMutableRawPointer>.allocate(capacity: count))
    defer { made.value.deallocate() }
    // This thread is known before it frees.
    pool.value.deallocate(pool.value.allocate(100))
    let owner = TestThread {
      for index in 0..<count {
        guard let object = pool.value.allocate(byteCount) else { return outcome.report("nothing left") }
        memset(object, 7, Int(byteCount))
        made.value[index] = object
      }
      gate.arrive()
      gate.arrive()
      let again = (0..<count).compactMap { _ in pool.value.allocate(byteCount) }
      for object in again { memset(object, 8, Int(byteCount)) }
      for object in again { pool.value.deallocate(object) }
    }
    gate.arrive()
    let objects = (0..<count).map { made.value[$0] }
    let slab = pool.value.pointee.first.entry(of: UInt(bitPattern: objects[0])).slab.loadPointerRelaxed()
    let heap = try #require(slab).assumingMemoryBound(to: Slab.self).pointee.heap
    try body(pool.value, heap, objects)
    gate.arrive()
    owner.join()
    #expect(outcome.all == [])
    #expect(pool.value.checkInvariants())
  }

  private func resident(_ objects: [UnsafeMutableRawPointer], _ byteCount: Int) -> Int {
    objects.reduce(0) { $0 + residentPages($1, byteCount) }
  }

  @Test func whatStaysUncollectedGoesBackOnce() throws {
    try withOwner(of: 40, 8192) { pool, heap, objects in
      Process.withoutPurger {
        #expect(!heap.hasMediumPending)
        for object in objects[..<30] { pool.deallocate(object) }
        #expect(heap.hasMediumPending)
        #expect(heap.returnUncollected(all: false) == 0, "what has just been freed went back")
        #expect(resident(objects, 8192) == 80)
        pool.deallocate(objects[30])
        #expect(heap.returnUncollected(all: false) == 30 * 8192)
        #expect(heap.hasMediumPending, "there may be more in these slabs soon")
        #expect(heap.returnUncollected(all: false) == 8192, "the last one has stayed, too")
        #expect(heap.returnUncollected(all: false) == 0 && heap.returnUncollected(all: true) == 0, "twice")
      }
      #expect(resident(Array(objects[..<31]), 8192) == 0)
      #expect(resident(Array(objects[31...]), 8192) == 18)
      for object in objects[31...] {
        let bytes = UnsafeRawBufferPointer(start: object, count: 8192)
        #expect(bytes.allSatisfy { $0 == 7 }, "a live object lost its contents")
      }
      #expect(pool.checkInvariants())
      for object in objects[31...] { pool.deallocate(object) }
    }
  }

  /// Items that are no whole number of pages share some with their neighbours: those go when both are free.
  @Test func neighboursGoTogether() throws {
    try withOwner(of: 24, 5120) { pool, heap, objects in
      let slabs = Dictionary(grouping: objects) {
        pool.pointee.first.entry(of: UInt(bitPattern: $0)).base.loadRelaxed()
      }
      let nine = try #require(slabs.values.first { $0.count == 9 }).sorted()
      let rest = objects.filter { !nine.contains($0) }
      #expect(zip(nine, nine.dropFirst()).allSatisfy { $1 - $0 == 5120 })
      Process.withoutPurger {
        pool.deallocate(nine[1])
        #expect(heap.returnUncollected(all: true) == 0, "no page is its own")
        pool.deallocate(nine[2])
        #expect(heap.returnUncollected(all: true) == 4096)
        pool.deallocate(nine[0])
        #expect(heap.returnUncollected(all: true) == 2 * 4096)
        for object in nine[3...] { pool.deallocate(object) }
        #expect(heap.returnUncollected(all: true) == 8 * 4096)
      }
      #expect(residentPages(nine[0], 11 * 4096) == 0)
      for object in rest { pool.deallocate(object) }
    }
  }

  @Test func aPurgeReturnsThem() throws {
    try withOwner(of: 20, 32768) { pool, _, objects in
      for object in objects { pool.deallocate(object) }
      // The purger may have been first with some.
      _ = pool.purge()
      #expect(resident(objects, 32768) == 0)
    }
  }

  /// What the owner has collected meanwhile is as if it had never been looked at.
  @Test func collectedItemsBeginAnew() throws {
    let test = try TestPool(.elastic)
    let pool = Shared(test.pool)
    func free(_ objects: [UnsafeMutableRawPointer]) {
      let objects = Shared(objects)
      TestThread.run { for object in objects.value { pool.value.deallocate(object) } }
    }
    for _ in 0..<3 {
      let objects = try (0..<8).map { _ in try #require(pool.value.allocate(16384)) }
      for object in objects { memset(object, 7, 16384) }
      free(objects)
      _ = pool.value.threadHeap()?.returnUncollected(all: true)
      #expect(resident(objects, 16384) == 0)
    }
    #expect(pool.value.checkInvariants())
  }

  /// A slab's two notes have a bit for each item that an address in it may name.
  @Test func aSlabHasFewMediumItems() throws {
    let test = try TestPool(.elastic)
    let heap = try #require(test.pool.threadHeap())
    for sizeClass in SizeClass.smallCount..<SizeClass.count {
      for made: UInt16 in [0, 1, 3, 10_000] {
        let pages = heap.slabPages(sizeClass, made: made)
        #expect(SlabPointer.shape(SizeClass.itemSize(sizeClass), pages: pages).items + 1 < UInt16.bitWidth)
      }
    }
  }

  /// Small objects share pages: nothing is done about them.
  @Test func smallObjectsStay() throws {
    try withOwner(of: 1000, 200) { pool, heap, objects in
      for object in objects { pool.deallocate(object) }
      #expect(!heap.hasMediumPending && heap.returnUncollected(all: true) == 0)
      #expect(heap.pending.loadRelaxed() != 0)
    }
  }
}
