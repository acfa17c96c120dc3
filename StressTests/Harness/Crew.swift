/// The threads of a run. They live for as long as it does: between rounds they wait, their heaps as the round has left them, and nothing of
/// the allocator happens in them.
///
/// Everything but `threads`, which is the driver's, is read and written under the lock.
final class Crew: @unchecked Sendable {
  private let lock = Lock()
  private var threads: [OwnThread] = []
  private var round = 0
  private var task: (@Sendable (Int) -> Void)?

  /// Fewer than `count` when the system has no more.
  init(count: Int) {
    for index in 0..<count {
      guard let thread = OwnThread({ self.serve(index) }) else { break }
      threads.append(thread)
    }
  }

  /// Has each thread run `task` once with its number. Not before all are done with the one before.
  func perform(_ task: @escaping @Sendable (Int) -> Void) {
    lock.withLock {
      self.task = task
      round += 1
      lock.signalAll()
    }
  }

  /// Lets the threads end, and waits for them. All must be done.
  func dismiss() {
    lock.withLock {
      task = nil
      round += 1
      lock.signalAll()
    }
    for thread in threads { thread.join() }
    threads = []
  }

  private func serve(_ index: Int) {
    // What is sent to the process is not for them.
    for signal in SignalMask.sent { SignalMask.block(signal) }
    var served = 0
    while let task = task(after: served) {
      task(index)
      served += 1
    }
  }

  private func task(after served: Int) -> (@Sendable (Int) -> Void)? {
    lock.withLock {
      while round == served { lock.wait() }
      return task
    }
  }
}
