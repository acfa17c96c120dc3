import CMempoolShims

/// Giving memory back. What stayed idle for a whole purge delay is returned: by the ``Purger``, or, where there is none, by
/// whoever next takes or releases a page. Where there is none, idle pages are also kept to a budget, the larger of 1 MiB and an
/// eighth of what is in use; what goes beyond is lent to the system at once by whoever releases it, as nobody may come by
/// again, unless idle pages have proved to be needed again.
///
/// | an empty page | its memory | Private_Dirty | the next use |
/// | --- | --- | --- | --- |
/// | idle | as it was left | counts | costs nothing |
/// | lent | the system may take it when it needs some | does not count | a page fault only if it was taken |
/// | neither | the system's | does not count | a page fault, and reads as zero |
///
/// Each idle page that is taken again earns credit, up to the pages in use; each page released beyond the budget spends some. A
/// program that takes and releases all the time pays for no system call; one that only releases has no credit left soon. Idle and
/// lent pages never make a program larger than three eighths above its peak. Lent pages, too, are returned when nobody needed them for
/// a purge delay. Only elastic segments are purged. No lock: a purge holds the pages that it purges, as a claim does.
extension UnsafeMutablePointer where Pointee == Segment {
  private var idleFloor: UInt { (1 << 20) >> Page.shift }

  // A count that releases and claims change from both sides may be below zero for a moment.
  private func count(_ word: AtomicPointer) -> UInt { UInt(max(0, Int(bitPattern: word.loadRelaxed()))) }

  var idleBudget: UInt { max(idleFloor, count(usedPages) / 8) }
  private var mostCredit: UInt { count(usedPages) }

  /// Marks pages as written to by their new user: how many had been idle, and how many lent.
  func touch(_ first: UInt, _ count: UInt) -> (idle: UInt, lent: UInt) {
    var idle: UInt = 0, lent: UInt = 0
    var page = first
    while page < first + count {
      let word = Int(page / 64), bit = page % 64
      let inWord = min(64 - bit, first + count - page)
      let mask = Cell.mask(Int(inWord), at: Int(bit))
      let before = touched(word).loadRelaxed() & mask
      if before != mask { _ = touched(word).fetchOrRelaxed(mask) }
      let wasLent = self.lent(word).loadRelaxed() & mask
      if wasLent != 0 { _ = self.lent(word).fetchAndRelaxed(~mask) }
      lent += UInt(wasLent.nonzeroBitCount)
      idle += UInt((before & ~wasLent).nonzeroBitCount)
      page += inWord
    }
    return (idle, lent)
  }

  /// Some pages that were idle or lent have just been taken.
  func idleTaken(_ idle: UInt, _ lent: UInt) {
    if lent > 0 { lower(lentPages, lentLow, by: lent) }
    if idle > 0 { lower(idlePages, idleLow, by: idle) }
    // Racy, as it only decides what costs less.
    credit.storeRelaxed(min(credit.loadRelaxed() + idle + lent, mostCredit))
  }

  private func lower(_ count: AtomicPointer, _ low: AtomicPointer, by pages: UInt) {
    let now = count.fetchAddRelaxed(0 &- pages) &- pages
    if Int(bitPattern: now) < Int(bitPattern: low.loadRelaxed()) { low.storeRelaxed(now) }
  }

  /// Pages that were neither have just been taken: what idles elsewhere must not make the program much larger than its peak.
  func freshTaken() {
    guard pointee.backing == .elastic else { return }
    let most = max(count(peakPages), idleFloor) / 8 * 11
    let now = count(usedPages) + count(idlePages) + count(lentPages)
    guard now > most, count(idlePages) + count(lentPages) > 0 else { return }
    // Some more, so that the next claim need not purge again.
    purge(atMost: now - most + most / 16)
  }

