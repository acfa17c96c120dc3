internal import MempoolCore

/// How a ``CompactPool`` keeps its pages.
///
/// A value; each property has a default that suits a program that knows nothing of it.
public struct CompactPoolOptions: Sendable {
  /// Where the pages are.
  public enum Backing: Sendable {
    /// In a memory pool; always mapped.
    case pool
    /// In a file of memory that has no name, for other processes to attach to.
    ///
    /// - `window`: Bytes of it that are mapped beside what callers have mapped, about.
    case file(window: Int = 16 << 20)
  }

  /// Where objects begin.
  public enum Alignment: Sendable {
    /// At multiples of 4 bytes.
    case four
    /// At multiples of 8.
    case eight
    /// At multiples of 16.
    case sixteen

    var byteCount: Int {
      switch self {
      case .four: 4
      case .eight: 8
      case .sixteen: 16
      }
    }
  }

  /// Where the pages are.
  public var backing: Backing
  /// Where objects begin: the larger, the more is rounded away.
  public var alignment: Alignment
  /// Whether ``CompactPool/compact()`` may move objects. Their handles lead through a table, for 12 bytes more an object.
  public var isMovable: Bool
  /// Empty pages that are kept for the next allocation, and never raise the most that the pool has held; nil: up to four, and none when
  /// there is no object.
  public var reservePages: Int?
  /// Parts of the pool with a lock each, from 1 to 64: as many threads as allocate at the same time.
  public var shardCount: Int
  /// The most that the pages may take; at most 16 GiB.
  public var byteLimit: Int
  /// Whether to end the process when the pool goes and objects are live, instead of giving their memory back, too.
  public var refusesLiveObjects: Bool

  /// Options that differ from the defaults in what is named.
  public init(
    backing: Backing = .pool,
    alignment: Alignment = .four,
    isMovable: Bool = false,
    reservePages: Int? = nil,
    shardCount: Int = 8,
    byteLimit: Int = 16 << 30,
    refusesLiveObjects: Bool = false
  ) {
    self.backing = backing
    self.alignment = alignment
    self.isMovable = isMovable
    self.reservePages = reservePages
    self.shardCount = shardCount
    self.byteLimit = byteLimit
    self.refusesLiveObjects = refusesLiveObjects
  }

  func core() throws(MempoolCore.PoolError) -> CompactOptions {
    guard shardCount >= 1, byteLimit >= 1, reservePages ?? 0 >= 0 else { throw .invalidArgument }
    var core = CompactOptions()
    if case .file(let window) = backing {
      guard window >= 0 else { throw .invalidArgument }
      core.backing = .file(window: UInt(window))
    }
    core.alignment = UInt(alignment.byteCount)
    core.isMovable = isMovable
    core.reservePages = reservePages.map { UInt($0) }
    core.shardCount = UInt(shardCount)
    core.byteLimit = UInt(byteLimit)
    core.refusesLiveObjects = refusesLiveObjects
    return core
  }
}

/// What a ``CompactPool`` has, and has counted, taken while threads run.
public struct CompactPoolStatistics: Sendable, Equatable {
  /// Objects that are live.
  public let liveObjects: Int
  /// The sum of the sizes that were asked for.
  public let liveBytes: Int
  /// The same with headers, and rounded to the alignment.
  public let blockBytes: Int
  /// Of pages that hold memory, kept ones included.
  public let totalBytes: Int
  /// The most that it was.
  public let peakBytes: Int
  /// Of pages that are kept for the next allocation.
  public let idleBytes: Int
  /// Of records beside the pages; most of it is address space.
  public let metadataBytes: Int
  /// Of the pages of a file: those that are mapped.
  public let mappedBytes: Int
  /// Times that 64 KiB of a file were mapped: cumulative.
  public let mapCalls: Int
  /// Allocations that failed: cumulative.
  public let refusals: Int
  /// Bytes that ``CompactPool/compact()`` has moved: cumulative.
  public let movedBytes: Int

  /// Live bytes of a byte that is held, from 0 to 1; 1 for an empty pool.
  public var utilisation: Double { totalBytes == 0 ? 1 : Double(liveBytes) / Double(totalBytes) }

  init(_ core: CompactStatistics) {
    liveObjects = Int(bitPattern: core.liveObjects)
    liveBytes = Int(bitPattern: core.liveBytes)
    blockBytes = Int(bitPattern: core.blockBytes)
    totalBytes = Int(bitPattern: core.totalBytes)
    peakBytes = Int(bitPattern: core.peakBytes)
    idleBytes = Int(bitPattern: core.idleBytes)
    metadataBytes = Int(bitPattern: core.metadataBytes)
    mappedBytes = Int(bitPattern: core.mappedBytes)
    mapCalls = Int(bitPattern: core.mapCalls)
    refusals = Int(bitPattern: core.refusals)
    movedBytes = Int(bitPattern: core.movedBytes)
  }
}
