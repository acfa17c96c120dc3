internal import MempoolCore

/// A lock of the caller's, for a pool that has none of its own: it is taken around each call.
@safe
public struct LockHook {
  let core: MempoolCore.LockHook

  /// A lock out of two C functions.
  ///
  /// - Parameters:
  ///   - state: What is passed to both; it must outlive the pool.
  ///   - lock: Returns 0 when it took the lock. Otherwise the call on the pool fails without having looked at anything.
  ///   - unlock: Gives the lock back.
  @unsafe
  public init(
    state: UnsafeMutableRawPointer?,
    lock: @escaping @convention(c) (UnsafeMutableRawPointer?) -> Int32,
    unlock: @escaping @convention(c) (UnsafeMutableRawPointer?) -> Void
  ) {
    core = unsafe MempoolCore.LockHook(lock: lock, unlock: unlock, state: state)
  }
}