  /// Some pages have just become empty: those beyond the budget go back.
  func pagesReleased(_ pages: UInt) {
    _ = usedPages.fetchAddRelaxed(0 &- pages)
    _ = idlePages.fetchAddRelaxed(pages)
    guard pointee.backing == .elastic else { return }
    if hasPurger, Purger.takesOver() { return }
    let idle = count(idlePages), budget = idleBudget
    guard idle > budget else { return purgeWhatStayedIdle() }
    let left = credit.loadRelaxed()
    if left >= pages, idle - budget <= mostCredit {
      credit.storeRelaxed(left - pages)
      return purgeWhatStayedIdle()
    }
    credit.storeRelaxed(0)
    // Half of the budget more than must be, so that the next release need not purge again.
    purge(.lend, atMost: idle - budget / 2)
  }

  // A segment of no pool is nobody's to purge, and without a delay pages go back at once.
  var hasPurger: Bool { pointee.list != 0 && pointee.purgeDelay != 0 }

  var hasIdleMemory: Bool { count(idlePages) + count(lentPages) > 0 || arena.hasIdle }

  /// What the purger does, by anybody who comes by where there is none.
  func purgeWhatStayedIdle() {
    if hasPurger, Purger.isThere { return }
    purgeUnneeded()
  }

  /// At most once a purge delay: what nobody needed since the last time goes back.
  func purgeUnneeded() {
    guard pointee.backing == .elastic, hasIdleMemory else { return }
    let now = UInt(mp_clock_nanoseconds() / 1_000_000)
    let last = tick.loadRelaxed()
    guard now &- last >= pointee.purgeDelay, tick.compareAndSwapRelaxed(last, now) == last else { return }
    if last != 0 {
      purge(.lent, atMost: min(count(lentLow), count(lentPages)))
      purge(.idle, atMost: min(count(idleLow), count(idlePages)))
      arena.sweepWhatStayedIdle()
    }
    idleLow.storeRelaxed(idlePages.loadRelaxed())
    lentLow.storeRelaxed(lentPages.loadRelaxed())
  }

  /// Returns everything that is not in use to the system; how many pages that were.
  @discardableResult
  func purgeAll() -> UInt {
    if pointee.backing == .elastic { arena.sweep() }
    return purge(atMost: .max)
  }

  /// Returns idle and lent pages to the system until `limit` have been; how many were.
  @discardableResult
  func purge(atMost limit: UInt) -> UInt {
    let lent = purge(.lent, atMost: limit)
    return lent + purge(.idle, atMost: limit - lent)
  }

  /// What a purge does: with which pages, and what becomes of them.
  private enum Purge {
    case lend
    case idle
    case lent
  }

  /// From the segment's far end down, as claims look from its start up.
  @discardableResult
  private func purge(_ kind: Purge, atMost limit: UInt) -> UInt {
    let total = pageCount.loadAcquire()  // acquire: pairs with grow(by:known:)
    guard pointee.backing == .elastic, total > 0, limit > 0 else { return 0 }
    _ = purging.fetchAddAcquireRelease(1)  // release: pairs with the acquires in isPurging and waitForPurges()
    fenceFull()  // pairs with the fence in isPurging: who has seen a page that this purge holds sees the count
    var purged: UInt = 0
    var end = total
    while end > 0, purged < limit {
      let held = holdEmpty(kind, below: &end, atMost: limit - purged)
      guard !held.isEmpty else { continue }
      let whole = wholeSystemPages(held)
      if !whole.isEmpty, purgeHeld(kind, whole) { purged += UInt(whole.count) }
      pointee.bitmap.letGo(cells: Int(held.lowerBound)..<Int(held.upperBound))
    }
    if purged > 0 {
      _ = (kind == .lent ? lentPages : idlePages).fetchAddRelaxed(0 &- purged)
      if kind == .lend { _ = lentPages.fetchAddRelaxed(purged) }
      // What was lent has been counted then.
      if kind != .lent { _ = purgedBytes.fetchAddRelaxed(purged << Page.shift) }
      _ = purgePasses.fetchAddRelaxed(1)
    }
    _ = purging.fetchAddAcquireRelease(0 &- 1)  // release: pairs with the acquires in isPurging and waitForPurges()
    return purged
  }

