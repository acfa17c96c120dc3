/// Claiming whole neighbouring cells, for runs longer than a cell.
///
/// Each cell goes from 0 to busy by one swap. When one fails, those claimed before are given back, so for a moment others may
/// find cells taken that nobody keeps: a patient claim waits in that case as it does when there is no room.
extension AtomicBitmap {
  /// Claims exactly `count` neighbouring cells; nil when no such run was empty when it was looked at.
  ///
  /// - Parameters:
  ///   - count: Cells; less than 1 gives nil.
  ///   - itemCount: If given, items needed, more than fit in `count - 1` cells and at most what fits in `count`: the rest of
  ///     the last cell is given back. A last cell with fewer than 64 items serves such a claim if they suffice.
  ///   - start: The cell to start from. Never affects correctness.
  /// - Returns: The first item's index, a multiple of 64.
  /// - Complexity: As a claim of a run with the hint tree `.sixtyFour`, plus `count` swaps; else every cell. Never waits.
  public func tryClaimCells(_ count: Int, trimmedTo itemCount: Int? = nil, from start: Int = 0) -> Int? {
    var cost = SearchCost()
    return tryClaimCells(count, trimmedTo: itemCount, from: start, &cost)
  }

  /// The same, with bounded wait: sleeps before each further try, at most `maxRetries` times. What the bitmap could never
  /// have gives nil at once.
  public func claimCells(_ count: Int, trimmedTo itemCount: Int? = nil, from start: Int = 0) -> Int? {
    guard let items = Self.itemsNeeded(count, itemCount), items <= self.itemCount else { return nil }
    return wait.patiently { tryClaimCells(count, trimmedTo: itemCount, from: start) }
  }

  private static func itemsNeeded(_ count: Int, _ itemCount: Int?) -> Int? {
    guard count >= 1, count <= Int.max >> Cell.indexShift else { return nil }
    let all = count << Cell.indexShift
    guard let itemCount else { return all }
    return itemCount > all - Cell.itemCount && itemCount <= all ? itemCount : nil
  }

  func tryClaimCells(_ count: Int, trimmedTo itemCount: Int?, from start: Int, _ cost: inout SearchCost) -> Int? {
    let size = self.itemCount
    guard let items = Self.itemsNeeded(count, itemCount), items <= size else { return nil }
    // Where the last possible run starts, and one more.
    let starts = (size - items) >> Cell.indexShift + 1
    let first = Self.startingCell(start, Cell.count(forItems: size))
    var found: Int?
    if runLengths.contains(.sixtyFour) {
      let tree = tree(RunLengths.sixtyFour.rawValue.trailingZeroBitCount)
      found = search(tree, count, items, from: first, to: starts, &cost)
      if found == nil { found = search(tree, count, items, from: 0, to: min(first, starts), &cost) }
      if found == nil { wait.countPass() }
    }
    if found == nil { found = pass(count, items, from: first, to: starts, &cost) }
    if found == nil { found = pass(count, items, from: 0, to: min(first, starts), &cost) }
    if found == nil, !runLengths.contains(.sixtyFour) { wait.countPass() }
    return found.map { $0 << Cell.indexShift }
  }

  /// By hints: a run that starts in `[from, to)`.
  private func search(
    _ tree: HintTree, _ count: Int, _ items: Int, from: Int, to: Int, _ cost: inout SearchCost
  ) -> Int? {
    if count <= Cell.itemCount { return searchByWord(tree, count, items, from: from, to: to, &cost) }
    var position = from
    while let cell = tree.nextOpen(from: position, below: to, &cost) {
      let closed = tree.nextClosed(from: cell + 1, below: cell + count, &cost)
      if closed < cell + count {
        position = closed + 1
      } else if let conflict = claimAll(cell, count, items, &cost) {
        position = conflict + 1
      } else {
        return cell
      }
    }
    return nil
  }

