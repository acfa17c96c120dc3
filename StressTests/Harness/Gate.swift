import Glibc
import Synchronization

/// Where a number of threads wait for each other, as often as they like; asleep while they wait.
final class Gate: @unchecked Sendable {  // everything is read and written under the lock
  private let lock = Lock()
  private let threads: Int
  private var arrived = 0
  private var number = 0

  init(threads: Int) { self.threads = threads }

  /// Waits until all have come.
  func pass() {
    lock.withLock {
      let mine = number
      arrive()
      while number == mine { lock.wait() }
    }
  }

  /// Comes for one who does not: for a thread that could not be had.
  func comeForAnother() { lock.withLock { arrive() } }

  private func arrive() {
    arrived += 1
    guard arrived == threads else { return }
    arrived = 0
    number += 1
    lock.signalAll()
  }
}

/// Lets a number of threads go at the same moment, once: who waits is awake, and on a processor if there is one. Orders nothing between
/// them, so ThreadSanitizer sees of what follows what it would see without.
final class StartShot: Sendable {
  private let missing: Atomic<Int>

  init(threads: Int) { missing = Atomic(threads) }

  func wait() {
    comeForAnother()
    while missing.load(ordering: .relaxed) > 0 { sched_yield() }
  }

  func comeForAnother() { missing.wrappingSubtract(1, ordering: .relaxed) }
}
