import CMempoolShims

/// One reservation of address space, cut into pages of 64 fragments, with its bookkeeping in front of them.
///
/// A record at the start of its own reservation, owned by a pool until the pool is destroyed. Any thread may claim and
/// release; finding is lock-free, growing takes a lock. Bookkeeping is about 1/380 of the pages, and a metadata arena.
///
/// ```
/// reservation:  record · arena record · page table · bitmap · touched bits · lent bits · [arena's range] · pages …
/// ```
public struct Segment {
  /// What may be done with the memory behind the pages.
  enum Backing {
    /// Accessible from the start, ours to give back only as a whole.
    case fixed
    /// Made accessible as it is needed, and purged.
    case elastic
    /// The caller's.
    case buffer
  }

  /// What a pool asks of its segments.
  struct Settings {
    // Passes over a full bitmap beyond the first, and the sleep before each; nil: the process's defaults.
    var maxRetries: UInt?
    var waitNanoseconds: UInt?
    // Milliseconds that idle pages are kept.
    var purgeDelay: UInt = 1000
  }

  // Shared words, by their index below.
  var pageCount = AtomicWord()  // 0: accessible pages; pageCount ≤ pageCapacity
  var usedPages = AtomicWord()  // 1: pages with a fragment taken, claims and releases in flight aside
  var idlePages = AtomicWord()  // 2: pages without, whose memory is backed, and ours
  var idleLow = AtomicWord()  // 3: the least `idlePages` since `tick`
  var tick = AtomicWord()  // 4: when idle pages were last looked at, in milliseconds
  var purging = AtomicWord()  // 5: purges that hold pages right now
  var purgedBytes = AtomicWord()  // 6
  var purgePasses = AtomicWord()  // 7
  var next = AtomicWord()  // 8: the pool's next older segment
  var growth = Mutex()  // 9
  var credit = AtomicWord()  // 10: idle pages that may stay beyond the budget, as they were needed before
  var peakPages = AtomicWord()  // 11: the most that usedPages was
  var lentPages = AtomicWord()  // 12: empty pages whose memory the system may take when it needs some
  var lentLow = AtomicWord()  // 13: the least `lentPages` since `tick`

  // Constants.
  let backing: Backing
  let start: UInt
  let byteCount: UInt
  let base: UInt
  let pageCapacity: UInt
  let entries: PageEntryPointer
  // A bit a page: its memory may be backed and hold anything. Clear: it reads as zero.
  let touched: AtomicPointer
  // A bit a page: it is touched and empty, and the system may take its memory, which then reads as zero.
  let lent: AtomicPointer
  let bitmap: AtomicBitmap
  let purgeDelay: UInt
  // The list that it is in: whose it is.
  var list: UInt = 0
  // The arena's own range: [arenaStart, arenaLimit), accessible below arenaCommitted.
  let arenaLimit: UInt
  var arenaCommitted: UInt
  // The last page that the arena took beyond its range, from the far end down; 0: none yet. Under the arena's lock.
  var arenaPage: UInt = 0
}

public typealias SegmentPointer = UnsafeMutablePointer<Segment>

extension UnsafeMutablePointer where Pointee == Segment {
  var pageCount: AtomicPointer { AtomicPointer(self, word: 0) }
  var usedPages: AtomicPointer { AtomicPointer(self, word: 1) }
  var idlePages: AtomicPointer { AtomicPointer(self, word: 2) }
  var idleLow: AtomicPointer { AtomicPointer(self, word: 3) }
  var tick: AtomicPointer { AtomicPointer(self, word: 4) }
  var purging: AtomicPointer { AtomicPointer(self, word: 5) }
  var purgedBytes: AtomicPointer { AtomicPointer(self, word: 6) }
  var purgePasses: AtomicPointer { AtomicPointer(self, word: 7) }
  var next: AtomicPointer { AtomicPointer(self, word: 8) }
  var growth: MutexPointer { (UnsafeMutableRawPointer(self) + 9 * 8).assumingMemoryBound(to: Mutex.self) }
  var credit: AtomicPointer { AtomicPointer(self, word: 10) }
  var peakPages: AtomicPointer { AtomicPointer(self, word: 11) }
  var lentPages: AtomicPointer { AtomicPointer(self, word: 12) }
  var lentLow: AtomicPointer { AtomicPointer(self, word: 13) }

  // 64 pages' bits.
  func touched(_ word: Int) -> AtomicPointer { pointee.touched.advanced(by: word) }
  func lent(_ word: Int) -> AtomicPointer { pointee.lent.advanced(by: word) }

  var arena: MetadataArenaPointer {
    (UnsafeMutableRawPointer(self) + SegmentLayout.arenaOffset).assumingMemoryBound(to: MetadataArena.self)
  }

