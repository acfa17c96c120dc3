/// A bitmap that many threads claim items from and release them to: cells, and hints on where to look.
///
/// A small value that may be copied at will: the state is in the memory it was given, which must outlive it. Any thread may
/// call anything, except where it is said. Lock-free: no caller waits for another, but for the bounded waits that it asks
/// for. A search looks at O(log64 cells) words when hints lead to a fit, and at every cell before it says that there is
/// none. Never allocates.
///
/// Memory order: a claim acquires, a release releases; what an item's last owner wrote is visible to its next one.
///
/// ```
/// memory:  item count, alone in its cache line · a hint tree for each run length · cells
/// ```
public struct AtomicBitmap {
  /// How an item is claimed. A bitmap uses one strategy, never both.
  public enum Strategy: Sendable {
    /// Bits are picked in a loaded copy, which is swapped in: a cell never looks fuller than it is.
    case compareAndSwap
    /// The whole cell is taken and the rest given back: it looks full meanwhile. For studies.
    case exchange
  }

  // The cells' bits: 1, taken. cell & Cell.surplus(beyond: its items) == 0 while nobody holds the whole cell.
  let cells: AtomicPointer
  // The trees, the shortest run length's first, each of `treeWordCount` words.
  let hints: AtomicPointer
  // The word that holds the current item count; without one, it is constant.
  let sharedItemCount: AtomicPointer?
  let constantItemCount: Int
  let cellCapacity: Int
  let treeWordCount: Int
  let runLengths: RunLengths
  let strategy: Strategy
  /// Settings and counters of this bitmap's waits.
  public let wait: BoundedWaitPointer

  static var headerWordCount: Int { 8 }

  /// Bytes that a bitmap of up to `cellCount` cells needs, aligned to a word (better: to 64).
  public static func byteCount(cellCount: Int, runLengths: RunLengths) -> Int {
    let trees = runLengths.count * HintTree.wordCount(cellCapacity: cellCount)
    return (headerWordCount + trees + cellCount) * MemoryLayout<UInt>.size
  }

  /// A bitmap in `memory`, ``byteCount(cellCount:runLengths:)`` bytes of zeroes, of which this touches a handful.
  ///
  /// - Parameters:
  ///   - cellCapacity: Cells that it may grow to.
  ///   - runLengths: Which hint trees to keep.
  ///   - itemCount: Its size now, at most 64 × `cellCapacity`.
  ///   - wait: Must outlive the bitmap; may serve any number of them.
  public init(
    zeroed memory: UnsafeMutableRawPointer, cellCapacity: Int, runLengths: RunLengths, itemCount: Int,
    wait: BoundedWaitPointer, strategy: Strategy = .compareAndSwap
  ) {
    let words = AtomicPointer(memory.assumingMemoryBound(to: UInt.self))
    sharedItemCount = words
    constantItemCount = 0
    hints = words.advanced(by: Self.headerWordCount)
    treeWordCount = HintTree.wordCount(cellCapacity: cellCapacity)
    cells = hints.advanced(by: runLengths.count * treeWordCount)
    self.cellCapacity = cellCapacity
    self.runLengths = runLengths
    self.strategy = strategy
    self.wait = wait
    grow(toItemCount: itemCount)
  }

  /// A bitmap of `itemCount` items that never grows and has no hints: nothing but the cells, which may be in use already.
  public init(
    bareCells cells: AtomicPointer, itemCount: Int, wait: BoundedWaitPointer, strategy: Strategy = .compareAndSwap
  ) {
    self.cells = cells
    hints = cells
    sharedItemCount = nil
    constantItemCount = itemCount
    cellCapacity = Cell.count(forItems: itemCount)
    treeWordCount = 0
    runLengths = []
    self.strategy = strategy
    self.wait = wait
  }

  // MARK: Size

