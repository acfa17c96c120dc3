import CMempoolShims

/// Fragments and pages, the segment's own allocator: runs of 1…64 fragments inside a page, longer ones from a page's start.
///
/// All of it may be called by any thread. What a run is stands in the page table, two bits a fragment: the first fragments of
/// runs and the last ones. Both are written by whoever holds the fragment, so a run's extent never depends on its neighbours.
/// Finding is O(log64 pages); a run of n pages writes n entries.
extension UnsafeMutablePointer where Pointee == Segment {
  /// Claimed memory. `isZero`: all of it is known to read as zero.
  struct Run {
    let address: UInt
    let isZero: Bool
  }

  // MARK: Whole pages, for slabs, caches and the arena

  /// `count` neighbouring pages, their entries all zero; nil when the segment is full.
  func claimPages(_ count: UInt, from page: UInt = 0) -> Run? {
    search(count) { patient in
      patient
        ? pointee.bitmap.claimCells(Int(count), trimmedTo: nil, from: Int(page))
        : pointee.bitmap.tryClaimCells(Int(count), trimmedTo: nil, from: Int(page))
    }.map { index in
      let first = UInt(index) / Page.fragmentCount
      return Run(address: address(ofPage: first), isZero: pagesTaken(first, count))
    }
  }

  /// Gives back pages whose entries were set; they are reset first.
  func releasePages(_ address: UInt, _ count: UInt) {
    let first = (address - pointee.base) >> Page.shift
    for page in first..<first + count { entry(page).reset() }
    releaseItems(at: first * Page.fragmentCount, count * Page.fragmentCount)
  }

  // MARK: Runs of fragments

  /// `count` fragments in one piece; runs of 64 and more begin at a page.
  func claimRun(_ count: UInt, from page: UInt = 0) -> Run? {
    count < Page.fragmentCount ? claimShortRun(count, from: page) : claimLongRun(count)
  }

  /// The same, its address a multiple of `alignment`, a power of two above a fragment.
  func claimRun(_ count: UInt, alignment: UInt) -> Run? {
    let extra = alignment >> Page.fragmentShift - 1
    if alignment > Page.byteCount {
      // Skips whole pages at the front; what is left over at the end is never claimed, or trimmed.
      return claimLongRun(count, alignedTo: alignment)
    }
    guard count + extra < Page.fragmentCount else { return claimLongRun(count) }
    guard let claim = search(1, { _ in pointee.bitmap.tryClaim(run: Int(count + extra), from: 0) }) else { return nil }
    let first = UInt(claim.index)
    let lead = (0 &- (pointee.base >> Page.fragmentShift + first)) & extra
    let isZero = shortRunTaken(first, previous: claim.previous)
    setShortRun(first + lead, count)
    if lead > 0 { releaseItems(at: first, lead) }
    if lead < extra { releaseItems(at: first + lead + count, extra - lead) }
    return Run(address: pointee.base + (first + lead) << Page.fragmentShift, isZero: isZero)
  }

  private func claimShortRun(_ count: UInt, from page: UInt) -> Run? {
    guard let claim = search(1, { _ in pointee.bitmap.tryClaim(run: Int(count), from: Int(page)) }) else { return nil }
    let first = UInt(claim.index)
    let isZero = shortRunTaken(first, previous: claim.previous)
    setShortRun(first, count)
    return Run(address: pointee.base + first << Page.fragmentShift, isZero: isZero)
  }

  private func claimLongRun(_ count: UInt) -> Run? {
    let pages = (count + Page.fragmentCount - 1) / Page.fragmentCount
    return search(pages) { patient in
      patient
        ? pointee.bitmap.claimCells(Int(pages), trimmedTo: Int(count), from: 0)
        : pointee.bitmap.tryClaimCells(Int(pages), trimmedTo: Int(count), from: 0)
    }.map { index in
      let first = UInt(index) / Page.fragmentCount
      let isZero = pagesTaken(first, pages)
      setLongRun(first, count)
      return Run(address: address(ofPage: first), isZero: isZero)
    }
  }