  /// The settings and counters of the bitmap's claims.
  var wait: BoundedWaitPointer {
    (UnsafeMutableRawPointer(self) + SegmentLayout.waitOffset).assumingMemoryBound(to: BoundedWait.self)
  }

  /// The address space that pages may take, accessible or not.
  var pageBytes: UInt { pointee.pageCapacity << Page.shift }

  func contains(_ address: UInt) -> Bool { address &- pointee.base < pageBytes }

  func entry(_ page: UInt) -> PageEntryPointer { pointee.entries + Int(page) }
  func entry(of address: UInt) -> PageEntryPointer { entry((address &- pointee.base) >> Page.shift) }
  func address(ofPage page: UInt) -> UInt { pointee.base + page << Page.shift }

  /// Locks the segment's memory, bookkeeping included; errno tells why not.
  func lockMemory() -> Bool {
    mp_pages_lock(UnsafeMutableRawPointer(bitPattern: pointee.start).unsafelyUnwrapped, Int(pointee.byteCount)) == 0
  }

  /// Touches every page of the system's, so that none has to be found later. What was zero stays zero.
  func prefault() {
    let step = UInt(mp_system_page_size())
    var address = pointee.base
    Memcheck.silence()
    while address < pointee.base + pageBytes {
      let word = AtomicPointer(address: address)
      word.storeRelaxed(word.loadRelaxed())
      address += step
    }
    Memcheck.listen()
  }

  /// Everything given back, the record included. By the only thread that still knows of it.
  func destroy() {
    let start = pointee.start, byteCount = pointee.byteCount, backing = pointee.backing
    Memcheck.keepNot(start, byteCount)
    guard backing != .buffer else { return Memcheck.open(start, byteCount) }
    AddressMap.set(0, from: start, to: start + byteCount)
    _ = mp_pages_release(UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped, Int(byteCount))
  }

  /// A zeroed block of bookkeeping, aligned to 64; nil when the segment is full.
  func allocateMetadata(_ byteCount: UInt) -> UInt? {
    arena.allocate(byteCount) { wanted in refillArena(wanted) }
  }

  /// Whether its own range, which the system may refuse, is large enough for one more block.
  func hasRoomForMetadata(_ byteCount: UInt) -> Bool {
    arena.mutex.withLock { pointee.arenaLimit - pointee.arenaCommitted >= byteCount }
  }

  /// Takes back what ``allocateMetadata(_:)`` returned for the same `byteCount`. Where no purger comes by, free blocks beyond a budget go back
  /// to the system, as pages do.
  func deallocateMetadata(_ block: UInt, _ byteCount: UInt) {
    arena.deallocate(block, byteCount)
    guard arena.isOverBudget, pointee.backing == .elastic, !(hasPurger && Purger.isThere) else { return }
    arena.sweep()
  }

  // What the arena takes of a segment's pages at once.
  private static var arenaPart: UInt { 128 }
  private static var mostArenaPages: UInt { 64 }

  // Under the arena's lock: more of its own range, or, where there is none, pages from the far end of the segment: many at
  // once, and next to each other, so that they do not stand in the way of long runs when the objects are gone.
  private func refillArena(_ wanted: UInt) -> (start: UInt, byteCount: UInt)? {
    let start = pointee.arenaCommitted
    let step = SegmentLayout.largestSystemPage
    let count = (wanted + step - 1) & ~(step - 1)
    if pointee.arenaLimit - start >= count {
      let range = UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped
      guard mp_pages_commit(range, Int(count)) == 0 else { return nil }
      Memcheck.close(start, count)
      pointee.arenaCommitted = start + count
      return (start, count)
    }
    let total = pageCount.loadRelaxed(), least = (wanted + Page.byteCount - 1) >> Page.shift
    var pages = max(least, min(total / Self.arenaPart, Self.mostArenaPages))
    let before = pointee.arenaPage == 0 ? total : pointee.arenaPage
    var claimed = claimPages(pages, from: max(before, pages) - pages)
    if claimed == nil, pages > least {
      pages = least
      claimed = claimPages(pages, from: max(before, pages) - pages)
    }
    guard let run = claimed else { return nil }
    Memcheck.keep(run.address, pages << Page.shift)
    pointee.arenaPage = (run.address - pointee.base) >> Page.shift
    for page in 0..<pages { entry(of: run.address + page << Page.shift).setKind(.metadata, pagesBack: page) }
    if !run.isZero {
      let words = AtomicPointer(address: run.address)
      for index in 0..<Int(pages << Page.shift) / MemoryLayout<UInt>.size { words.advanced(by: index).storeRelaxed(0) }
    }
    return (run.address, pages << Page.shift)
  }

