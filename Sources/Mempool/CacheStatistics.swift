internal import MempoolCore

/// What a ``SlabCache`` or a ``RawSlabCache`` has counted, taken while threads run.
public struct CacheStatistics: Sendable, Equatable {
  /// Bytes of one item, as asked for.
  public let itemSize: Int
  /// Bytes from one item to the next.
  public let itemStride: Int
  /// Pages of the cache.
  public let pageCount: Int
  /// Bytes of these pages.
  public let byteCount: Int
  /// Items that they hold, live or not.
  public let capacity: Int
  /// Items handed out and not given back.
  public let liveItems: Int
  /// Free items in cells that threads have leased: only these threads can take them.
  public let heldItems: Int
  /// Cells that threads have leased.
  public let leasedCells: Int
  /// Items taken after all that the thread had leased at hand was used up: cumulative.
  public let refills: Int
  /// Items that no leased cell had: cumulative.
  public let searches: Int
  /// Pages made: cumulative.
  public let pagesMade: Int
  /// Pages given back to the pool: cumulative.
  public let pagesReturned: Int

  init(_ core: SlabCacheStatistics) {
    itemSize = Int(truncatingIfNeeded: core.itemSize)
    itemStride = Int(truncatingIfNeeded: core.stride)
    pageCount = Int(truncatingIfNeeded: core.pageCount)
    byteCount = Int(truncatingIfNeeded: core.byteCount)
    capacity = Int(truncatingIfNeeded: core.capacity)
    liveItems = Int(truncatingIfNeeded: core.liveItems)
    heldItems = Int(truncatingIfNeeded: core.heldItems)
    leasedCells = Int(truncatingIfNeeded: core.leasedCells)
    refills = Int(truncatingIfNeeded: core.refills)
    searches = Int(truncatingIfNeeded: core.searches)
    pagesMade = Int(truncatingIfNeeded: core.pagesMade)
    pagesReturned = Int(truncatingIfNeeded: core.pagesReturned)
  }
}
