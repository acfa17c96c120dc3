import CMempoolShims
import ModelMachine

@testable import MempoolCore

nonisolated(unsafe) private var items: [UInt] = []

/// A pool whose small objects are in dense heaps.
private enum Bench {
  /// So many threads have a heap, and one of them so many objects, in one page.
  static func holding(
    _ count: Int, by thread: Int = 0, owners: Int = 1, then: @escaping () -> Void = {}
  ) -> () -> Void {
    {
      HeapBench.make(owners: owners, small: .dense)
      items = HeapBench.hold(count, 40, by: thread)
      for page in Set(items.map { DensePagePointer.unchecked(of: $0) }) {
        Names.add(UInt(bitPattern: page), DensePage.byteCount) { "dense page+\($0)" }
        Names.add(UInt(bitPattern: page.told.word), "told")
        Names.add(UInt(bitPattern: page.pendingNext.word), "pendingNext")
        // Who pushes a page again writes its link, which its owner must have read before.
        mp_machine_keep_order(page.pendingNext.word)
      }
      then()
    }
  }

  private static var heap: ThreadHeapPointer { HeapBench.pool.threadHeap()! }

  /// Collects what others have freed.
  static func collect() {
    mp_model_note("collects", 0)
    let dense = heap.dense
    dense.enter()
    dense.collect(to: heap.densePages)
    dense.leave()
  }

  private static func heapsAreSound() -> Bool {
    var isSound = HeapBench.partsAreSound()
    for index in 0..<HeapBench.registry.count where !HeapBench.registry.heap(index)!.dense.checkInvariants() {
      isSound = reportBroken("dense heap", index, "not what it says of itself")
    }
    return isSound
  }

  /// Whether everything agrees, now and when the owners have collected what was freed; and exactly what is held is out.
  static func check() -> String? {
    if !heapsAreSound() { return String(cString: mp_machine_failure()) }
    var live: UInt = 0, forgotten = false
    for index in 0..<HeapBench.registry.count {
      let heap = HeapBench.registry.heap(index)!
      if !HeapBench.registry.isOwned(index), heap.dense.pending.loadRelaxed() != 0 { forgotten = true }
      _ = heap.dense.defragment(to: heap.densePages)
      live += heap.dense.statistics().liveBlocks
    }
    if !heapsAreSound() { return String(cString: mp_machine_failure()) }
    // Who frees an object of an abandoned heap sees to it.
    if forgotten { return "an abandoned dense heap with pages pending" }
    return live == UInt(Items.count) ? nil : "\(Items.count) objects are held, \(live) are out"
  }
}

/// Frees of a dense heap's objects by other threads, and what the owner makes of them.
let denseScenarios: [Scenario] = [
  Scenario(
    name: "dense", summary: "2 threads free an object each of a dense heap's page, while its owner collects twice",
    bodies: [
      {
        Bench.collect()
        Bench.collect()
      }, { HeapBench.give(items[0]) }, { HeapBench.give(items[1]) },
    ],
    setUp: Bench.holding(4), check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "dense-abandon", summary: "a thread ends while another frees an object of its dense heap",
    bodies: [{ HeapBench.end() }, { HeapBench.give(items[0]) }],
    setUp: Bench.holding(4), check: Bench.check, bound: 5, fullBound: 8),
]
