import CMempoolShims

/// Giving back the memory of medium objects that others have freed and that their owner does not collect: it may wait for something for
/// ever. Such an object has pages of its own, in which nothing is kept while it is free.
///
/// Who looks takes the heap's pending list whole, as the owner does to collect. Until the slabs are on it again nobody collects from
/// them, hands out what was freed, or destroys them; others may free more. So nothing else is claimed.
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// Whether slabs of medium objects have been pushed since somebody looked.
  var mediumPending: AtomicPointer { AtomicPointer(self, word: 142) }
  /// Those who have the pending list, or a part of it, and bring it back.
  var returning: AtomicPointer { AtomicPointer(self, word: 143) }
  /// Where there is no purger: bytes of slabs of medium objects that were pushed since they were last looked at or collected.
  var uncollectedBytes: AtomicPointer { AtomicPointer(self, word: 144) }

  var hasMediumPending: Bool { mediumPending.loadRelaxed() != 0 }

  /// After a slab of medium objects has been pushed, and a full fence. The purger will look at it; where there is none, whoever frees
  /// does when there is much: what is freed in the same slabs later waits for its owner.
  func noteMediumPending(_ byteCount: UInt) {
    mediumPending.storeRelaxed(1)
    if Purger.takesOver() { return }
    if uncollectedBytes.fetchAddRelaxed(byteCount) &+ byteCount > Self.mostUncollected { returnUncollected(all: true) }
  }

  // As much as is idle at most where nobody looks after it.
  private static var mostUncollected: UInt { 1 << 20 }

  /// Gives back the pages of uncollected medium objects: of `all`, or of those that were uncollected at the last call, too; the
  /// bytes they were. By any thread. O(slabs that others told of).
  @discardableResult
  func returnUncollected(all: Bool) -> UInt {
    guard hasMediumPending else { return 0 }
    _ = returning.fetchAddRelaxed(1)
    mediumPending.storeRelaxed(0)
    uncollectedBytes.storeRelaxed(0)
    // pairs with the fence in enqueue(_:), as who pushes a slab that is not seen here notes it after the stores above; and with that in
    // drainReturned(): who finds the list taken sees that it comes back
    fenceFull()
    var rest = pending.exchangeAcquire(0)  // acquire: pairs with the swap in enqueue(_:)
    var byteCount: UInt = 0
    while let slab = SlabPointer(bitPattern: rest) {
      rest = slab.pendingNext.loadRelaxed()
      let isMedium = slab.isMedium
      if isMedium { byteCount += slab.returnUncollected(all: all) }
      enqueue(slab)
      // There may be more in it soon.
      if isMedium { mediumPending.storeRelaxed(1) }
      lookAfter()
    }
    _ = returning.fetchAddAcquireRelease(0 &- 1)  // release: pairs with the acquire in drainReturned()
    return byteCount
  }

  /// Collects what comes back from who has it at the moment: another look, when ``drain()`` found nothing and nothing else is left. By the
  /// owner. Waits for it, but not for ever: he may have been stopped.
  func drainReturned() -> Bool {
    fenceFull()  // pairs with the fence in returnUncollected(all:)
    var waits = 0
    // acquire: pairs with the end of returnUncollected(all:)
    while returning.loadAcquire() != 0, waits < Self.mostWaits {
      mp_sleep_nanoseconds(1000)
      waits += 1
    }
    return drain()
  }

  // Some 50 ms.
  private static var mostWaits: Int { 1000 }
}

extension UnsafeMutablePointer where Pointee == Slab {
  /// Whether its items have pages of their own. All of them are in one cell.
  var isMedium: Bool { pointee.itemSize > SizeClass.largest }

  /// By who took the slab from the pending list. No field is changed in place: see ``Slab``.
  fileprivate func returnUncollected(all: Bool) -> UInt {
    let freed = UInt16(truncatingIfNeeded: ~cell(0).loadAcquire())  // acquire: pairs with the and in freeRemotely(_:)
    let stayed = all ? freed : freed & pointee.uncollected
    pointee.uncollected = freed
    var due = stayed & ~pointee.returned
    var byteCount: UInt = 0
    while due != 0 {
      let first = UInt(due.trailingZeroBitCount)
      let count = (~(due >> first)).trailingZeroBitCount
      let run = UInt16(truncatingIfNeeded: Cell.mask(count, at: Int(first)))
      byteCount += returnPages(first..<first + UInt(count), among: UInt(stayed))
      pointee.returned = pointee.returned | run
      due &= ~run
    }
    return byteCount
  }

  // The pages of these items, also those that they share with others `among` which they are.
  private func returnPages(_ items: Range<UInt>, among stayed: UInt) -> UInt {
    var (first, end) = (items.lowerBound, items.upperBound)
    while stayed >> (first - 1) & 1 != 0 { first -= 1 }
    while stayed >> end & 1 != 0 { end += 1 }
    let page = UInt(mp_system_page_size())
    func floor(_ address: UInt) -> UInt { address & ~(page - 1) }
    func ceiling(_ address: UInt) -> UInt { floor(address + page - 1) }
    let low = max(floor(address(items.lowerBound)), ceiling(address(first)))
    let high = min(ceiling(address(items.upperBound)), floor(address(end)))
    guard low < high, pointee.segment.pointee.backing == .elastic,
      mp_pages_purge(UnsafeMutableRawPointer(bitPattern: low).unsafelyUnwrapped, Int(high - low)) == 0
    else { return 0 }
    _ = pointee.segment.purgedBytes.fetchAddRelaxed(high - low)
    return high - low
  }
}
