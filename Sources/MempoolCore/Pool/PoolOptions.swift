/// How a pool gets its memory, and what it does when there is none.
///
/// A plain value, usable without allocating. Sizes are bytes.
public struct PoolOptions: Sendable {
  /// Where the memory comes from.
  public enum Backing: Sendable {
    /// Address space for `reserve` bytes, made accessible as it is needed; when it is full, a further reservation.
    /// 0 asks for 4 GiB, for the shared pool 1 TiB, at most an eighteenth or a quarter of the address-space limit; halved until it
    /// fits.
    case elastic(reserve: Int)
    /// `size` bytes, all taken at start; afterwards no system call for memory, ever.
    case fixed(size: Int, locked: Bool, prefault: Bool)
    /// The caller's memory, bookkeeping included. It must outlive the pool.
    case buffer(start: UInt, count: Int)
    /// No memory of its own: each call goes to the system's allocator. For comparison and for debugging.
    case passThrough
  }

  /// What an allocation does when the pool is exhausted.
  public enum Exhaustion: UInt, Sendable {
    /// Returns nil: NULL with ENOMEM in C, a thrown error in Swift.
    case fail
    /// One line on standard error, then SIGABRT.
    case abort
    /// Goes to the system's allocator, and counts it.
    case system
  }

  /// What serves objects below 4 KiB.
  public enum SmallObjects: UInt, Sendable {
    /// Per-thread slabs in size classes, metadata out of reach.
    case classes
    /// 4-byte headers and units, free blocks in lists by size: smallest, slower, in-line headers.
    case dense
    /// The same, with a tree of free blocks in each page: the best fit there, and slower still.
    case denseTree

    var isDense: Bool { self != .classes }
    var fit: DenseFit { self == .denseTree ? .tree : .lists }
  }

  public var backing: Backing = .elastic(reserve: 0)
  public var exhaustion: Exhaustion = .fail
  public var smallObjects: SmallObjects = .classes
  public var hardening: Hardening = .off
  /// Passes that a claim makes over a full bitmap beyond the first; nil: `MPMAXRETRIES`, or 3.
  public var maxRetries: UInt?
  /// Nanoseconds that it sleeps before each; nil: `MPWAITTIME`, or 1000.
  public var waitNanoseconds: UInt?
  /// Milliseconds that idle pages are kept; nil: `MEMPOOL_PURGE_DELAY`, or 1000.
  public var purgeDelayMilliseconds: UInt?

  public init() {}
}

/// Why a pool, a cache or an allocation could not be had.
public enum PoolError: Error, Equatable, Sendable {
  /// No memory is left: of the pool, or of the system. `errno` is ENOMEM.
  case outOfMemory
  /// The system refused address space or memory; its `errno`.
  case reservationFailed(errno: Int32)
  /// The memory could not be locked; its `errno`, commonly EPERM, EAGAIN or ENOMEM (see `ulimit -l`).
  case lockFailed(errno: Int32)
  /// A size, alignment or count that no pool can have.
  case invalidArgument
}