  private func claimLongRun(_ count: UInt, alignedTo alignment: UInt) -> Run? {
    let extra = alignment >> Page.shift - 1
    let pages = (count + Page.fragmentCount - 1) / Page.fragmentCount
    return search(pages + extra) { _ in
      pointee.bitmap.tryClaimCells(Int(pages + extra), trimmedTo: Int(extra * Page.fragmentCount + count), from: 0)
    }.map { index in
      let first = UInt(index) / Page.fragmentCount
      let isZero = pagesTaken(first, pages + extra)
      let lead = (0 &- (pointee.base >> Page.shift + first)) & extra
      if lead > 0 { releaseItems(at: first * Page.fragmentCount, lead * Page.fragmentCount) }
      let end = (first + lead) * Page.fragmentCount + count
      if lead < extra { releaseItems(at: end, (extra - lead) * Page.fragmentCount) }
      setLongRun(first + lead, count)
      return Run(address: address(ofPage: first + lead), isZero: isZero)
    }
  }

  /// Where an address lies, in terms of runs.
  enum RunLookup {
    /// In the run of `count` fragments that begins at `head`.
    case run(head: UInt, count: UInt)
    /// In a free fragment.
    case free
    /// In a page that is not cut into runs.
    case other(PageKind)
  }

  /// The run that holds `address`, which lies in an accessible page that is no slab. O(1), racing with nothing but misuse.
  func run(at address: UInt) -> RunLookup {
    var page = (address - pointee.base) >> Page.shift
    guard page < pageCount.loadAcquire() else { return .free }  // acquire: pairs with grow(by:known:)
    var entry = entry(page)
    switch entry.kind {
    case .fragments:
      let fragment = (address - pointee.base) >> Page.fragmentShift & (Page.fragmentCount - 1)
      let upTo = UInt.max >> (Page.fragmentCount - 1 - fragment)
      let heads = entry.heads.loadRelaxed() & upTo
      let lasts = entry.lasts.loadRelaxed() & ~(upTo >> 1)
      guard lasts != 0 else { return .free }
      let last = UInt(lasts.trailingZeroBitCount)
      if heads != 0 {
        let head = Page.fragmentCount - 1 - UInt(heads.leadingZeroBitCount)
        // Between head and fragment no run may end, or the fragment lies after it.
        if entry.lasts.loadRelaxed() & (upTo >> 1) & (UInt.max << head) != 0 { return .free }
        return .run(head: self.address(ofPage: page) + head << Page.fragmentShift, count: last - head + 1)
      }
      guard entry.pagesBack != 0, entry.lasts.loadRelaxed() & (upTo >> 1) == 0 else { return .free }
      page -= entry.pagesBack
    case .longRun: break
    case .longRunRest: page -= entry.pagesBack
    case let kind: return .other(kind)
    }
    entry = self.entry(page)
    guard entry.kind == .longRun else { return .free }
    return .run(head: self.address(ofPage: page), count: entry.base.loadRelaxed())
  }

  /// Gives back the run of `count` fragments that begins at `head`, as ``run(at:)`` found it. False: somebody else gave it
  /// back in between.
  func releaseRun(_ head: UInt, _ count: UInt) -> Bool {
    guard retire(head, count) else { return false }
    releaseRetired(head, count)
    return true
  }

  private func headBit(_ head: UInt) -> UInt { 1 << (head >> Page.fragmentShift & (Page.fragmentCount - 1)) }

  // Whether the run lies inside a page cut into runs.
  private func isShortRun(_ head: UInt, _ count: UInt) -> Bool {
    count < Page.fragmentCount && entry(of: head).kind == .fragments
  }

  /// Takes a run out of use, its fragments still taken: true for exactly one of those who try. Relaxed: what is then
  /// done with the fragments stays in this thread, or is released.
  @inline(__always)
  func retire(_ head: UInt, _ count: UInt) -> Bool {
    if isShortRun(head, count) {
      let bit = headBit(head)
      return entry(of: head).heads.fetchAndRelaxed(~bit) & bit != 0
    }
    // A further page of nothing.
    let kind = PageKind.longRun.rawValue
    return entry(of: head).heap.compareAndSwapRelaxed(kind, PageKind.longRunRest.rawValue) == kind
  }

  /// Puts a retired run to use again.
  @inline(__always)
  func revive(_ head: UInt, _ count: UInt) {
    if isShortRun(head, count) {
      _ = entry(of: head).heads.fetchOrRelaxed(headBit(head))
    } else {
      entry(of: head).setKind(.longRun)
    }
  }