  /// The same for at most 64 cells: a word of hints at a time, together with what was open at the end of the one before it.
  private func searchByWord(
    _ tree: HintTree, _ count: Int, _ items: Int, from: Int, to: Int, _ cost: inout SearchCost
  ) -> Int? {
    var position = from
    // Cells before `position`, and next to it, that are open.
    var before = 0
    while position - before < to {
      let bit = position & (Cell.itemCount - 1), base = position - bit
      cost.wordsRead &+= 1
      let closed = tree.words.advanced(by: position >> Cell.indexShift).loadRelaxed() | ~(~0 << UInt(bit))
      if closed == Cell.busy {
        // On to the next word that is not full, as the levels above tell.
        guard let open = tree.nextOpen(from: base + Cell.itemCount, below: to, &cost) else { return nil }
        position = open
        before = 0
        continue
      }
      var cell = position - before
      if (closed >> UInt(bit) | ~(~0 >> UInt(bit))).trailingZeroBitCount < count - before {
        guard let first = Cell.findRun(of: count, in: closed) else {
          before = closed.leadingZeroBitCount
          position = base + Cell.itemCount
          continue
        }
        cell = base + first
      }
      if cell >= to { return nil }
      guard let conflict = claimAll(cell, count, items, &cost) else { return cell }
      position = conflict + 1
      before = 0
    }
    return nil
  }

  /// Over every cell: a run that starts in `[from, to)`.
  private func pass(_ count: Int, _ items: Int, from: Int, to: Int, _ cost: inout SearchCost) -> Int? {
    var cell = from
    next: while cell < to {
      // From the end, so that a taken cell rules out as many starts as it can.
      var last = cell + count - 1
      while last >= cell {
        cost.wordsRead &+= 1
        if word(ofCell: last).loadRelaxed() != 0 {
          cell = last + 1
          continue next
        }
        last -= 1
      }
      guard let conflict = claimAll(cell, count, items, &cost) else { return cell }
      cell = conflict + 1
    }
    return nil
  }

  /// Claims `items` items from `cell` on, in `count` cells that must be empty. Or nothing: then the cell that was
  /// taken is returned.
  func claimAll(_ cell: Int, _ count: Int, _ items: Int, _ cost: inout SearchCost) -> Int? {
    let end = cell + count
    var next = cell
    let kept = items - (count - 1) << Cell.indexShift
    while next < end {
      cost.wordsRead &+= 1
      let taken = next == end - 1 ? Cell.mask(kept, at: 0) : Cell.busy
      // acquire: pairs with a release
      guard word(ofCell: next).compareAndSwapAcquire(0, taken) == 0 else {
        // Only what this thread claimed, by an and: what was already freed wrongly is not made worse by a store.
        for mine in cell..<next {
          _ = word(ofCell: mine).fetchAndRelease(~Cell.busy)  // release: pairs with a claim
        }
        settle(from: cell, to: next)
        return next
      }
      next += 1
    }
    let whole = kept < Cell.itemCount ? end - 1 : end
    if whole > cell { changed(cells: cell..<whole, to: Cell.busy) }
    if whole < end { changed(end - 1, from: 0, to: Cell.mask(kept, at: 0)) }
    return nil
  }

  // MARK: Holding cells for a moment

  /// Cells of the 64 from `word` * 64 on that hints say are empty. With the hint tree `.sixtyFour` only.
  func emptyCells(_ word: Int) -> UInt {
    ~tree(RunLengths.sixtyFour.rawValue.trailingZeroBitCount).words.advanced(by: word).loadRelaxed()
  }

  /// Claims all 64 items of a cell, telling no tree: a search may look at it in vain until ``letGo(cells:)``.
  func hold(cell: Int) -> Bool {
    // acquire: pairs with a release
    word(ofCell: cell).compareAndSwapAcquire(0, Cell.busy) == 0
  }

  /// Gives back whole cells, all of whose items are the caller's.
  func letGo(cells: Range<Int>) {
    // release: pairs with a claim
    for cell in cells { _ = word(ofCell: cell).fetchAndRelease(~Cell.busy) }
    changed(cells: cells, to: 0)
  }

  /// Tells the trees of cells that ``hold(cell:)`` took and that are to stay taken.
  func keep(cells: Range<Int>) { changed(cells: cells, to: Cell.busy) }
}
