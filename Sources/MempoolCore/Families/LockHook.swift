/// A lock of the caller's, that a pool takes around each call: a mutex, a spin lock, or a switch for interrupts.
///
/// A pool has none of its own, for it knows no operating system.
public struct LockHook {
  /// 0: taken. Anything else: not taken, and the call on the pool fails without having looked at it.
  public typealias Lock = @convention(c) (_ state: UnsafeMutableRawPointer?) -> CInt
  /// Cannot fail: there would be nothing to be done about it.
  public typealias Unlock = @convention(c) (_ state: UnsafeMutableRawPointer?) -> Void

  public let lock: Lock
  public let unlock: Unlock
  public let state: UnsafeMutableRawPointer?

  public init(lock: @escaping Lock, unlock: @escaping Unlock, state: UnsafeMutableRawPointer?) {
    self.lock = lock
    self.unlock = unlock
    self.state = state
  }

  /// The engine's mutex, for who has an operating system after all. It must outlive the pool.
  public init(_ mutex: MutexPointer) {
    self.init(
      lock: { state in
        state.unsafelyUnwrapped.assumingMemoryBound(to: Mutex.self).lock()
        return 0
      },
      unlock: { state in state.unsafelyUnwrapped.assumingMemoryBound(to: Mutex.self).unlock() },
      state: UnsafeMutableRawPointer(mutex))
  }
}