  // Those of the pages that fill pages of the system's, which may be larger.
  private func wholeSystemPages(_ pages: Range<UInt>) -> Range<UInt> {
    let group = max(1, UInt(mp_system_page_size()) >> Page.shift)
    let low = (pages.lowerBound + group - 1) / group * group, high = pages.upperBound / group * group
    return low..<max(low, high)
  }

  private func purgeHeld(_ kind: Purge, _ pages: Range<UInt>) -> Bool {
    let start = UnsafeMutableRawPointer(bitPattern: address(ofPage: pages.lowerBound)).unsafelyUnwrapped
    let byteCount = pages.count << Int(Page.shift)
    let result = kind == .lend ? mp_pages_lend(start, byteCount) : mp_pages_purge(start, byteCount)
    if result != 0 { return false }
    var page = pages.lowerBound
    while page < pages.upperBound {
      let word = Int(page / 64), bit = page % 64
      let inWord = min(64 - bit, pages.upperBound - page)
      let mask = Cell.mask(Int(inWord), at: Int(bit))
      switch kind {
      case .lend: _ = lent(word).fetchOrRelaxed(mask)
      case .idle: _ = touched(word).fetchAndRelaxed(~mask)
      case .lent:
        _ = touched(word).fetchAndRelaxed(~mask)
        _ = lent(word).fetchAndRelaxed(~mask)
      }
      page += inWord
    }
    return true
  }

  // Of 64 pages, those that such a purge may be about, as far as hints tell.
  private func candidates(_ kind: Purge, _ word: Int) -> UInt {
    let lent = lent(word).loadRelaxed()
    return (kind == .lent ? lent : touched(word).loadRelaxed() & ~lent) & pointee.bitmap.emptyCells(word)
  }

  /// Holds neighbouring empty pages, the last there are below `end`, which becomes where to go on.
  private func holdEmpty(_ kind: Purge, below end: inout UInt, atMost limit: UInt) -> Range<UInt> {
    var word = Int((end - 1) / 64)
    var found = candidates(kind, word) & (~0 >> (63 - (end - 1) % 64))
    while found == 0 {
      end = UInt(word) * 64
      if word == 0 { return 0..<0 }
      word -= 1
      found = candidates(kind, word)
    }
    let last = UInt(word) * 64 + 63 - UInt(found.leadingZeroBitCount)
    var first = last + 1
    while first > 0, last + 1 - first < limit {
      let page = first - 1
      if page % 64 == 63, page != last { found = candidates(kind, Int(page / 64)) }
      guard found >> (page % 64) & 1 != 0, pointee.bitmap.hold(cell: Int(page)) else { break }
      // It may have been another purge's, or in use, since.
      guard isStill(kind, page) else {
        pointee.bitmap.letGo(cells: Int(page)..<Int(page) + 1)
        break
      }
      first = page
    }
    // Where nothing could be held, the page is passed over.
    end = min(first, last)
    return first..<last + 1
  }

  private func isStill(_ kind: Purge, _ page: UInt) -> Bool {
    let isTouched = touched(Int(page / 64)).loadRelaxed() >> (page % 64) & 1 != 0
    let isLent = lent(Int(page / 64)).loadRelaxed() >> (page % 64) & 1 != 0
    return kind == .lent ? isLent : isTouched && !isLent
  }

  /// Whether a purge holds pages, for a claim that found none.
  var isPurging: Bool {
    fenceFull()  // pairs with the fence in purge(_:atMost:), as the cells that were looked at were relaxed loads
    return purging.loadAcquire() != 0  // acquire: pairs with the end of purge(_:atMost:)
  }

  /// Waits until no purge holds pages; whether that came to be. Not for ever: whoever purges may have been stopped, and others go on
  /// without the pages that it holds.
  func waitForPurges() -> Bool {
    for _ in 0..<Self.mostPurgeWaits {
      if purging.loadAcquire() == 0 { return true }  // acquire: pairs with the end of purge(_:atMost:)
      mp_sleep_nanoseconds(1000)
    }
    return false
  }

  // Half a second, as sleeps take some 50 microseconds at least: the system purges a gigabyte in less.
  private static var mostPurgeWaits: Int { 10_000 }
}
