import MempoolCore

/// Trees of contexts, one a thread, while roots are tracked: the tracker's list of children is what threads share, and whole trees
/// go from thread to thread by way of it.
final class ContextTrees: Scenario {
  static let name = "contexts"
  static let summary = "threads with trees of contexts of their own, all roots tracked"
  static let ownPools = true
  static let mustCount: [Counter] = [.allocations, .reallocations, .frees]

  private static let most = 200

  init(_ setting: Setting) {}

  func prepare(round: Int, _ run: Run) {
    if !ContextProcess.track(name: nil, isStrict: round % 2 == 0) { run.fail("no memory for the tracker") }
  }

  func work(_ worker: Worker) {
    var trees: [ContextPointer] = []
    while worker.step() {
      switch worker.random.below(8) {
      case 0...1 where trees.count < Self.most:
        let capacity = UInt(worker.random.within(0...2000))
        let root =
          worker.random.oneIn(2)
          ? ContextPointer.allocatePool(0, capacity: capacity, under: nil, isStrict: false)
          : ContextPointer.allocate(UInt(worker.random.within(0...200)), under: nil, isStrict: false)
        guard let root else { return worker.run.fail("no memory for a root", in: worker) }
        worker.counters[.allocations] += 1
        trees.append(root)
      case 2 where !trees.isEmpty:
        let index = worker.random.below(trees.count)
        guard !trees[index].isPool else { continue }
        guard let moved = trees[index].reallocate(UInt(worker.random.within(1...5000)), name: nil) else {
          return worker.run.fail("no memory to grow a root", in: worker)
        }
        worker.counters[.reallocations] += 1
        trees[index] = moved
      case 3 where !trees.isEmpty:
        let tree = trees[worker.random.below(trees.count)]
        guard let child = ContextPointer.allocate(16, under: tree, isStrict: false) else { continue }
        // A root of its own, and back.
        child.move(to: nil)
        child.move(to: tree)
        worker.counters[.allocations] += 1
      case 4...5 where !trees.isEmpty:
        let tree = trees[worker.random.below(trees.count)]
        if ContextPointer.allocate(UInt(worker.random.within(0...300)), under: tree, isStrict: false) != nil {
          worker.counters[.allocations] += 1
        }
        if !tree.checkInvariants() { return worker.run.fail("a tree's invariants do not hold", in: worker) }
      default:
        guard !trees.isEmpty else { continue }
        trees.swapAt(worker.random.below(trees.count), trees.count - 1)
        if trees.removeLast().free(at: nil) { worker.counters[.frees] += 1 }
      }
    }
    for tree in trees where tree.free(at: nil) { worker.counters[.frees] += 1 }
  }

  func settle(_ run: Run) {
    guard let tracker = ContextProcess.tracker else { return }
    if tracker.totalBlocks != 1 { run.fail("\(tracker.totalBlocks - 1) blocks are left below the tracker") }
    ContextProcess.untrack()
  }
}
