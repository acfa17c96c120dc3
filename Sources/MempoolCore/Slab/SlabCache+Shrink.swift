extension UnsafeMutablePointer where Pointee == SlabCache {
  /// Gives empty pages back to the segment; their bytes. The calling thread's leases end. Other threads give theirs back, and the
  /// pages that this empties, the next time that they look for a cell or put an item into one that is not theirs; what an
  /// idle thread leases stays. Any thread, while others take and put. O(pages).
  @discardableResult
  public func shrink() -> UInt {
    _ = revision.fetchAddRelaxed(1)
    if let leases = leases(of: UInt(bitPattern: threadBlock())) {
      leases.pointee.revision = revision.loadRelaxed()
      leases.giveBackAll()
    }
    return retireEmptyPages()
  }

  /// Does what a shrink in another thread asked this one to do.
  @inline(__always)
  func noticeShrink(_ leases: CacheLeasesPointer) {
    let revision = revision.loadRelaxed()
    if leases.pointee.revision == revision { return }
    leases.pointee.revision = revision
    leases.giveBackAll()
    retireEmptyPages()
  }

  @discardableResult
  private func retireEmptyPages() -> UInt {
    var retired: CachePagePointer?
    var count: UInt = 0
    pagesLock.lockWrite()
    var previous: CachePagePointer?
    var next = pointee.firstPage
    while let page = next {
      next = page.pointee.next
      guard page.retire() else {
        previous = page
        continue
      }
      if let previous { previous.pointee.next = next } else { pointee.firstPage = next }
      page.pointee.next = retired
      retired = page
      count += 1
    }
    if count > 0 {
      pagesReturned.addUnshared(count)
      // It may be at one of the pages that go.
      cursor.storeRelaxed(0)
    }
    pagesLock.unlockWrite()
    return destroyPages(retired)
  }

  private func destroyPages(_ first: CachePagePointer?) -> UInt {
    var bytes: UInt = 0
    var next = first
    while let page = next {
      next = page.pointee.next
      bytes += page.pointee.pageCount << Page.shift
      page.destroy()
    }
    return bytes
  }

  /// Gives up the leases of a thread that exits; by that thread. The cache is not destroyed meanwhile.
  func returnLeases(of block: UInt) {
    guard let leases = leases(of: block) else { return }
    leases.giveBackAll()
    leases.owner.storeRelease(0)  // release: pairs with the acquire in adoptLeases(_:)
  }

  // MARK: Destroying

  /// Items that are handed out: when it says 0 while no take is running, all of them are back for good, and what their last users
  /// did happened before.
  func itemsOut() -> UInt {
    var count: UInt = 0
    pagesLock.lockRead()
    forEachPage { page in
      for cell in 0..<page.cellCount {
        let taken = page.cell(cell).loadAcquire()  // acquire: pairs with the release in putRemotely(_:_:_:)
        let held = page.held(cell).loadAcquire()  // acquire: pairs with the release in putHeld(_:_:)
        count += UInt((taken & ~held).nonzeroBitCount)
      }
    }
    pagesLock.unlockRead()
    return count
  }

  /// Everything given back, leases of all threads and the record included. By whoever took the cache out of the process's
  /// list; no call on it is running or follows, and no item is out.
  func release() {
    Memcheck.poolGone(UInt(bitPattern: self), isObject: pointee.metadata.pointee.backing != .buffer)
    _ = destroyPages(pointee.firstPage)
    let segments = pointee.segments
    for index in 0..<Self.bucketCount {
      var next = bucket(index).loadPointerRelaxed()?.assumingMemoryBound(to: CacheLeases.self)
      while let leases = next {
        next = leases.pointee.next
        segments.deallocateRecord(UInt(bitPattern: leases), UInt(MemoryLayout<CacheLeases>.size))
      }
    }
    segments.deallocateRecord(UInt(bitPattern: self), UInt(MemoryLayout<SlabCache>.size))
  }

  // MARK: Fork

  /// In the child, by its only thread: ends the leases of all others. An item that one of them was about to take or put may
  /// be lost.
  func forkedChild(own block: UInt) {
    pagesLock.resetAfterFork()
    let own = UInt(bitPattern: leases(of: block))
    // By page, not by record: one that was about to be entered there counts, too.
    forEachPage { page in
      for cell in 0..<page.cellCount {
        let lessee = page.lessee(cell).loadRelaxed()
        if lessee != 0, lessee != own { page.giveBack(cell) }
      }
    }
    forEachLeases { leases in
      if UInt(bitPattern: leases) == own { return }
      leases.forget()
      leases.owner.storeRelaxed(0)
    }
  }
}

extension UnsafeMutablePointer where Pointee == CachePage {
  /// Claims all of an empty page of which no cell is leased; false, and nothing changed, when there is an item out. Under the
  /// write lock.
  fileprivate func retire() -> Bool {
    // acquire: pairs with the releases in giveBack(_:) and lease(_:to:)
    for cell in 0..<cellCount where lessee(cell).loadAcquire() != 0 { return false }
    let bitmap = bitmap
    for cell in 0..<Int(cellCount) where !bitmap.tryClaim(cell: cell) {
      for mine in 0..<cell { bitmap.release(run: bitmap.itemCount(ofCell: mine), at: mine << 6) }
      return false
    }
    return true
  }
}

extension UnsafeMutablePointer where Pointee == CacheLeases {
  /// In a forked child: the cells have been given back already.
  fileprivate func forget() {
    start(0, revision: pointee.revision, next: pointee.next)
  }
}
