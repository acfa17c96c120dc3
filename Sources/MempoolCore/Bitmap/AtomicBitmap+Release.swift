/// Giving items back. Each cell is one atomic operation.
extension AtomicBitmap {
  /// What a release found.
  public struct Release {
    /// The cell's value before.
    public let previous: UInt
    /// Some of the items were not taken: a double free, or items that do not exist. Those that were taken are free now.
    public let wasDouble: Bool
  }

  /// Gives back `count` items of one cell. Whoever claimed them may, once.
  ///
  /// Items out of range, or a run that crosses a cell, change nothing and are reported as double.
  @discardableResult
  public func release(run count: Int = 1, at index: Int) -> Release {
    let bit = index & (Cell.itemCount - 1)
    guard index >= 0, count >= 1, count <= Cell.itemCount - bit, count <= itemCount - index else {
      return Release(previous: 0, wasDouble: true)
    }
    let mask = Cell.mask(count, at: bit)
    let cell = index >> Cell.indexShift
    let old = word(ofCell: cell).fetchAndRelease(~mask)  // release: pairs with a claim
    changed(cell, from: old, to: old & ~mask)
    return Release(previous: old, wasDouble: old & mask != mask)
  }

  /// Gives back `itemCount` items from the start of a cell on, over as many cells as they take: the counterpart of
  /// ``claimCells(_:trimmedTo:from:)``. False: some were not taken, or do not exist.
  @discardableResult
  public func releaseCells(itemCount count: Int, at index: Int) -> Bool {
    guard index >= 0, index & (Cell.itemCount - 1) == 0, count >= 1, count <= itemCount - index else { return false }
    let first = index >> Cell.indexShift
    let end = first + Cell.count(forItems: count)
    var wereTaken = true
    for cell in first..<end {
      let mask = ~Cell.surplus(beyond: count - (cell - first) << Cell.indexShift)
      let old = word(ofCell: cell).fetchAndRelease(~mask)  // release: pairs with a claim
      if old & mask != mask { wereTaken = false }
    }
    settle(from: first, to: end)
    return wereTaken
  }
}
