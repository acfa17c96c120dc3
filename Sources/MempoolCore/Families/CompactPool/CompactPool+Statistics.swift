/// What a compact pool has, and has counted. Each figure is right by itself; shards are read one after the other.
public struct CompactStatistics: Sendable, Equatable {
  public var liveObjects: UInt = 0
  /// The sum of the sizes that were asked for.
  public var liveBytes: UInt = 0
  /// The same with headers, and rounded to the alignment.
  public var blockBytes: UInt = 0
  /// Of pages that hold memory, kept ones included.
  public var totalBytes: UInt = 0
  /// The most that it was.
  public var peakBytes: UInt = 0
  /// Of pages that are kept for the next allocation.
  public var idleBytes: UInt = 0
  /// Of records, beside the pages.
  public var metadataBytes: UInt = 0
  /// Of 64 KiB; of address space, or of a file.
  public var regions: UInt = 0
  /// Bytes of a file that are mapped now; of other pools, of all regions.
  public var mappedBytes: UInt = 0
  /// Times that a region of a file was mapped.
  public var mapCalls: UInt = 0
  /// Allocations that failed.
  public var refusals: UInt = 0
  /// Bytes that `compact()` has moved.
  public var movedBytes: UInt = 0

  public init() {}
}

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Bytes of the pages that hold memory: pages held × page size.
  public var totalBytes: UInt { pageCounts().held << pointee.pageShift }

  /// O(shards), each under its lock.
  public func statistics() -> CompactStatistics {
    var result = CompactStatistics()
    for index in 0..<pointee.shardCount {
      let hold = CompactHold(self, index)
      let shard = hold.shard
      result.liveObjects += shard.pointee.liveObjects
      result.liveBytes += shard.pointee.liveBytes
      result.blockBytes += shard.pointee.liveUnits * CompactRegion.unitBytes
      result.regions += shard.pointee.regionCount
      result.mappedBytes += (isFile ? shard.pointee.mappedCount : shard.pointee.regionCount) << CompactRegion.shift
      hold.end()
    }
    let now = pageCounts()
    result.totalBytes = now.held << pointee.pageShift
    result.idleBytes = now.idle << pointee.pageShift
    result.peakBytes = peakPages.loadRelaxed() << pointee.pageShift
    result.metadataBytes = pointee.byteCount + metadataBytes.loadRelaxed()
    result.mapCalls = mapCalls.loadRelaxed()
    result.refusals = refusals.loadRelaxed()
    result.movedBytes = movedBytes.loadRelaxed()
    return result
  }
}
