import CMempoolShims

/// A lock for the paths that may wait: growing, registering, forking. Never taken by an owner's allocation or free.
///
/// Records its owner, so that a fork handler can tell whether the forking thread holds it already. Not recursive: a thread
/// that locks it twice waits for ever. A zero word is an unlocked mutex. Waits in the kernel after a short spin.
public struct Mutex {
  // state == 0: free. state == block | waiters: held by the thread with that block; waiters is 1 when somebody sleeps.
  var state = AtomicWord()

  public init() {}
}

public typealias MutexPointer = UnsafeMutablePointer<Mutex>

extension UnsafeMutablePointer where Pointee == Mutex {
  @inline(__always) var state: AtomicPointer { AtomicPointer(self, word: 0) }

  private static var waiters: UInt { 1 }

  private var ownBlock: UInt { UInt(bitPattern: threadBlock()) }

  /// Whether the calling thread holds it. Only that thread's own answer is stable.
  public var isHeldByThisThread: Bool { state.loadRelaxed() & ~Self.waiters == ownBlock }

  /// Takes the lock if it is free.
  public func tryLock() -> Bool {
    state.compareAndSwapAcquire(0, ownBlock) == 0  // acquire: pairs with the release in unlock()
  }

  /// Takes the lock, waiting as long as it takes.
  public func lock() {
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
        mp_futex_wait(state.word, seen | Self.waiters)
      }
    }
  }

  /// Gives the lock back. Only the thread that took it may.
  public func unlock() {
    let old = state.exchangeRelease(0)  // release: pairs with the acquire in tryLock() and lock()
    if old & Self.waiters != 0 { mp_futex_wake(state.word, 1) }
  }

  /// In a child process just forked, by its only thread: whoever held the lock is gone.
  public func resetAfterFork() { state.storeRelaxed(0) }

  /// Runs `body` with the lock held.
  @inline(__always)
  public func withLock<Result>(_ body: () -> Result) -> Result {
    lock()
    let result = body()
    unlock()
    return result
  }
}
