internal import MempoolCore

/// Where a pool's memory comes from, and what happens when there is none.
///
/// A value; each property has a default that suits a program that knows nothing of it.
public struct PoolOptions: Sendable {
  /// Where memory comes from.
  public enum Backing: Sendable {
    /// As much as is asked for. Address space is reserved in one piece and made accessible as it is needed.
    ///
    /// - `reserve`: Bytes of address space of a piece; 0 leaves it to the pool: 4 GiB, for the shared pool 1 TiB, at
    ///   most an eighteenth or a quarter of `ulimit -v`, halved until it fits. When a piece is full there is a further one.
    case elastic(reserve: Int = 0)
    /// So many bytes, all taken at the start. Afterwards no system call for memory, ever: the program keeps working when the
    /// machine has none left, until these are used up.
    ///
    /// - `byteCount`: The size, bookkeeping included.
    /// - `locked`: Whether it is locked, and so never paged out. See `ulimit -l`.
    /// - `prefaulted`: Whether each page is touched at the start, so that no first use can fail.
    case fixed(byteCount: Int, locked: Bool = false, prefaulted: Bool = true)
    /// No memory of its own: each call goes to the system's allocator. For comparison and for debugging.
    case passThrough
  }

  /// What an allocation does when the pool is exhausted.
  public enum Exhaustion: Sendable {
    /// Throws ``PoolError/outOfMemory``.
    case fail
    /// Ends the process with one line on standard error.
    case abort
    /// Takes the memory from the system's allocator, and counts it.
    case system
  }

  /// What serves objects below 4 KiB.
  public enum SmallObjects: Sendable {
    /// Slabs of equal items for each thread; records out of the objects' reach. Fast.
    case classes
    /// 4-byte headers, free blocks in lists by size: the least memory, slower, with the headers between the objects.
    case dense
    /// The same, with the free blocks of each page in a tree: the best fit there, slower still.
    case denseTree
  }

  /// What a pool does against misuse beyond what every pool does. Each level does what those before it do, too, and costs more;
  /// `docs/hardening.md` says what each finds, and what it costs.
  public enum Hardening: Sendable {
    /// Nothing more. The shared pool asks `MEMPOOL_HARDEN`.
    case off
    /// What is given back is zeroed, and must still be zero when it is handed out again; the first object of a slab is a random
    /// one; what is given back with a size must have been asked for with it.
    case zeroing
    /// The bytes behind an object are checked when it is given back, and what is given back waits before it is handed out again.
    case canaries
    /// Large objects lie between pages that nobody may access, and such a page follows each slab.
    case guards
  }

  /// Where memory comes from.
  public var backing: Backing
  /// What an allocation does when the pool is exhausted.
  public var exhaustion: Exhaustion
  /// What serves objects below 4 KiB.
  public var smallObjects: SmallObjects
  /// What the pool does against misuse.
  public var hardening: Hardening
  /// Passes that a claim makes over a full bitmap beyond the first; nil: what `MPMAXRETRIES` says, or 3.
  public var maxRetries: Int?
  /// How long it sleeps, at least, before each of these; nil: what `MPWAITTIME` says, or 1 µs.
  public var waitTime: Duration?
  /// How long idle pages are kept; nil: what `MEMPOOL_PURGE_DELAY` says, or 1 s.
  public var purgeDelay: Duration?

  /// Options that differ from the defaults in what is named.
  public init(
    backing: Backing = .elastic(),
    exhaustion: Exhaustion = .fail,
    smallObjects: SmallObjects = .classes,
    hardening: Hardening = .off,
    maxRetries: Int? = nil,
    waitTime: Duration? = nil,
    purgeDelay: Duration? = nil
  ) {
    self.backing = backing
    self.exhaustion = exhaustion
    self.smallObjects = smallObjects
    self.hardening = hardening
    self.maxRetries = maxRetries
    self.waitTime = waitTime
    self.purgeDelay = purgeDelay
  }
}

extension PoolOptions {
  /// The same for the engine, negative numbers refused.
  func core() throws(PoolError) -> MempoolCore.PoolOptions {
    var core = MempoolCore.PoolOptions()
    switch backing {
    case .elastic(let reserve):
      guard reserve >= 0 else { throw .invalidArgument }
      core.backing = .elastic(reserve: reserve)
    case .fixed(let byteCount, let locked, let prefaulted):
      guard byteCount > 0 else { throw .invalidArgument }
      core.backing = .fixed(size: byteCount, locked: locked, prefault: prefaulted)
    case .passThrough:
      core.backing = .passThrough
    }
    switch exhaustion {
    case .fail: core.exhaustion = .fail
    case .abort: core.exhaustion = .abort
    case .system: core.exhaustion = .system
    }
    switch smallObjects {
    case .classes: core.smallObjects = .classes
    case .dense: core.smallObjects = .dense
    case .denseTree: core.smallObjects = .denseTree
    }
    switch hardening {
    case .off: core.hardening = .off
    case .zeroing: core.hardening = .zeroing
    case .canaries: core.hardening = .canaries
    case .guards: core.hardening = .guards
    }
    if let maxRetries {
      guard maxRetries >= 0 else { throw .invalidArgument }
      core.maxRetries = UInt(maxRetries)
    }
    if let waitTime { core.waitNanoseconds = try waitTime.whole(.nanoseconds(1)) }
    if let purgeDelay { core.purgeDelayMilliseconds = try purgeDelay.whole(.milliseconds(1)) }
    return core
  }
}

extension Duration {
  /// How many of `unit` this is, rounded up; at most 2^62.
  fileprivate func whole(_ unit: Duration) throws(PoolError) -> UInt {
    guard self >= .zero else { throw .invalidArgument }
    let count = (self / unit).rounded(.up)
    guard count < 0x1p62 else { throw .invalidArgument }
    return UInt(count)
  }
}