  /// Items now; never less later.
  public var itemCount: Int {
    guard let sharedItemCount else { return constantItemCount }
    return Int(bitPattern: sharedItemCount.loadAcquire())  // acquire: pairs with the release in grow(toItemCount:)
  }

  /// Cells now, the last of which may have fewer than 64 items.
  public var cellCount: Int { Cell.count(forItems: itemCount) }

  /// Items of this cell now: 64, fewer in the last one, 0 beyond it.
  public func itemCount(ofCell cell: Int) -> Int { max(0, min(Cell.itemCount, itemCount - cell << Cell.indexShift)) }

  /// Enlarges the bitmap. One caller at a time; claims and releases go on meanwhile. What is not larger, or more than the
  /// capacity, is ignored.
  public func grow(toItemCount count: Int) {
    guard let sharedItemCount else { return }
    let old = Int(bitPattern: sharedItemCount.loadRelaxed())
    guard count > old, Cell.count(forItems: count) <= cellCapacity else { return }
    sharedItemCount.storeRelease(UInt(bitPattern: count))  // release: pairs with the acquire in itemCount
    // A cell with too few items for a run hints so, from when it exists to when it grows.
    if old % Cell.itemCount != 0 { settle(old >> Cell.indexShift) }
    if count % Cell.itemCount != 0 { settle(count >> Cell.indexShift) }
  }

  // MARK: Looking

  @inline(__always)
  func word(ofCell cell: Int) -> AtomicPointer { cells.advanced(by: cell) }

  /// The cell's value, with the bits that stand for no item set.
  @inline(__always)
  func paddedValue(ofCell cell: Int) -> UInt {
    word(ofCell: cell).loadRelaxed() | Cell.surplus(beyond: itemCount - cell << Cell.indexShift)
  }

  /// The cell's value when it was looked at: racy.
  public func value(ofCell cell: Int) -> UInt { word(ofCell: cell).loadRelaxed() }

  /// Whether the item was taken when it was looked at: racy, unless it is the caller's.
  public func isTaken(_ index: Int) -> Bool {
    guard index >= 0, index < itemCount else { return false }
    let value = word(ofCell: index >> Cell.indexShift).loadRelaxed()
    return value & Cell.mask(1, at: index & (Cell.itemCount - 1)) != 0
  }

  /// Items taken, cell by cell as they were looked at: racy. Looks at every cell.
  public func usedCount() -> Int {
    var used = 0
    let size = itemCount
    for cell in 0..<Cell.count(forItems: size) {
      let surplus = Cell.surplus(beyond: size - cell << Cell.indexShift)
      used += (word(ofCell: cell).loadRelaxed() & ~surplus).nonzeroBitCount
    }
    return used
  }

  /// Whether all is as it must be while no thread is inside a call: no item beyond the size is taken, and every hint says
  /// exactly what the cells say. Looks at every word.
  public func checkInvariants() -> Bool {
    let size = itemCount
    for cell in 0..<Cell.count(forItems: size) {
      if word(ofCell: cell).loadRelaxed() & Cell.surplus(beyond: size - cell << Cell.indexShift) != 0 { return false }
    }
    var lengths = runLengths.rawValue
    while lengths != 0 {
      if !tree(lengths.trailingZeroBitCount).isConsistent() { return false }
      lengths &= lengths - 1
    }
    return true
  }

  // MARK: Hints

  /// The tree for runs of 2^`exponent` items, one of ``runLengths``.
  @inline(__always)
  func tree(_ exponent: Int) -> HintTree {
    let words = hints.advanced(by: runLengths.position(of: exponent) * treeWordCount)
    return HintTree(bitmap: self, words: words, runLength: 1 << exponent)
  }