  /// Gives a retired run's fragments back.
  func releaseRetired(_ head: UInt, _ count: UInt) {
    let first = (head - pointee.base) >> Page.fragmentShift
    if isShortRun(head, count) {
      _ = entry(of: head).lasts.fetchAndRelaxed(~(1 << (first & (Page.fragmentCount - 1) + count - 1)))
      return releaseItems(at: first, count)
    }
    let page = first / Page.fragmentCount, whole = count / Page.fragmentCount, tail = count % Page.fragmentCount
    for page in page..<page + whole { entry(page).reset() }
    if tail > 0 {
      let last = entry(page + whole)
      last.setKind(.fragments)
      _ = last.lasts.fetchAndRelaxed(~(1 << (tail - 1)))
    }
    releaseItems(at: first, count)
  }

  /// Lengthens the run of `count` fragments at `head` to `wanted`, if the fragments behind it are free. Where pages follow, the
  /// run has to begin at a page. By the run's user.
  func extendRun(_ head: UInt, _ count: UInt, to wanted: UInt) -> Bool {
    let first = (head - pointee.base) >> Page.fragmentShift
    let bit = first & (Page.fragmentCount - 1)
    guard wanted > count else { return false }
    if wanted < Page.fragmentCount, bit + wanted <= Page.fragmentCount {
      guard pointee.bitmap.tryClaim(run: Int(wanted - count), at: Int(first + count)) else { return false }
      moveLast(entry(of: head), from: bit + count - 1, to: bit + wanted - 1)
      return true
    }
    guard bit == 0, claimBehind(first + count, first + wanted) else { return false }
    let page = first / Page.fragmentCount, oldPages = count / Page.fragmentCount, pages = wanted / Page.fragmentCount
    let oldTail = count % Page.fragmentCount, tail = wanted % Page.fragmentCount
    if oldPages == pages, oldTail > 0 {
      moveLast(entry(page + pages), from: oldTail - 1, to: tail - 1)
    } else {
      // The page that it ended in is now one of its whole pages.
      if oldTail > 0 { entry(page + oldPages).reset() }
      setTail(page, pages, tail)
      for back in max(oldPages, 1)..<max(pages, 1) { entry(page + back).setKind(.longRunRest, pagesBack: back) }
    }
    entry(page).base.storeRelaxed(wanted)
    entry(page).setKind(.longRun)
    return true
  }

  private func moveLast(_ entry: PageEntryPointer, from old: UInt, to new: UInt) {
    _ = entry.lasts.fetchOrRelaxed(1 << new)
    _ = entry.lasts.fetchAndRelaxed(~(1 << old))
  }

  // Fragments [start, end), more than the page of `start` has or of a long run, all or none.
  private func claimBehind(_ start: UInt, _ end: UInt) -> Bool {
    let firstPage = (start + Page.fragmentCount - 1) / Page.fragmentCount, lastPage = end / Page.fragmentCount
    // acquire: pairs with grow(by:known:)
    guard end <= pageCount.loadAcquire() * Page.fragmentCount else { return false }
    let lead = min(firstPage * Page.fragmentCount, end) - start
    if lead > 0, !pointee.bitmap.tryClaim(run: Int(lead), at: Int(start)) { return false }
    var page = firstPage
    while page < lastPage, pointee.bitmap.hold(cell: Int(page)) { page += 1 }
    var isWhole = page >= lastPage  // or there is none
    if page > firstPage {
      if isWhole {
        pointee.bitmap.keep(cells: Int(firstPage)..<Int(page))
      } else {
        pointee.bitmap.letGo(cells: Int(firstPage)..<Int(page))
      }
    }
    // The tail, in an empty page only: what is in use there will grow, too, or stay.
    let tail = end - min(end, max(lastPage, firstPage) * Page.fragmentCount)
    if isWhole, tail > 0, !pointee.bitmap.tryClaim(firstItems: Int(tail), ofEmpty: Int(lastPage)) {
      isWhole = false
      if page > firstPage { pointee.bitmap.letGo(cells: Int(firstPage)..<Int(page)) }
    }
    guard isWhole else {
      if lead > 0 { releaseItems(at: start, lead) }
      return false
    }
    let taken = (page > firstPage ? page - firstPage : 0) + (tail > 0 ? 1 : 0)
    if taken > 0 { _ = pagesTaken(firstPage, taken) }
    return true
  }

