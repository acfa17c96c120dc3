/// Where the threads of a round meet: none starts before all are live, and the driver knows who is done.
final class StartLine: @unchecked Sendable {  // everything is read and written under the lock
  private let lock = Lock()
  private let threads: Int
  private var arrived = 0
  private var isOpen = false
  private var isCancelled = false
  private var done: [Bool]

  init(threads: Int) {
    self.threads = threads
    done = Array(repeating: false, count: threads)
  }

  /// For a thread: waits until all have come; false when they did not, and there is nothing to do.
  func arrive() -> Bool {
    lock.withLock {
      arrived += 1
      lock.signalAll()
      while !isOpen && !isCancelled { lock.wait() }
      return isOpen
    }
  }

  /// For a thread: has done its work.
  func leave(_ index: Int) {
    lock.withLock {
      done[index] = true
      lock.signalAll()
    }
  }

  /// For the driver: lets the threads go when all have come, within `seconds`; the number that came.
  func open(within seconds: Double) -> Int {
    let deadline = monotonicSeconds() + seconds
    return lock.withLock {
      while arrived < threads && monotonicSeconds() < deadline { lock.wait(seconds: 0.5) }
      if arrived == threads { isOpen = true } else { isCancelled = true }
      lock.signalAll()
      return arrived
    }
  }

  /// For the driver: waits up to `seconds` for the threads to be done; those that are not.
  func unfinished(after seconds: Double) -> [Int] {
    let deadline = monotonicSeconds() + seconds
    return lock.withLock {
      while done.contains(false) {
        let left = deadline - monotonicSeconds()
        if left <= 0 { break }
        lock.wait(seconds: left)
      }
      return done.indices.filter { !done[$0] }
    }
  }
}
