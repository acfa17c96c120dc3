/// Blocks that are live, and what was written to them.
struct Blocks {
  struct Block {
    var start: UnsafeMutableRawPointer
    var byteCount: Int
    /// Of these, the first, up to which it is written to.
    var written: Int
    var mark: UInt8
    /// For arrays of items and other things that must be given back as what they are.
    var kind = 0
    var count: UInt = 1
  }

  private(set) var live: [Block] = []
  private var nextMark: UInt8 = 0

  var isEmpty: Bool { live.isEmpty }
  var count: Int { live.count }

  /// Enters a block of `byteCount` bytes, which must not overlap another, and writes to the first of them.
  mutating func add(
    _ start: UnsafeMutableRawPointer, _ written: Int, of byteCount: Int, alignment: UInt, kind: Int = 0,
    count: UInt = 1
  ) throws {
    try demand(UInt(bitPattern: start) % alignment == 0, "\(start) is not aligned to \(alignment)")
    for block in live {
      let isApart = block.start + max(block.byteCount, 1) <= start || start + max(byteCount, 1) <= block.start
      try demand(isApart, "\(start), \(byteCount) bytes, overlaps \(block.start), \(block.byteCount) bytes")
    }
    nextMark &+= 1
    let block = Block(
      start: start, byteCount: byteCount, written: written, mark: nextMark, kind: kind, count: count)
    Self.fill(block)
    live.append(block)
  }

  private static func fill(_ block: Block) {
    block.start.initializeMemory(as: UInt8.self, repeating: block.mark, count: block.written)
  }

  /// Whether the first bytes at `start` are what was written to the block.
  func isIntact(_ block: Block, at start: UnsafeMutableRawPointer, _ byteCount: Int) -> Bool {
    let bytes = UnsafeRawBufferPointer(start: start, count: min(block.written, byteCount))
    return bytes.allSatisfy { $0 == block.mark }
  }

  /// Takes a block out that its owner has looked at.
  mutating func forget(_ index: Int) {
    live[index] = live[live.count - 1]
    live.removeLast()
  }

  /// Takes a block out, which must be as it was written.
  mutating func remove(_ index: Int) throws -> Block {
    let block = live[index]
    forget(index)
    try demand(isIntact(block, at: block.start, block.written), "a block of \(block.byteCount) bytes was written to")
    return block
  }
}
