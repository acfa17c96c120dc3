import Dispatch
import Testing

@testable import MempoolCore

/// The tracker is one for the process: a process of its own.
@Suite struct ContextTrackingTests {
  @Test("X14: threads make and free trees of their own while all roots are tracked")
  func treesOnThreads() async {
    await #expect(processExitsWith: .success) {
      let before = ContextPointer.allocate(1, under: nil, isStrict: false)!
      #expect(ContextProcess.track(name: nil, isStrict: false) && ContextProcess.track(name: nil, isStrict: false))
      let tracker = ContextProcess.tracker!
      #expect(tracker.totalBlocks == 1 && before.parent == nil)
      DispatchQueue.concurrentPerform(iterations: 8) { thread in
        var random = SplitMix64(seed: UInt64(thread))
        var roots: [ContextPointer] = []
        for _ in 0..<5000 {
          let root = ContextPointer.allocate(UInt(random.below(100)), under: nil, isStrict: false)!
          let child = ContextPointer.allocate(UInt(random.below(100)), under: root, isStrict: false)!
          child.move(to: nil)
          roots += [child, root.reallocate(UInt(random.below(5000)), name: nil)!]
          while roots.count > 20 { roots.remove(at: random.below(roots.count)).free(at: nil) }
        }
        for root in roots {
          if root.parent != ContextProcess.tracker { fatalError("a root without the tracker") }
          root.free(at: nil)
        }
      }
      #expect(tracker.totalBlocks == 1 && tracker.checkInvariants())
      let after = ContextPointer.allocate(1, under: nil, isStrict: false)!
      ContextProcess.untrack()
      #expect(after.parent == nil && ContextProcess.tracker == nil)
      after.free(at: nil)
      before.free(at: nil)
    }
  }
}
