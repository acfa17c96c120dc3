/// Where the threads of a round meet in the middle of it, again and again, so that something can be looked at while nothing runs.
///
/// The rounds that use it see states that later operations would have mended; the rounds that do not are those in which
/// ThreadSanitizer sees most, for a meeting orders everything before it with everything after it.
final class Meeting: @unchecked Sendable {  // everything is read and written under the lock
  private let lock = Lock()
  private let threads: Int
  private var arrived = 0
  private var number = 0
  private var goesOn = true

  init(threads: Int) { self.threads = threads }

  /// For every thread of the round: waits for the others; the last one to come runs `alone`. False when the round is over, for
  /// all of them at the same meeting.
  func meet(_ worker: Worker, alone: () -> Void) -> Bool {
    lock.withLock {
      arrived += 1
      if arrived < threads {
        let mine = number
        // A thread that failed does not come any more.
        while number == mine && !worker.run.hasFailed { lock.wait(seconds: 0.1) }
        return goesOn && !worker.run.hasFailed
      }
      alone()
      goesOn = !worker.run.isRoundOver
      arrived = 0
      number += 1
      lock.signalAll()
      return goesOn
    }
  }
}