  /// After this thread changed a cell from one value to another: the trees for which that made a difference are told.
  ///
  /// What ``Settling`` does, as long as nobody interferes and no word of hints becomes full or is no longer so: the hints are
  /// written, then the cell is looked at again, once for all trees.
  @inline(__always)
  func changed(_ cell: Int, from old: UInt, to new: UInt) {
    guard runLengths.rawValue != 0 else { return }
    // What the last cell has room for also changes when the bitmap grows, perhaps right now.
    guard Cell.surplus(beyond: itemCount - cell << Cell.indexShift) == 0 else { return settle(cell) }
    let lost = Cell.runLengths(in: old) & ~Cell.runLengths(in: new) & runLengths.rawValue
    let gained = Cell.runLengths(in: new) & ~Cell.runLengths(in: old) & runLengths.rawValue
    if lost | gained != 0 { tell(cell, 1, lost, gained, new) }
  }

  /// The same for neighbouring cells, under one word of hints or more, all of which this thread changed to `new`, 0 or busy,
  /// from busy or 0.
  func changed(cells: Range<Int>, to new: UInt) {
    guard runLengths.rawValue != 0 else { return }
    guard Cell.surplus(beyond: itemCount - (cells.upperBound - 1) << Cell.indexShift) == 0 else {
      return settle(from: cells.lowerBound, to: cells.upperBound)
    }
    var cell = cells.lowerBound
    while cell < cells.upperBound {
      let count = min(Cell.itemCount - cell & (Cell.itemCount - 1), cells.upperBound - cell)
      tell(cell, count, new == 0 ? 0 : runLengths.rawValue, new == 0 ? runLengths.rawValue : 0, new)
      cell += count
    }
  }

  @inline(never)
  private func tell(_ cell: Int, _ count: Int, _ lost: UInt, _ gained: UInt, _ new: UInt) {
    let index = cell >> Cell.indexShift, mask = Cell.mask(count, at: cell & (Cell.itemCount - 1))
    // The hints that do not count when a word is full; above a tree of one word there is nothing to tell.
    let ignored = mask | Cell.surplus(beyond: cellCapacity - index << Cell.indexShift)
    let full: UInt = treeWordCount == 1 ? 0 : ~0
    var crossed: UInt = 0
    var lengths = lost | gained
    var words = hints
    var lower = runLengths.rawValue
    while lower != 0 {
      let length = lower & (0 &- lower)
      lower &= lower - 1
      if lengths & length != 0 {
        let hint = words.advanced(by: index)
        let before: UInt
        if lost & length != 0 {
          before = hint.fetchOrAcquireRelease(mask)  // acquire-release: pairs with the one below, as Settling says
        } else {
          before = hint.fetchAndAcquireRelease(~mask)  // acquire-release: pairs with the one above, as Settling says
        }
        if before | ignored == ~0 { crossed |= length & full }
      }
      words = words.advanced(by: treeWordCount)
    }
    var isSettled = true
    for changed in cell..<cell + count where word(ofCell: changed).loadRelaxed() != new { isSettled = false }
    if isSettled { lengths = crossed }
    while lengths != 0 {
      let length = lengths & (0 &- lengths)
      lengths &= lengths - 1
      tree(length.trailingZeroBitCount).settle(
        index, mask, full: lost & length != 0 ? mask : 0, mayHaveCrossed: crossed & length != 0)
    }
  }

  /// After this thread changed a cell in more than one step: all trees are told.
  func settle(_ cell: Int) { settle(from: cell, to: cell + 1) }

  /// The same for the cells `[start, end)`, a hint word at a time.
  func settle(from start: Int, to end: Int) {
    var lengths = runLengths.rawValue
    while lengths != 0 {
      let tree = tree(lengths.trailingZeroBitCount)
      var cell = start
      while cell < end {
        let bit = cell & (Cell.itemCount - 1)
        let count = min(Cell.itemCount - bit, end - cell)
        tree.settle(cell >> Cell.indexShift, Cell.mask(count, at: bit))
        cell += count
      }
      lengths &= lengths - 1
    }
  }
}

// Nothing but addresses and constants; what the addresses lead to is changed by atomic operations only.
extension AtomicBitmap: @unchecked Sendable {}
