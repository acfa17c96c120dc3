/// What a buffer pool holds and has counted.
public struct BufferPoolStatistics: Equatable {
  /// Live objects in blocks.
  public var objects: UInt = 0
  public var blocksUsed: UInt = 0
  public var peakBlocksUsed: UInt = 0
  public var blockCount: UInt = 0
  public var blockSize: UInt = 0
  /// What the caller brought.
  public var memorySize: UInt = 0
  /// Of this the bookkeeping: everything before the first block. What remains behind the last is smaller than a block and its bits.
  public var overhead: UInt = 0
  /// Blocks that could be had as one object now.
  public var largestRun: UInt = 0
  /// Bytes asked for, and bytes of the blocks given for them: cumulative. What an object was asked for is not kept, so that
  /// this ratio is the best estimate of how much of the used blocks is used.
  public var requestedBytes: UInt = 0
  public var grantedBytes: UInt = 0
  /// Requests that no blocks could meet: cumulative.
  public var misses: UInt = 0
  /// Objects from the fallback: cumulative, and live.
  public var fallbacks: UInt = 0
  public var liveFallbacks: UInt = 0

  public init() {}
}

extension UnsafeMutablePointer where Pointee == BufferPool {
  /// O(blocks / 64).
  public func statistics() throws(BufferPoolError) -> BufferPoolStatistics {
    try acquire()
    defer { release() }
    return unlockedStatistics()
  }

  func unlockedStatistics() -> BufferPoolStatistics {
    var now = BufferPoolStatistics()
    now.objects = pointee.objects
    now.blocksUsed = pointee.usedBlocks
    now.peakBlocksUsed = pointee.peakBlocks
    now.blockCount = pointee.blockCount
    now.blockSize = pointee.blockSize
    now.memorySize = pointee.byteCount
    now.overhead = pointee.blocks - pointee.start
    now.largestRun = largestRun
    now.requestedBytes = pointee.requestedBytes
    now.grantedBytes = pointee.grantedBlocks &* pointee.blockSize
    now.misses = pointee.misses
    now.fallbacks = pointee.fallbackCount
    now.liveFallbacks = pointee.fallbackLive
    return now
  }

  private var largestRun: UInt {
    let count = pointee.blockCount
    var index = used.firstClear(pointee.firstFree, count), largest: UInt = 0
    while index < count {
      let end = used.firstSet(index, count)
      largest = max(largest, end - index)
      index = used.firstClear(end, count)
    }
    return largest
  }

  /// Writes the figures, and a map of the blocks: `#` where an object begins, `-` where it goes on, `.` for a free one, 64 a line.
  public func write<Sink: ByteSink>(to sink: inout Sink) throws(BufferPoolError) {
    try acquire()
    defer { release() }
    let now = unlockedStatistics()
    line(&sink, "objects", now.objects)
    line(&sink, "blocks used", now.blocksUsed)
    line(&sink, "blocks used at most", now.peakBlocksUsed)
    line(&sink, "blocks", now.blockCount)
    line(&sink, "block size", now.blockSize)
    line(&sink, "memory", now.memorySize)
    line(&sink, "bookkeeping", now.overhead)
    line(&sink, "longest free run", now.largestRun)
    line(&sink, "bytes asked for", now.requestedBytes)
    line(&sink, "bytes given", now.grantedBytes)
    line(&sink, "misses", now.misses)
    line(&sink, "from the fallback", now.fallbacks)
    line(&sink, "of these live", now.liveFallbacks)
    for index in 0..<now.blockCount {
      sink.write(
        byte: !used.isSet(index)
          ? UInt8(ascii: ".") : continued.isSet(index) ? UInt8(ascii: "-") : UInt8(ascii: "#"))
      if index % 64 == 63 || index == now.blockCount - 1 { sink.write("\n") }
    }
  }

  private func line<Sink: ByteSink>(_ sink: inout Sink, _ name: StaticString, _ value: UInt) {
    sink.write(name)
    sink.write(byte: UInt8(ascii: " "), count: 24 - name.utf8CodeUnitCount - Int(value.digitCount))
    sink.write(" ")
    sink.write(decimal: value)
    sink.write("\n")
  }
}
