import Foundation

@testable import MempoolCore

/// Runs `body(0)`, …, `body(count - 1)` on threads of their own, all started before the first goes on; returns when all have
/// exited.
func onThreads(_ count: Int, _ body: @escaping @Sendable (_ number: Int) -> Void) {
  let gate = NSCondition()
  nonisolated(unsafe) var arrived = 0
  let finished = DispatchGroup()
  for number in 0..<count {
    finished.enter()
    let thread = Thread {
      gate.lock()
      arrived += 1
      if arrived == count { gate.broadcast() }
      while arrived < count { gate.wait() }
      gate.unlock()
      body(number)
      finished.leave()
    }
    thread.start()
  }
  finished.wait()
}

/// Lets another thread run.
func yieldThread() { sched_yield() }

/// Where two threads wait for each other for a very short time, so that they leave together.
final class Meeting: @unchecked Sendable {
  private let arrivals: AtomicPointer

  init() {
    let word = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    word.initialize(to: 0)
    arrivals = AtomicPointer(word)
  }

  deinit { arrivals.word.deallocate() }

  func wait() {
    let mine = arrivals.fetchAddAcquireRelease(1)
    let goal = (mine / 2 + 1) * 2
    var looks = 0
    while arrivals.loadAcquire() < goal {
      looks += 1
      if looks % 200 == 0 { yieldThread() }
    }
  }
}
