import Foundation

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
