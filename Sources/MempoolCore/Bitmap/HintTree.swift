/// For one run length, a bit a cell: set, the cell has no free run of that length. And so on up: a bit a word, set when the
/// word is full of set bits, 64 to one, until one word is left.
///
/// Part of an ``AtomicBitmap``, for its own use. Any thread may search and settle at any time. A search reads O(log64 cells)
/// words when it finds something.
///
/// While no thread is inside a call: hint of a cell == (it has no run); hint of a word == (all its bits are set). Meanwhile
/// hints may lag, in both directions, so a search that they fail looks at the cells itself.
struct HintTree {
  let bitmap: AtomicBitmap
  // Level 0 first: ⌈capacity / 64⌉ words, then ⌈capacity / 64²⌉, …, 1.
  let words: AtomicPointer
  let runLength: Int

  static var shift: Int { Cell.indexShift }

  /// Words of the level, a bit a child.
  private static func wordCount(level: Int, cellCapacity: Int) -> Int {
    let shift = shift * (level + 1)
    return (cellCapacity + 1 << shift - 1) >> shift
  }

  /// Words of a whole tree.
  static func wordCount(cellCapacity: Int) -> Int {
    var total = 0
    var level = 0
    while true {
      let count = wordCount(level: level, cellCapacity: cellCapacity)
      total += count
      if count <= 1 { return total }
      level += 1
    }
  }

  @inline(__always)
  private func wordCount(_ level: Int) -> Int { Self.wordCount(level: level, cellCapacity: bitmap.cellCapacity) }

  private func word(_ level: Int, _ index: Int) -> AtomicPointer {
    var offset = index
    for lower in 0..<level { offset += wordCount(lower) }
    return words.advanced(by: offset)
  }

  // MARK: Searching

  /// The first cell in `[first, limit)` that is not hinted at as being without a run.
  ///
  /// Up until a word has a clear bit at or after the position, then down to it; where the levels disagree for a moment, on
  /// from there.
  func nextOpen(from first: Int, below limit: Int, _ cost: inout SearchCost) -> Int? {
    var level = 0
    var position = first
    var start = words
    while position << (Self.shift * level) < limit {
      let word = start.advanced(by: position >> Self.shift).loadRelaxed()
      cost.wordsRead &+= 1
      let open = ~word & (~0 << UInt(position & (Cell.itemCount - 1)))
      if open == 0 {
        let count = wordCount(level)
        if count <= 1 { return nil }
        start = start.advanced(by: count)
        position = position >> Self.shift + 1
        level += 1
        continue
      }
      position = position & ~(Cell.itemCount - 1) | open.trailingZeroBitCount
      if level == 0 { return position < limit ? position : nil }
      level -= 1
      start = start.advanced(by: -wordCount(level))
      position <<= Self.shift
    }
    return nil
  }

  /// The first cell in `[first, limit)` that is hinted at as being without a run; `limit` if there is none.
  func nextClosed(from first: Int, below limit: Int, _ cost: inout SearchCost) -> Int {
    var position = first
    while position < limit {
      let word = words.advanced(by: position >> Self.shift).loadRelaxed()
      cost.wordsRead &+= 1
      let closed = word & (~0 << UInt(position & (Cell.itemCount - 1)))
      if closed != 0 { return min(limit, position & ~(Cell.itemCount - 1) | closed.trailingZeroBitCount) }
      position = position & ~(Cell.itemCount - 1) + Cell.itemCount
    }
    return limit
  }

  // MARK: Settling

  /// Makes the hints in `mask` of a word of level 0 agree with the cells they stand for, which this thread has just changed.
  @inline(never)
  func settle(_ index: Int, _ mask: UInt) {
    var settling = Settling(index: index, mask: mask)
    while settling.step(self) {}
  }

  /// The same, when the hints have been written already: `full` of them set. `mayHaveCrossed`: all hints of the word that are
  /// not in `mask` are set, or the level above need not be told.
  @inline(never)
  func settle(_ index: Int, _ mask: UInt, full: UInt, mayHaveCrossed: Bool) {
    var settling = Settling(index: index, mask: mask, written: full, hasCrossed: mayHaveCrossed)
    while settling.step(self) {}
  }

  func hint(_ settling: Settling) -> AtomicPointer { word(settling.level, settling.index) }

  /// The bits of a hint word that stand for no child: all, above the last level, so that nothing there ever changes.
  func surplus(_ level: Int, _ index: Int) -> UInt {
    if wordCount(level) <= 1 { return ~0 }
    let childCount = level == 0 ? bitmap.cellCapacity : wordCount(level - 1)
    return Cell.surplus(beyond: childCount - index << Self.shift)
  }

  /// Which of the children in `mask` are full: cells without a run, or hint words full of set bits.
  func fullChildren(_ level: Int, _ index: Int, _ mask: UInt) -> UInt {
    level == 0 ? fullCells(index, mask) : fullWords(level, index, mask)
  }

  private func fullCells(_ index: Int, _ mask: UInt) -> UInt {
    var full: UInt = 0
    var rest = mask
    let itemCount = bitmap.itemCount
    while rest != 0 {
      let bit = rest.trailingZeroBitCount
      let cell = index << Self.shift + bit
      let value = bitmap.word(ofCell: cell).loadRelaxed() | Cell.surplus(beyond: itemCount - cell << Cell.indexShift)
      // Whole cells that come and go are the most of it.
      if value == ~0 || value != 0 && !Cell.hasRun(of: runLength, in: value) { full |= 1 << UInt(bit) }
      rest &= rest - 1
    }
    return full
  }

  private func fullWords(_ level: Int, _ index: Int, _ mask: UInt) -> UInt {
    var full: UInt = 0
    var rest = mask
    while rest != 0 {
      let bit = rest.trailingZeroBitCount
      let child = index << Self.shift + bit
      if word(level - 1, child).loadRelaxed() | surplus(level - 1, child) == ~0 { full |= 1 << UInt(bit) }
      rest &= rest - 1
    }
    return full
  }

  // MARK: Checking

  /// Whether every hint says exactly what its child says, hints of cells that do not exist yet being clear: of those, it looks
  /// at as far as the next word, for a bitmap may have room for a thousand times as many. While no thread is inside a call.
  func isConsistent() -> Bool {
    var childCount = bitmap.cellCount
    var looked = childCount
    var level = 0
    while true {
      let count = wordCount(level)
      looked = min(count, (looked + Cell.itemCount - 1) >> Self.shift + 1)
      for index in 0..<looked {
        let existing = ~Cell.surplus(beyond: childCount - index << Self.shift)
        if word(level, index).loadRelaxed() != fullChildren(level, index, existing) { return false }
      }
      if count <= 1 { return true }
      childCount = count
      level += 1
    }
  }
}
