/// How a buffer pool divides the caller's memory: a gap up to a multiple of 16, the record, two rows of bits, the blocks.
///
/// Everything that the pool writes down lies before the blocks, so that an overflow of one object reaches the next object and
/// what comes after the memory, not the bookkeeping.
struct BlockLayout: Equatable {
  /// Where the record lies.
  let record: UInt
  let blockCount: UInt
  /// Where the first block begins: a multiple of 16.
  let blocks: UInt

  /// The record's bytes, a multiple of 16. With at most 15 before them to align it, and at most 16 by which two rows of whole words
  /// are longer than two bits a block, the bookkeeping is at most 208 bytes and two bits a block.
  static var recordBytes: UInt { 176 }
  static var alignment: UInt { 16 }
  // No machine has more.
  private static var mostBytes: UInt { 1 << 57 }

  /// Nil when not one block fits.
  init?(start: UInt, byteCount: UInt, blockSize: UInt) {
    guard start != 0, blockSize >= 1, blockSize <= byteCount, byteCount < Self.mostBytes else { return nil }
    let (end, overflow) = start.addingReportingOverflow(byteCount)
    guard !overflow, start <= ~Self.alignment else { return nil }
    record = (start + Self.alignment - 1) & ~(Self.alignment - 1)
    guard record < end, end - record > Self.recordBytes else { return nil }
    let room = end - record - Self.recordBytes
    // A word of each row serves as many blocks as it has bits.
    let wordBytes = 2 * UInt(MemoryLayout<UInt>.size)
    let group = BlockBits.wordBits * blockSize + wordBytes
    let rest = room % group
    blockCount = room / group * BlockBits.wordBits + (rest > wordBytes ? (rest - wordBytes) / blockSize : 0)
    guard blockCount > 0 else { return nil }
    blocks = record + Self.recordBytes + Self.rowBytes(blockCount) * 2
  }

  /// Bytes of one row of bits.
  static func rowBytes(_ blockCount: UInt) -> UInt {
    BlockBits.wordCount(blockCount) * UInt(MemoryLayout<UInt>.size)
  }

  /// The bytes that suffice, wherever they begin, for so many blocks; nil when nobody has so many.
  static func byteCount(blockCount: UInt, blockSize: UInt) -> UInt? {
    let (blocks, overflow) = blockCount.multipliedReportingOverflow(by: blockSize)
    guard !overflow, blockCount > 0, blockSize > 0, blocks < mostBytes else { return nil }
    let sum = alignment - 1 + recordBytes + 2 * rowBytes(blockCount) + blocks
    return sum < mostBytes ? sum : nil
  }
}

extension UnsafeMutablePointer where Pointee == BufferPool {
  /// The bytes that suffice, wherever they begin, for a pool of so many blocks; nil when nobody has so many.
  public static func byteCount(blockCount: UInt, blockSize: UInt = BufferPool.defaultBlockSize) -> UInt? {
    BlockLayout.byteCount(blockCount: blockCount, blockSize: blockSize)
  }
}
