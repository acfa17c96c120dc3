import CMempoolShims
import ModelMachine

@testable import MempoolCore

nonisolated(unsafe) private var items: [UInt] = []

/// A pool whose small objects are in dense heaps.
private enum Bench {
  /// A thread has a heap, and so many objects in it.
  static func holding(_ count: Int, _ byteCount: UInt = 40) -> () -> Void {
    {
      HeapBench.make(owners: 1, small: .dense)
      items = HeapBench.hold(count, byteCount, by: 0)
      for page in Set(items.map { DensePagePointer.unchecked(of: $0) }) {
        Names.add(UInt(bitPattern: page), DensePage.byteCount) { "dense page+\($0)" }
        Names.add(UInt(bitPattern: page.told.word), "told")
        Names.add(UInt(bitPattern: page.pendingNext.word), "pendingNext")
        // Who pushes a page again writes its link, which its owner must have read before.
        mp_machine_keep_order(page.pendingNext.word)
      }
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

  /// Tries to free what another frees, too.
  static func tryToFree(_ item: UInt) {
    let dense = DenseHeapPointer.owner(of: item)!
    switch dense.freeRemotely(item) {
    case .fault: return mp_model_note("is too late", 0)
    case .told: break
    case .first(let page): dense.push(page)
    }
    if !Items.isHeld(item) { mp_model_fail("an object is freed twice") }
    Items.give(item, writes: false)
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

/// A gate, and a word that it guards.
private enum GateBench {
  static var gate: ForkGatePointer { mp_machine_memory().assumingMemoryBound(to: ForkGate.self) }
  static var word: UnsafeMutableRawPointer { mp_machine_memory() + 64 }

  static func make() {
    Items.clear()
    Items.keep()
    Names.add(UInt(bitPattern: gate), "gate")
    Names.add(UInt(bitPattern: word), "what is guarded")
  }

  private static func add() { mp_model_write(word, mp_model_read(word) + 1) }

  static func goIn() {
    gate.enter()
    add()
    gate.leave()
  }

  static func fork() {
    gate.close()
    add()
    // What a fork's handlers allocate.
    goIn()
    gate.open()
  }

  static func check(_ additions: UInt) -> String? {
    let count = mp_model_read(word)
    if count != additions { return "\(count) additions, not \(additions)" }
    return gate.state.loadRelaxed() == 0 ? nil : "the gate is closed, and nobody forks"
  }
}

/// Frees of a dense heap's objects by other threads, and what the owner makes of them; and its gate for forks.
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
  Scenario(
    name: "dense-pages", summary: "2 threads free an object each, in different pages, while their owner collects",
    bodies: [{ Bench.collect() }, { HeapBench.give(items[0]) }, { HeapBench.give(items[4]) }],
    setUp: Bench.holding(5, HeapBench.large), check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "dense-twice", summary: "2 threads free one object of a dense heap, while its owner collects",
    bodies: [{ Bench.collect() }, { Bench.tryToFree(items[0]) }, { Bench.tryToFree(items[0]) }],
    setUp: Bench.holding(4), check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "gate", summary: "a thread goes through a gate twice while another forks",
    bodies: [
      {
        GateBench.goIn()
        GateBench.goIn()
      }, { GateBench.fork() },
    ],
    setUp: { GateBench.make() }, check: { GateBench.check(4) }, bound: 5, fullBound: 8),
]
