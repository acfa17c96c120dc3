import CMempoolShims

/// A lock for the paths that may wait: growing, registering, forking. Never taken by an owner's allocation or free.
///
/// Records its owner, so that a fork handler can tell whether the forking thread holds it already. Not recursive: a thread
/// that locks it twice waits for ever; but between a fork's handlers the forking thread may lock it once more, as other
/// handlers may allocate. A zero word is an unlocked mutex. Waits in the kernel after a short spin.
public struct Mutex {
  // state == 0: free. state == block | marks: held by the thread with that block. The marks: somebody sleeps; taken by
  // lockForFork(); and locked once more since. Only the holder changes the last two.
  var state = AtomicWord()

  public init() {}
}

public typealias MutexPointer = UnsafeMutablePointer<Mutex>

extension UnsafeMutablePointer where Pointee == Mutex {
  @inline(__always) var state: AtomicPointer { AtomicPointer(self, word: 0) }

  private static var waiters: UInt { 1 }
  private static var forking: UInt { 2 }
  private static var again: UInt { 4 }
  private static var marks: UInt { waiters | forking | again }

  private var ownBlock: UInt { UInt(bitPattern: threadBlock()) }

  /// Whether the calling thread holds it. Only that thread's own answer is stable.
  public var isHeldByThisThread: Bool { state.loadRelaxed() & ~Self.marks == ownBlock }

  /// Takes the lock if it is free.
  public func tryLock() -> Bool {
    state.compareAndSwapAcquire(0, ownBlock) == 0  // acquire: pairs with the release in unlock()
  }

  /// Takes the lock, waiting as long as it takes.
  public func lock() {
    if isTakenByThisFork {
      _ = state.fetchOrRelaxed(Self.again)
      return
    }
    for _ in 0..<64 {
      if tryLock() { return }
      mp_pause()
    }
    while true {
      let seen = state.loadRelaxed()
      if seen == 0 {
        // Whoever has slept keeps the mark: others may sleep still.
        if state.compareAndSwapAcquire(0, ownBlock | Self.waiters) == 0 { return }  // acquire: pairs with unlock()
      } else if seen & Self.waiters != 0 || state.compareAndSwapRelaxed(seen, seen | Self.waiters) == seen {
        Memcheck.silence()
        mp_futex_wait(state.word, seen | Self.waiters)
        Memcheck.listen()
      }
    }
  }

  /// Gives the lock back. Only the thread that took it may.
  public func unlock() {
    if state.loadRelaxed() & Self.again != 0 {
      _ = state.fetchAndRelaxed(~Self.again)
      return
    }
    let old = state.exchangeRelease(0)  // release: pairs with the acquire in tryLock() and lock()
    Memcheck.silence()
    if old & Self.waiters != 0 { mp_futex_wake(state.word, 1) }
    Memcheck.listen()
  }

  private var isTakenByThisFork: Bool { state.loadRelaxed() & Self.forking != 0 && isHeldByThisThread }

  /// Before a fork: takes the lock, unless this thread holds it already. Then it is in a call that goes on after the fork, in
  /// the parent and in the child.
  public func lockForFork() {
    if isHeldByThisThread { return }
    lock()
    _ = state.fetchOrRelaxed(Self.forking)
  }

  /// In the parent, after the fork: gives back what ``lockForFork()`` took, and only that.
  public func unlockAfterFork() {
    if isTakenByThisFork { unlock() }
  }

  /// In a child process just forked, by its only thread: whoever held the lock is gone, but for this thread itself, which keeps
  /// what it held before the fork.
  public func resetAfterFork() {
    if isTakenByThisFork || !isHeldByThisThread { state.storeRelaxed(0) }
  }

  /// Runs `body` with the lock held.
  @inline(__always)
  public func withLock<Result>(_ body: () -> Result) -> Result {
    lock()
    let result = body()
    unlock()
    return result
  }
}
