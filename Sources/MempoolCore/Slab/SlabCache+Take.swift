public import CMempoolShims

extension UnsafeMutablePointer where Pointee == SlabCache {
  /// An item, its content being whatever was there before; nil when the pool is exhausted. Any thread. The usual case is some
  /// thirty instructions, without a call, a lock or an atomic read-modify-write.
  ///
  /// Memory ordering: what the item's last user wrote before putting it back is visible to the caller.
  @inlinable @inline(__always)
  public func take() -> UnsafeMutableRawPointer? { told(takeUntold()) }

  /// ``take()``, and memcheck is not told.
  @inlinable @inline(__always)
  func takeUntold() -> UnsafeMutableRawPointer? {
    if let leases = rememberedLeases, let item = leases.take(pointee.stride) { return item }
    return takeSlow()
  }

  /// An item that is out from now on, as memcheck is told.
  @inlinable @inline(__always)
  func told(_ item: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if Memcheck.isRunning, let item {
      Memcheck.allocated(UInt(bitPattern: item), pointee.itemSize, in: UInt(bitPattern: self))
    }
    return item
  }

  /// The same; never nil: when the pool is exhausted, one line that names `call` and `subject`, and SIGABRT.
  @inlinable @inline(__always)
  public func takeOrAbort(call: StaticString, subject: UInt) -> UnsafeMutableRawPointer {
    if let leases = rememberedLeases, let item = leases.take(pointee.stride) {
      return told(item).unsafelyUnwrapped
    }
    return told(takeSlowOrAbort(call, subject)).unsafelyUnwrapped
  }

  @inline(never) @usableFromInline
  func takeSlowOrAbort(_ call: StaticString, _ subject: UInt) -> UnsafeMutableRawPointer {
    if let item = takeSlow() { return item }
    misuse(call, subject, "out of memory")
  }

  /// The calling thread's leases, if it remembers them.
  @inlinable @inline(__always)
  var rememberedLeases: CacheLeasesPointer? {
    let entry = mp_thread_recent(threadBlock()) + Int(bitPattern: pointee.id & UInt(MP_THREAD_RECENT - 1))
    guard entry.pointee.owner == pointee.id else { return nil }
    return entry.pointee.value.unsafelyUnwrapped.assumingMemoryBound(to: CacheLeases.self)
  }

  /// ``take()`` when the thread holds no item.
  @inline(never) @usableFromInline
  func takeSlow() -> UnsafeMutableRawPointer? {
    let leases = ownLeases()
    if let leases {
      leases.refills.addUnshared(1)
      noticeShrink(leases)
      if leases.refill() { return leases.take(pointee.stride) }
    }
    _ = searches.fetchAddRelaxed(1)
    return search(leases)
  }

  // MARK: Searching

  /// Pages that a take looks at before the cache gets another one: the price of a search stays bounded, and pages made too
  /// early are at most one in so many, as the next search goes on where this one ended.
  private static var searchLimit: UInt { 16 }

  /// An item from a cell that nobody leases, leasing it; or from one that another thread does; or from a new page. Without
  /// `leases` from any cell.
  private func search(_ leases: CacheLeasesPointer?) -> UnsafeMutableRawPointer? {
    // The page of a cell that this thread leases does not go away: no lock is needed.
    if let leases, let page = leases.page, let item = page.leaseItem(to: leases, .worthIt) {
      return UnsafeMutableRawPointer(bitPattern: item)
    }
    var limit = Self.searchLimit
    while true {
      let known = pagesMade.loadAcquire()  // acquire: pairs with the release in growPage(known:itemCount:_:)
      if let item = searchPages(leases, limit) { return item }
      switch grow(leases, known: known) {
      case .made(let item): return item
      case .retry: continue
      case .full:
        // Whatever there is in all pages.
        if limit == .max { return nil }
        limit = .max
      }
    }
  }

  /// Looks at `limit` pages for a cell that is worth a lease. When these were all pages, any free item will do; otherwise a new
  /// page costs little more memory, and saves many searches.
  private func searchPages(_ leases: CacheLeasesPointer?, _ limit: UInt) -> UnsafeMutableRawPointer? {
    pagesLock.lockRead()
    defer { pagesLock.unlockRead() }
    if let leases {
      let (item, sawAll) = visitPages(limit) { $0.leaseItem(to: leases, .worthIt) }
      if item != nil || !sawAll { return item }
      if let item = visitPages(limit, { $0.leaseItem(to: leases, .any) }).item { return item }
    }
    return visitPages(limit) { page in page.bitmap.tryClaim(run: 1).map { page.address(ofItem: UInt($0.index)) } }.item
  }

  /// Asks `limit` pages, from where the last search ended, until one has an item. Under the lock.
  private func visitPages(
    _ limit: UInt, _ ask: (CachePagePointer) -> UInt?
  ) -> (item: UnsafeMutableRawPointer?, sawAll: Bool) {
    guard let first = pointee.firstPage else { return (nil, true) }
    let start = cursor.loadPointerRelaxed()?.assumingMemoryBound(to: CachePage.self) ?? first
    var page = start
    var visited: UInt = 0
    repeat {
      if let item = ask(page) {
        cursor.storeRelaxed(UInt(bitPattern: page))
        return (UnsafeMutableRawPointer(bitPattern: item), false)
      }
      page = page.pointee.next ?? first
      visited += 1
    } while page != start && visited < limit
    cursor.storeRelaxed(UInt(bitPattern: page))
    return (nil, page == start)
  }

