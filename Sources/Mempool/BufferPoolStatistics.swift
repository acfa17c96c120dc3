internal import MempoolCore

/// What a ``BufferPool`` holds and has counted.
public struct BufferPoolStatistics: Sendable, Equatable {
  /// Live objects in blocks.
  public let objects: Int
  /// Blocks that they take.
  public let blocksUsed: Int
  /// Blocks that were taken at most.
  public let peakBlocksUsed: Int
  /// Blocks that there are.
  public let blockCount: Int
  /// Bytes of a block.
  public let blockSize: Int
  /// Bytes that the caller brought.
  public let memorySize: Int
  /// Of these the bookkeeping: everything before the first block.
  public let overhead: Int
  /// Blocks of the largest object that could be had now.
  public let largestRun: Int
  /// Bytes asked for: cumulative.
  public let requestedBytes: Int
  /// Bytes of the blocks given for them: cumulative. The ratio of both estimates how much of the used blocks is used.
  public let grantedBytes: Int
  /// Requests that no blocks could meet: cumulative.
  public let misses: Int
  /// Objects from the fallback: cumulative.
  public let fallbacks: Int
  /// Objects from the fallback that are live.
  public let liveFallbacks: Int

  init(_ core: MempoolCore.BufferPoolStatistics) {
    objects = Int(truncatingIfNeeded: core.objects)
    blocksUsed = Int(truncatingIfNeeded: core.blocksUsed)
    peakBlocksUsed = Int(truncatingIfNeeded: core.peakBlocksUsed)
    blockCount = Int(truncatingIfNeeded: core.blockCount)
    blockSize = Int(truncatingIfNeeded: core.blockSize)
    memorySize = Int(truncatingIfNeeded: core.memorySize)
    overhead = Int(truncatingIfNeeded: core.overhead)
    largestRun = Int(truncatingIfNeeded: core.largestRun)
    requestedBytes = Int(truncatingIfNeeded: core.requestedBytes)
    grantedBytes = Int(truncatingIfNeeded: core.grantedBytes)
    misses = Int(truncatingIfNeeded: core.misses)
    fallbacks = Int(truncatingIfNeeded: core.fallbacks)
    liveFallbacks = Int(truncatingIfNeeded: core.liveFallbacks)
  }
}
