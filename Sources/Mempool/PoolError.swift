internal import MempoolCore

/// Why a pool, a cache or an allocation could not be had.
public enum PoolError: Error, Equatable, Sendable {
  /// No memory is left: the pool is exhausted, or the system has none.
  case outOfMemory
  /// The system refused address space or memory for a pool.
  ///
  /// - `errno`: What it answered; commonly `ENOMEM`, where `ulimit -v` is low.
  case reservationFailed(errno: Int32)
  /// The memory of a pool that is to be locked could not be.
  ///
  /// - `errno`: What the system answered; commonly `ENOMEM`, `EPERM` or `EAGAIN`, where `ulimit -l` is low.
  case lockFailed(errno: Int32)
  /// A size, alignment or count that no pool can have: negative, overflowing, or not a power of two.
  case invalidArgument
  /// The lock that a pool was given, a ``LockHook``, was not to be had.
  case lockRefused
}

extension PoolError: CustomStringConvertible {
  /// One sentence for people.
  public var description: String {
    switch self {
    case .outOfMemory: "no memory is left"
    case .reservationFailed(let errno): "the system refused the memory (errno \(errno))"
    case .lockFailed(let errno): "the memory could not be locked (errno \(errno); see ulimit -l)"
    case .invalidArgument: "a size, alignment or count that no pool can have"
    case .lockRefused: "the pool's lock was refused"
    }
  }
}

extension PoolError {
  init(_ core: MempoolCore.PoolError) {
    self =
      switch core {
      case .outOfMemory: .outOfMemory
      case .reservationFailed(let errno): .reservationFailed(errno: errno)
      case .lockFailed(let errno): .lockFailed(errno: errno)
      case .invalidArgument: .invalidArgument
      }
  }
}