  /// Makes at least `pages` more pages accessible, or sees that another thread did since `known` was read.
  func grow(by pages: UInt, known: UInt) -> Bool {
    // acquire: pairs with the one below
    guard pointee.backing == .elastic else { return pageCount.loadAcquire() != known }
    growth.lock()
    defer { growth.unlock() }
    let current = pageCount.loadRelaxed()
    if current != known { return true }
    let step = SegmentLayout.commitStep >> Page.shift
    let left = pointee.pageCapacity - current
    guard left >= pages else { return false }
    // An eighth of what there is, so that the number of calls grows with the logarithm of the size.
    var count = min(left, (max(pages, current / 8) + step - 1) / step * step)
    if !commit(current, count) {
      count = min(left, (pages + step - 1) / step * step)
      if !commit(current, count) { return false }
    }
    // First the count: what another thread claims as soon as the bitmap has it, it may free before this one goes on.
    pageCount.storeRelease(current + count)  // release: pairs with a look at the pages
    pointee.bitmap.grow(toItemCount: Int((current + count) * Page.fragmentCount))
    return true
  }

  private func commit(_ first: UInt, _ count: UInt) -> Bool {
    let start = address(ofPage: first), end = start + count << Page.shift
    let range = UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped
    guard mp_pages_commit(range, Int(end - start)) == 0 else { return false }
    Memcheck.close(start, end - start)
    return AddressMap.set(AddressMap.word(self), from: start, to: end)
  }
}

extension UnsafeMutablePointer where Pointee == Segment {
  /// Whether bitmap, page table, counts, address map and arena agree. Only while nobody uses the segment.
  func checkInvariants() -> Bool {
    guard pointee.bitmap.checkInvariants() else { return broken("bitmap and hints disagree") }
    let pages = pageCount.loadRelaxed()
    var used: UInt = 0, idle: UInt = 0, lent: UInt = 0, arenaBytes = pointee.arenaCommitted - arenaStart
    for page in 0..<pages {
      let taken = pointee.bitmap.value(ofCell: Int(page)).nonzeroBitCount
      let isTouched = touched(Int(page / 64)).loadRelaxed() >> (page % 64) & 1 != 0
      let isLent = self.lent(Int(page / 64)).loadRelaxed() >> (page % 64) & 1 != 0
      if taken > 0 { used += 1 } else if isLent { lent += 1 } else if isTouched { idle += 1 }
      if isLent, taken > 0 || !isTouched { return broken("a page lent that is in use, or that counts as zero") }
      if taken > 0, !isTouched { return broken("a page in use that counts as zero") }
      let entry = entry(page)
      if !entry.isSlab, entry.kind == .metadata { arenaBytes += Page.byteCount }
      if taken == 0,
        entry.isSlab || entry.kind != .fragments || entry.heads.loadRelaxed() | entry.lasts.loadRelaxed() != 0
      {
        return broken("a free page with an owner")
      }
      if !entry.isSlab, entry.kind == .fragments, entry.heads.loadRelaxed().nonzeroBitCount > taken {
        return broken("a run in free fragments")
      }
    }
    if used != usedPages.loadRelaxed() { return broken("a wrong count of used pages") }
    if pointee.backing == .elastic, idle != idlePages.loadRelaxed() { return broken("a wrong count of idle pages") }
    if lent != lentPages.loadRelaxed() { return broken("a wrong count of lent pages") }
    if !AddressMap.holds(AddressMap.word(self), from: mappedStart, to: mappedEnd) {
      return broken("memory that the address map does not know")
    }
    return arena.checkInvariants(
      byteCount: arenaBytes, from: pointee.start, to: pointee.start + pointee.byteCount)
  }

  // What the address map knows: the pages that are accessible; of a fixed segment, all of it.
  private var mappedStart: UInt { pointee.backing == .elastic ? pointee.base : pointee.start }
  private var mappedEnd: UInt {
    switch pointee.backing {
    case .elastic: address(ofPage: pageCount.loadRelaxed())
    case .fixed: pointee.start + pointee.byteCount
    case .buffer: pointee.start
    }
  }

  /// The granules that the address map should have of this segment.
  var granuleCount: UInt { AddressMap.granuleCount(from: mappedStart, to: mappedEnd) }

  // Where the arena's own range began, if it has one.
  private var arenaStart: UInt {
    if pointee.backing != .elastic { return pointee.arenaCommitted }
    return pointee.start
      + SegmentLayout(
        pageCapacity: pointee.pageCapacity, elastic: true, pageAlignment: SegmentLayout.largestSystemPage
      ).arenaStart
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("segment", UInt(bitPattern: self), what) }
}
