import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct HeapRegistryTests {
  /// Of all threads that try to adopt a heap, one does.
  @Test func adoptedByExactlyOne() throws {
    let test = try TestPool(.elastic)
    let registry = test.pool.registry
    let heap = try #require(test.pool.threadHeap())
    let index = heap.pointee.index
    TestThread.run {}
    heap.abandonAll()
    let shared = Shared(registry)
    for _ in 0..<300 {
      let winners = Findings()
      TestThread.run(3) { _ in if shared.value.tryAdopt(index) { winners.report("won") } }
      try demand(winners.all.count == 1, "\(winners.all.count) threads adopted it")
      registry.giveUp(index)
    }
    #expect(registry.tryAdopt(index), "back to its owner, which remembers it")
    heap.owner.storeRelaxed(UInt(bitPattern: threadBlock()))
  }

  /// More threads at once than there can be heaps: those without share one, under a lock, and nothing is lost.
  @Test func moreThreadsThanHeaps() throws {
    let test = try TestPool(.fixed) { $0.backing = .fixed(size: 8 << 20, locked: false, prefault: false) }
    let pool = test.pool, shared = Shared(pool)
    #expect(pool.registry.pointee.capacity == 64)
    let findings = Findings()
    let gate = ThreadGate(150)
    for _ in 0..<2 {
      TestThread.run(150) { number in
        findings.report {
          let blocks = (0..<20).compactMap { shared.value.allocate(UInt(16 + $0 * 10)) }
          for (index, block) in blocks.enumerated() { Pattern.fill(block, 16, UInt64(number * 100 + index)) }
          gate.arrive()
          for (index, block) in blocks.enumerated() {
            try demand(Pattern.isIntact(block, 16, UInt64(number * 100 + index)), "thread \(number): overwritten")
            shared.value.deallocate(block)
          }
          gate.arrive()
        }
      }
    }
    #expect(findings.all == [])
    #expect(pool.statistics().heapCount <= 64)
    #expect(pool.statistics().allocatedBytes == 0)
    #expect(pool.checkInvariants())
  }

  /// A heap is made for each thread that is alive at once, and no more, however many come and go.
  @Test func heapsAreReused() throws {
    let test = try TestPool(.elastic)
    let shared = Shared(test.pool)
    for _ in 0..<50 {
      let gate = ThreadGate(8)
      TestThread.run(8) { _ in
        let block = shared.value.allocate(100)
        gate.arrive()
        shared.value.deallocate(block)
      }
    }
    #expect(test.pool.statistics().heapCount == 8)
    #expect(test.pool.statistics().ownedHeapCount == 0)
  }

  /// Many pools, used in turn by one thread that can remember few: it finds its heap in each again.
  @Test func oneHeapInEachOfManyPools() throws {
    let tests = try (0..<40).map { _ in try TestPool(.crowded) }
    for round in 0..<5 {
      for test in tests {
        let block = try #require(test.pool.allocate(UInt(10 + round)))
        if round % 2 == 0 { test.pool.deallocate(block) }
      }
    }
    for test in tests {
      #expect(test.pool.statistics().heapCount == 1)
      #expect(test.pool.checkInvariants())
    }
    let pools = Shared(tests.map { $0.pool })
    TestThread.run { for _ in 0..<3 { for pool in pools.value { _ = pool.allocate(50) } } }
    for test in tests {
      let statistics = test.pool.statistics()
      #expect(statistics.heapCount == 2 && statistics.ownedHeapCount == 1, "the thread gave up its heap in every pool")
    }
  }
}