  /// Shortens the run of `count` fragments at `head` to `wanted`, giving the rest back. For runs inside a page.
  func shortenRun(_ head: UInt, _ count: UInt, to wanted: UInt) -> Bool {
    let first = (head - pointee.base) >> Page.fragmentShift
    let bit = first & (Page.fragmentCount - 1)
    guard wanted > 0, wanted < count, count < Page.fragmentCount, entry(of: head).kind == .fragments else {
      return false
    }
    moveLast(entry(of: head), from: bit + count - 1, to: bit + wanted - 1)
    releaseItems(at: first + wanted, count - wanted)
    return true
  }

  private func setShortRun(_ first: UInt, _ count: UInt) {
    let entry = entry(first / Page.fragmentCount)
    let bit = first & (Page.fragmentCount - 1)
    _ = entry.lasts.fetchOrRelaxed(1 << (bit + count - 1))
    _ = entry.heads.fetchOrRelaxed(1 << bit)
  }

  private func setLongRun(_ page: UInt, _ count: UInt) {
    if count < Page.fragmentCount { return setShortRun(page * Page.fragmentCount, count) }
    let whole = count / Page.fragmentCount
    setTail(page, whole, count % Page.fragmentCount)
    for back in 1..<max(whole, 1) { entry(page + back).setKind(.longRunRest, pagesBack: back) }
    entry(page).base.storeRelaxed(count)
    entry(page).setKind(.longRun)
  }

  private func setTail(_ page: UInt, _ whole: UInt, _ tail: UInt) {
    guard tail > 0 else { return }
    entry(page + whole).setKind(.fragments, pagesBack: whole)
    _ = entry(page + whole).lasts.fetchOrRelaxed(1 << (tail - 1))
  }

  // MARK: Searching, growing, accounting

  // A segment of no list is all that there is.
  private var isPatient: Bool {
    SegmentListPointer(bitPattern: pointee.list)?.isPatient ?? true
  }

  /// Runs `find` until it succeeds or the segment cannot grow: growing, and waiting for purges and rollbacks, in between.
  private func search<Found>(_ pages: UInt, _ find: (_ patient: Bool) -> Found?) -> Found? {
    while true {
      // What the bitmap knows, which a growth tells last: where that is less than there is, another search may find something.
      let known = UInt(pointee.bitmap.itemCount) / Page.fragmentCount
      if let found = find(false) { return found }
      if grow(by: pages, known: known) { continue }
      // Full, or somebody holds pages for a moment: a purge, or a claim of many pages that is being taken back.
      if isPurging {
        if waitForPurges() { continue }
        return nil
      }
      guard isPatient else { return nil }
      if let found = find(true) { return found }
      if !isPurging { return nil }
    }
  }

  /// The pages now belong to a claim that took them whole. Whether all are known to be zero.
  private func pagesTaken(_ first: UInt, _ count: UInt) -> Bool {
    let (idle, lent) = touch(first, count)
    let used = usedPages.fetchAddRelaxed(count) &+ count
    if Int(bitPattern: used) > Int(bitPattern: peakPages.loadRelaxed()) { peakPages.storeRelaxed(used) }
    if idle + lent > 0 { idleTaken(idle, lent) }
    if idle + lent < count { freshTaken() }
    purgeWhatStayedIdle()
    return idle + lent == 0
  }

  private func shortRunTaken(_ first: UInt, previous: UInt) -> Bool {
    guard previous == 0 else { return false }
    return pagesTaken(first / Page.fragmentCount, 1)
  }

  private func releaseItems(at first: UInt, _ count: UInt) {
    var emptied: UInt = 0
    var item = first
    while item < first + count {
      let rest = first + count - item
      if item & (Page.fragmentCount - 1) == 0, rest >= Page.fragmentCount {
        let pages = rest / Page.fragmentCount
        pointee.bitmap.letGo(cells: Int(item / Page.fragmentCount)..<Int(item / Page.fragmentCount + pages))
        emptied += pages
        item += pages * Page.fragmentCount
        continue
      }
      let inCell = min(rest, Page.fragmentCount - item & (Page.fragmentCount - 1))
      let release = pointee.bitmap.release(run: Int(inCell), at: Int(item))
      let mask = Cell.mask(Int(inCell), at: Int(item & (Page.fragmentCount - 1)))
      if release.previous & ~mask == 0 { emptied += 1 }
      item += inCell
    }
    if emptied > 0 { pagesReleased(emptied) }
  }
}
