/// A run claimed in one cell.
public struct CellClaim {
  /// The run's first item, in 0..<64.
  public let bit: Int
  /// The cell before the claim: 0, it was empty.
  public let previous: UInt
  /// The cell after it.
  public let current: UInt
  /// By exchange only: an item that nobody had handed out was freed while the cell was held.
  public let sawDoubleFree: Bool

  @inlinable @inline(__always)
  init(bit: Int, previous: UInt, current: UInt, sawDoubleFree: Bool = false) {
    self.bit = bit
    self.previous = previous
    self.current = current
    self.sawDoubleFree = sawDoubleFree
  }
}

extension AtomicBitmap {
  /// Claims a run of `count` items, in 1…64, in a cell that stands alone and has `limit` items; nil when it has no such run.
  ///
  /// Any number of threads may call this together with releases. One load and one swap, when nobody interferes.
  @inlinable @inline(__always)
  public static func claimInCell(
    _ cell: AtomicPointer, count: Int = 1, limit: Int = 64, strategy: Strategy = .compareAndSwap
  ) -> CellClaim? {
    let surplus = Cell.surplus(beyond: limit)
    switch strategy {
    case .compareAndSwap:
      var lostSwaps: UInt = 0
      return swapIn(cell, count, surplus, &lostSwaps)
    case .exchange:
      return exchange(cell, count, surplus).claim
    }
  }

  /// Claim by compare-and-swap: as long as the loaded copy has room, tries on this cell.
  @inlinable @inline(__always)
  static func swapIn(_ cell: AtomicPointer, _ count: Int, _ surplus: UInt, _ lostSwaps: inout UInt) -> CellClaim? {
    var seen = cell.loadRelaxed()
    while let bit = Cell.findRun(of: count, in: seen | surplus) {
      let taken = seen | Cell.mask(count, at: bit)
      let found = cell.compareAndSwapAcquire(seen, taken)  // acquire: pairs with a release
      if found == seen { return CellClaim(bit: bit, previous: seen, current: taken) }
      seen = found
      lostSwaps &+= 1
    }
    return nil
  }

  /// What an exchange did to a cell. `previous == Cell.busy`: nothing.
  @usableFromInline struct Exchanged {
    @usableFromInline let claim: CellClaim?
    @usableFromInline let previous: UInt
    @usableFromInline let current: UInt

    @inlinable @inline(__always)
    init(claim: CellClaim?, previous: UInt, current: UInt) {
      self.claim = claim
      self.previous = previous
      self.current = current
    }
  }

  /// Claim by exchange: takes the whole cell, and gives back what is not needed.
  @inlinable @inline(__always)
  static func exchange(_ cell: AtomicPointer, _ count: Int, _ surplus: UInt) -> Exchanged {
    let copy = cell.exchangeAcquire(Cell.busy)  // acquire: pairs with a release
    // Full, or in somebody's hands.
    if copy == Cell.busy { return Exchanged(claim: nil, previous: copy, current: copy) }
    let bit = Cell.findRun(of: count, in: copy | surplus)
    let taken = bit.map { Cell.mask(count, at: $0) } ?? 0
    let (current, sawDoubleFree) = giveBack(cell, copy, taken)
    let claim = bit.map { CellClaim(bit: $0, previous: copy, current: current, sawDoubleFree: sawDoubleFree) }
    return Exchanged(claim: claim, previous: copy, current: current)
  }

  /// The second half of an exchange that found `copy`: keeps `taken`. An and, not a store: what was freed meanwhile stays free.
  @inlinable @inline(__always)
  static func giveBack(_ cell: AtomicPointer, _ copy: UInt, _ taken: UInt) -> (current: UInt, sawDoubleFree: Bool) {
    // release: pairs with a claim, for what the items given back held when this thread took them
    let held = cell.fetchAndRelease(copy | taken)
    // All that was free in the copy was this thread's, so nobody else could rightly clear it.
    return (held & (copy | taken), held | copy != Cell.busy)
  }
}
