/// Claiming runs of 1…64 items, which never cross a cell.
extension AtomicBitmap {
  /// A run of items, the caller's until it releases it.
  public struct Claim {
    /// The first item.
    public let index: Int
    /// The value of its cell before: 0, the cell was empty.
    public let previous: UInt
    /// By exchange only: an item that nobody had handed out was freed while the cell was held.
    public let sawDoubleFree: Bool
  }

  /// Claims `count` neighbouring items; nil when every cell was without such a run when it was looked at.
  ///
  /// - Parameters:
  ///   - count: In 1…64; others give nil.
  ///   - start: The cell to start from. Spreads contention; never affects correctness.
  /// - Complexity: O(log64 cells) loads and one successful swap where hints lead to a fit; every cell before it fails.
  ///   Never waits.
  public func tryClaim(run count: Int = 1, from start: Int = 0) -> Claim? {
    var cost = SearchCost()
    return tryClaim(run: count, from: start, &cost)
  }

  /// The same, with bounded wait: sleeps before each further try, at most `maxRetries` times. What the bitmap could never
  /// have gives nil at once.
  public func claim(run count: Int = 1, from start: Int = 0) -> Claim? {
    guard count >= 1, count <= min(Cell.itemCount, itemCount) else { return nil }
    return wait.patiently { tryClaim(run: count, from: start) }
  }

  /// Claims these very items, which lie in one cell; false when one of them is taken.
  public func tryClaim(run count: Int, at index: Int) -> Bool {
    let bit = index & (Cell.itemCount - 1)
    guard index >= 0, count >= 1, bit + count <= Cell.itemCount, index + count <= itemCount else { return false }
    let mask = Cell.mask(count, at: bit)
    let word = word(ofCell: index >> Cell.indexShift)
    var seen = word.loadRelaxed()
    while seen & mask == 0 {
      let found = word.compareAndSwapAcquire(seen, seen | mask)  // acquire: pairs with a release
      if found == seen {
        changed(index >> Cell.indexShift, from: seen, to: seen | mask)
        return true
      }
      seen = found
    }
    return false
  }

  /// Claims the first `count` items of a cell of 64 if all 64 are free.
  func tryClaim(firstItems count: Int, ofEmpty cell: Int) -> Bool {
    let mask = Cell.mask(count, at: 0)
    // acquire: pairs with a release
    guard word(ofCell: cell).compareAndSwapAcquire(0, mask) == 0 else { return false }
    changed(cell, from: 0, to: mask)
    return true
  }

  /// Claims all items of this cell, ``itemCount(ofCell:)`` of them; false unless all are free. For purging and destroying.
  public func tryClaim(cell: Int) -> Bool {
    let items = cell >= 0 ? itemCount(ofCell: cell) : 0
    guard items > 0 else { return false }
    let all = Cell.mask(items, at: 0)
    // acquire: pairs with a release
    guard word(ofCell: cell).compareAndSwapAcquire(0, all) == 0 else { return false }
    changed(cell, from: 0, to: all)
    return true
  }

  // MARK: Searching

  /// Cells that a search may try in vain in a tree whose runs are shorter than asked for, before it goes to the tree in which
  /// each cell fits. Small against a search that fails, large against the number of cells that a fit usually takes.
  private static var missLimit: Int { 32 }

  func tryClaim(run count: Int, from start: Int, _ cost: inout SearchCost) -> Claim? {
    let size = itemCount
    guard count >= 1, count <= Cell.itemCount, size > 0 else { return nil }
    let cellCount = Cell.count(forItems: size)
    let first = Self.startingCell(start, cellCount)
    var claim: Claim?
    if runLengths.rawValue != 0 {
      claim = search(count, first, cellCount, size, &cost)
      if claim == nil { wait.countPass() }
    }
    if claim == nil { claim = pass(count, first, cellCount, size, &cost) }
    if claim == nil, runLengths.rawValue == 0 { wait.countPass() }
    wait.countLostSwaps(cost.lostSwaps)
    return claim
  }

  @inline(__always)
  static func startingCell(_ start: Int, _ cellCount: Int) -> Int {
    start >= 0 && start < cellCount ? start : Int(UInt(bitPattern: start) % UInt(cellCount))
  }

  /// By hints, from `first` on and around.
  private func search(_ count: Int, _ first: Int, _ cellCount: Int, _ size: Int, _ cost: inout SearchCost) -> Claim? {
    let fitting = runLengths.exponent(atLeast: count)
    guard var exponent = runLengths.exponent(atMost: count) ?? fitting else { return nil }
    var misses = 0
    while true {
      let tree = tree(exponent)
      var position = first
      var end = cellCount
      let mayMiss = tree.runLength < count && fitting != nil
      while true {
        guard let cell = tree.nextOpen(from: position, below: end, &cost) else {
          if end == first || first == 0 { break }
          position = 0
          end = first
          continue
        }
        if let claim = claimInCell(cell, count, size, &cost) { return claim }
        position = cell + 1
        misses += 1
        if mayMiss, misses == Self.missLimit { break }
      }
      guard mayMiss, misses == Self.missLimit, let fitting else { return nil }
      exponent = fitting
    }
  }

  /// Over every cell, from `first` on and around.
  private func pass(_ count: Int, _ first: Int, _ cellCount: Int, _ size: Int, _ cost: inout SearchCost) -> Claim? {
    var cell = first
    repeat {
      if let claim = claimInCell(cell, count, size, &cost) { return claim }
      cell = cell + 1 == cellCount ? 0 : cell + 1
    } while cell != first
    return nil
  }

  @inline(__always)
  private func claimInCell(_ cell: Int, _ count: Int, _ size: Int, _ cost: inout SearchCost) -> Claim? {
    let surplus = Cell.surplus(beyond: size - cell << Cell.indexShift)
    let claim: CellClaim?
    cost.wordsRead &+= 1
    switch strategy {
    case .compareAndSwap:
      claim = Self.swapIn(word(ofCell: cell), count, surplus, &cost.lostSwaps)
      if let claim { changed(cell, from: claim.previous, to: claim.current) }
    case .exchange:
      let exchanged = Self.exchange(word(ofCell: cell), count, surplus)
      // Full for a moment, whatever comes of it: others may have hinted so.
      if exchanged.previous != Cell.busy, runLengths.rawValue != 0 { settle(cell) }
      claim = exchanged.claim
    }
    return claim.map {
      Claim(index: cell << Cell.indexShift + $0.bit, previous: $0.previous, sawDoubleFree: $0.sawDoubleFree)
    }
  }
}
