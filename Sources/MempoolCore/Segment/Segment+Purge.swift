import CMempoolShims

/// Giving memory back. What stayed idle for a whole purge delay is returned: by the ``Purger``, or, where there is none, by
/// whoever next takes or releases a page. Where there is none, idle pages are also kept to a budget, the larger of 1 MiB and an
/// eighth of what is in use; what goes beyond is returned at once by whoever releases it, as nobody may come by again. Only
/// elastic segments are purged. No lock: a purge holds the pages that it purges, as a claim does.
extension UnsafeMutablePointer where Pointee == Segment {
  private var idleFloor: UInt { (1 << 20) >> Page.shift }

  // A count that releases and claims change from both sides may be below zero for a moment.
  private func count(_ word: AtomicPointer) -> UInt { UInt(max(0, Int(bitPattern: word.loadRelaxed()))) }

  var idleBudget: UInt { max(idleFloor, count(usedPages) / 8) }

  /// Marks a page as written to; whether it was already.
  func touch(_ page: UInt) -> Bool {
    let word = pointee.touched.advanced(by: Int(page / 64))
    let bit: UInt = 1 << (page % 64)
    if word.loadRelaxed() & bit != 0 { return true }
    return word.fetchOrRelaxed(bit) & bit != 0
  }

  func idleTaken(_ pages: UInt) {
    let now = idlePages.fetchAddRelaxed(0 &- pages) &- pages
    if Int(bitPattern: now) < Int(bitPattern: idleLow.loadRelaxed()) { idleLow.storeRelaxed(now) }
  }

  /// Some pages have just become empty: those beyond the budget go back.
  func pagesReleased(_ pages: UInt, near page: UInt) {
    _ = usedPages.fetchAddRelaxed(0 &- pages)
    _ = idlePages.fetchAddRelaxed(pages)
    guard pointee.backing == .elastic else { return }
    if hasPurger, Purger.takesOver() { return }
    let idle = count(idlePages), budget = idleBudget
    if idle > budget {
      // Half of the budget more than must be, so that the next release need not purge again.
      purge(atMost: idle - budget / 2, from: page)
    } else {
      purgeWhatStayedIdle()
    }
  }

  // A segment of no pool is nobody's to purge, and without a delay pages go back at once.
  private var hasPurger: Bool { pointee.list != 0 && pointee.purgeDelay != 0 }

  var hasIdlePages: Bool { count(idlePages) > 0 }

  /// What the purger does, by anybody who comes by where there is none.
  func purgeWhatStayedIdle() {
    if hasPurger, Purger.isThere { return }
    purgeUnneeded()
  }

  /// At most once a purge delay: what nobody needed since the last time goes back.
  func purgeUnneeded() {
    guard pointee.backing == .elastic, hasIdlePages else { return }
    let now = UInt(mp_clock_nanoseconds() / 1_000_000)
    let last = tick.loadRelaxed()
    guard now &- last >= pointee.purgeDelay, tick.compareAndSwapRelaxed(last, now) == last else { return }
    let unneeded = min(count(idleLow), count(idlePages))
    if last != 0, unneeded > 0 { purge(atMost: unneeded, from: purgeCursor.loadRelaxed()) }
    idleLow.storeRelaxed(idlePages.loadRelaxed())
  }

  /// Returns idle pages to the system, beginning at `first`, until `limit` have been; how many were.
  @discardableResult
  func purge(atMost limit: UInt, from first: UInt) -> UInt {
    let total = pageCount.loadAcquire()  // acquire: pairs with grow(by:known:)
    guard pointee.backing == .elastic, total > 0, limit > 0 else { return 0 }
    _ = purging.fetchAddAcquireRelease(1)  // release: pairs with the acquire in waitForPurges()
    var purged: UInt = 0
    var visited: UInt = 0
    var page = first < total ? first : 0
    while visited < total, purged < limit {
      let (held, seen) = holdIdle(page, atMost: min(limit - purged, total - page))
      if held > 0 {
        let whole = wholeSystemPages(page, held)
        let done = !whole.isEmpty && purgeHeld(whole)
        for page in page..<page + held {
          _ = pointee.bitmap.release(run: Int(Page.fragmentCount), at: Int(page * Page.fragmentCount))
        }
        if done { purged += UInt(whole.count) }
      }
      visited += seen
      page = page + seen < total ? page + seen : 0
    }
    if purged > 0 {
      _ = idlePages.fetchAddRelaxed(0 &- purged)
      _ = purgedBytes.fetchAddRelaxed(purged << Page.shift)
      _ = purgePasses.fetchAddRelaxed(1)
      purgeCursor.storeRelaxed(page)
    }
    _ = purging.fetchAddAcquireRelease(0 &- 1)  // release: pairs with the acquire in waitForPurges()
    return purged
  }

  // Those of the pages that fill pages of the system's, which may be larger.
  private func wholeSystemPages(_ first: UInt, _ count: UInt) -> Range<UInt> {
    let group = max(1, UInt(mp_system_page_size()) >> Page.shift)
    let low = (first + group - 1) / group * group, high = (first + count) / group * group
    return low..<max(low, high)
  }

  private func purgeHeld(_ pages: Range<UInt>) -> Bool {
    let start = UnsafeMutableRawPointer(bitPattern: address(ofPage: pages.lowerBound)).unsafelyUnwrapped
    guard mp_pages_purge(start, pages.count << Int(Page.shift)) == 0 else { return false }
    for page in pages { _ = pointee.touched.advanced(by: Int(page / 64)).fetchAndRelaxed(~(1 << (page % 64))) }
    return true
  }

  /// Claims the touched empty pages that begin at `first`, as long as they are neighbours. `seen`: pages to go on by.
  private func holdIdle(_ first: UInt, atMost limit: UInt) -> (held: UInt, seen: UInt) {
    var held: UInt = 0
    while held < limit {
      let page = first + held
      let word = pointee.touched.advanced(by: Int(page / 64)).loadRelaxed() >> (page % 64)
      guard word & 1 != 0 else {
        // On to the next touched page of this word, or to the next word.
        let skip = word == 0 ? 64 - page % 64 : UInt(word.trailingZeroBitCount)
        return (held, held + min(max(skip, 1), limit - held))
      }
      guard pointee.bitmap.tryClaim(cell: Int(page)) else { return (held, held + 1) }
      if pointee.touched.advanced(by: Int(page / 64)).loadRelaxed() & 1 << (page % 64) == 0 {
        // Another purge was faster.
        _ = pointee.bitmap.release(run: Int(Page.fragmentCount), at: Int(page * Page.fragmentCount))
        return (held, held + 1)
      }
      held += 1
    }
    return (held, held)
  }

  /// Waits until no purge holds pages; whether there was one.
  func waitForPurges() -> Bool {
    guard purging.loadAcquire() != 0 else { return false }  // acquire: pairs with the end of purge(atMost:from:)
    while purging.loadAcquire() != 0 { mp_sleep_nanoseconds(1000) }  // acquire: pairs with purge(atMost:from:)
    return true
  }
}