  // MARK: Growing

  enum Growth {
    case made(UnsafeMutableRawPointer?)
    /// Another thread made a page meanwhile.
    case retry
    case full
  }

  /// Makes a page, its first cell leased, and takes an item from it.
  private func grow(_ leases: CacheLeasesPointer?, known: UInt) -> Growth {
    growPage(known: known) { page in
      guard let leases, page.lease(0, to: leases) else {
        return page.bitmap.tryClaim(run: 1).map { page.address(ofItem: UInt($0.index)) }
      }
      leases.add(page, 0)
      return leases.take(pointee.stride).map { UInt(bitPattern: $0) }
    }
  }

  /// Makes a page of at least `itemCount` items, unless another thread made one since `known` pages were; `claim` takes from it
  /// before others see it.
  func growPage(known: UInt, itemCount: UInt = 1, _ claim: (CachePagePointer) -> UInt?) -> Growth {
    growth.lock()
    defer { growth.unlock() }
    if pagesMade.loadRelaxed() != known { return .retry }
    guard let page = makePage(itemCount) else { return .full }
    let item = claim(page)
    pagesLock.lockWrite()
    page.pointee.next = pointee.firstPage
    pointee.firstPage = page
    cursor.storeRelaxed(UInt(bitPattern: page))
    pagesLock.unlockWrite()
    pagesMade.storeRelease(known + 1)  // release: pairs with the acquires in search(_:) and takeArrayUntold(_:)
    return .made(item.flatMap { UnsafeMutableRawPointer(bitPattern: $0) })
  }

  // As large as the layout wants, or smaller where the segment has no room for that.
  private func makePage(_ itemCount: UInt) -> CachePagePointer? {
    var layout = pointee.layout
    let least = CacheLayout.leastPageCount(stride: itemCount * pointee.stride)
    while true {
      let claimed = pointee.segments.claim(pages: layout.pageCount) { CachePagePointer.make(self, layout, in: $0) }
      if let (page, _) = claimed { return page }
      if layout.pageCount == least { return nil }
      layout = CacheLayout(stride: pointee.stride, pageCount: max(least, layout.pageCount / 2))
    }
  }

  // MARK: The thread's leases

  /// Which stack of lease records a thread's is in.
  private func bucket(of block: UInt) -> AtomicPointer {
    // 2^64 / φ: blocks lie at equal distances, which this spreads.
    bucket(Int((block &* 0x9e37_79b9_7f4a_7c15) >> 58))
  }

  /// The lease record of a thread; nil when it has none.
  func leases(of block: UInt) -> CacheLeasesPointer? {
    // acquire: pairs with the swap in makeLeases(_:)
    var next = bucket(of: block).loadPointerAcquire()?.assumingMemoryBound(to: CacheLeases.self)
    while let leases = next {
      if leases.owner.loadRelaxed() == block { return leases }
      next = leases.pointee.next
    }
    return nil
  }

  /// The calling thread's leases, registered if they were not; nil when it can have none: it is past its exit handlers, or
  /// there is no memory for the record.
  func ownLeases() -> CacheLeasesPointer? {
    if let leases = rememberedLeases { return leases }
    let block = threadBlock()
    guard block.pointee.state != UInt(MP_THREAD_DEAD) else { return nil }
    let word = UInt(bitPattern: block)
    let known = leases(of: word)
    guard let leases = known ?? adoptLeases(word) ?? makeLeases(word) else { return nil }
    if known == nil {
      block.pointee.registered += 1
      mp_thread_exit_arm()  // may allocate
    }
    let entry = mp_thread_recent(block) + Int(bitPattern: pointee.id & UInt(MP_THREAD_RECENT - 1))
    entry.pointee.owner = pointee.id
    entry.pointee.value = UnsafeMutableRawPointer(leases)
    return leases
  }

  // A record that an exited thread left.
  private func adoptLeases(_ block: UInt) -> CacheLeasesPointer? {
    // acquire: pairs with the swap in makeLeases(_:)
    var next = bucket(of: block).loadPointerAcquire()?.assumingMemoryBound(to: CacheLeases.self)
    while let leases = next {
      // acquire: pairs with the release in returnLeases(of:)
      if leases.owner.loadRelaxed() == 0, leases.owner.compareAndSwapAcquire(0, block) == 0 { return leases }
      next = leases.pointee.next
    }
    return nil
  }

  private func makeLeases(_ block: UInt) -> CacheLeasesPointer? {
    let byteCount = UInt(MemoryLayout<CacheLeases>.size)
    guard let memory = pointee.segments.allocateRecord(byteCount) else { return nil }
    let leases = UnsafeMutableRawPointer(bitPattern: memory).unsafelyUnwrapped.assumingMemoryBound(to: CacheLeases.self)
    leases.start(block, revision: revision.loadRelaxed())
    let head = bucket(of: block)
    var seen = head.loadRelaxed()
    while true {
      leases.pointee.next = UnsafeMutableRawPointer(bitPattern: seen)?.assumingMemoryBound(to: CacheLeases.self)
      // release: pairs with leases(of:), adoptLeases(_:) and forEachLeases(_:)
      let found = head.compareAndSwapRelease(seen, memory)
      if found == seen { return leases }
      seen = found
    }
  }
}
