import CMempoolShims

/// A lock for a list that many walk and few change. Readers proceed together; a waiting writer holds new readers off, so
/// that it is not starved. Not recursive on either side. A zero word is an unlocked lock.
public struct ReadWriteLock {
  // state == readers * 4 | waiting * 2 | writing; writing == 1 ⇒ readers == 0
  var state = AtomicWord()
  // Bumped by each change that a sleeper may be waiting for; what sleepers sleep on.
  var wakeups = AtomicWord()

  public init() {}
}

public typealias ReadWriteLockPointer = UnsafeMutablePointer<ReadWriteLock>

extension UnsafeMutablePointer where Pointee == ReadWriteLock {
  @inline(__always) var state: AtomicPointer { AtomicPointer(self, word: 0) }
  @inline(__always) var wakeups: AtomicPointer { AtomicPointer(self, word: 1) }

  private static var writing: UInt { 1 }
  private static var waiting: UInt { 2 }
  private static var reader: UInt { 4 }

  public func tryLockRead() -> Bool {
    var seen = state.loadRelaxed()
    while seen & (Self.writing | Self.waiting) == 0 {
      let found = state.compareAndSwapAcquire(seen, seen + Self.reader)  // acquire: pairs with unlockWrite()
      if found == seen { return true }
      seen = found
    }
    return false
  }

  public func lockRead() {
    var attempts = 0
    while !tryLockRead() { pauseOrSleep(&attempts) { $0 & (Self.writing | Self.waiting) != 0 } }
  }

  public func unlockRead() {
    let old = state.fetchAddAcquireRelease(0 &- Self.reader)  // release: pairs with tryLockWrite() and lockWrite()
    if old & ~(Self.writing | Self.waiting) == Self.reader, old & Self.waiting != 0 { wake() }
  }

  public func tryLockWrite() -> Bool {
    state.compareAndSwapAcquire(0, Self.writing) == 0  // acquire: pairs with unlockRead() and unlockWrite()
  }

  public func lockWrite() {
    var attempts = 0
    while true {
      let seen = state.loadRelaxed()
      if seen & ~Self.waiting == 0 {
        // Takes the mark off; a writer that still waits puts it back. acquire: pairs with unlockRead() and unlockWrite()
        if state.compareAndSwapAcquire(seen, Self.writing) == seen { return }
      } else if seen & Self.waiting == 0 {
        _ = state.compareAndSwapRelaxed(seen, seen | Self.waiting)
      } else {
        pauseOrSleep(&attempts) { $0 & ~Self.waiting != 0 && $0 & Self.waiting != 0 }
      }
    }
  }

  public func unlockWrite() {
    // release: pairs with tryLockRead(), tryLockWrite() and lockWrite()
    _ = state.fetchAndAcquireRelease(~Self.writing)
    wake()
  }

  /// In a child process just forked, by its only thread: whoever held the lock is gone.
  public func resetAfterFork() { state.storeRelaxed(0) }

  private func wake() {
    _ = wakeups.fetchAddAcquireRelease(1)  // release: pairs with the load in pauseOrSleep(_:while:)
    Memcheck.silence()
    mp_futex_wake(wakeups.word, Int32.max)
    Memcheck.listen()
  }

  private func pauseOrSleep(_ attempts: inout Int, while blocked: (UInt) -> Bool) {
    attempts += 1
    if attempts < 64 { return mp_pause() }
    let ticket = wakeups.loadAcquire()  // acquire: pairs with the add in wake(), so that the state read next is newer
    Memcheck.silence()
    if blocked(state.loadRelaxed()) { mp_futex_wait(wakeups.word, ticket) }
    Memcheck.listen()
  }
}
