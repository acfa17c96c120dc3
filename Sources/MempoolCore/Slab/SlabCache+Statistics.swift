/// What a slab cache counted: bytes and counts, read while threads run, one after the other.
public struct SlabCacheStatistics: Sendable {
  /// Bytes of one item, as asked for.
  public var itemSize: UInt = 0
  /// Bytes from item to item.
  public var stride: UInt = 0
  /// Pages of the cache, each of one or more pages of the segment.
  public var pageCount: UInt = 0
  /// Bytes of these pages.
  public var byteCount: UInt = 0
  /// Items that they hold, out or not.
  public var capacity: UInt = 0
  /// Items handed out and not put back.
  public var liveItems: UInt = 0
  /// Free items that threads hold in leased cells: only they can take them.
  public var heldItems: UInt = 0
  /// Cells that threads lease.
  public var leasedCells: UInt = 0
  /// Takes that found the free set empty that their thread was taking from: cumulative.
  public var refills: UInt = 0
  /// Takes that no cell leased by their thread could serve: cumulative.
  public var searches: UInt = 0
  /// Pages made: cumulative.
  public var pagesMade: UInt = 0
  /// Pages given back: cumulative.
  public var pagesReturned: UInt = 0

  public init() {}
}

extension UnsafeMutablePointer where Pointee == SlabCache {
  /// What this cache has counted so far. Any thread; O(pages), under the list's read lock.
  public func statistics() -> SlabCacheStatistics {
    var statistics = SlabCacheStatistics()
    statistics.itemSize = pointee.itemSize
    statistics.stride = pointee.stride
    statistics.searches = searches.loadRelaxed()
    statistics.pagesMade = pagesMade.loadRelaxed()
    statistics.pagesReturned = pagesReturned.loadRelaxed()
    forEachLeases { statistics.refills &+= $0.refills.loadRelaxed() }
    pagesLock.lockRead()
    forEachPage { page in
      statistics.pageCount &+= 1
      statistics.byteCount &+= page.pointee.pageCount << Page.shift
      statistics.capacity &+= page.pointee.itemCount
      for cell in 0..<page.cellCount {
        let taken = page.cell(cell).loadRelaxed() & ~page.surplus(cell), held = page.held(cell).loadRelaxed()
        statistics.liveItems &+= UInt((taken & ~held).nonzeroBitCount)
        statistics.heldItems &+= UInt((taken & held).nonzeroBitCount)
        if page.lessee(cell).loadRelaxed() != 0 { statistics.leasedCells &+= 1 }
      }
    }
    pagesLock.unlockRead()
    return statistics
  }

  /// Visits the pages. Under the lock, or while no other call is running.
  func forEachPage(_ body: (CachePagePointer) -> Void) {
    var next = pointee.firstPage
    while let page = next {
      next = page.pointee.next
      body(page)
    }
  }

  /// Visits the lease records that there are.
  func forEachLeases(_ body: (CacheLeasesPointer) -> Void) {
    for index in 0..<Self.bucketCount {
      // acquire: pairs with the swap in makeLeases(_:)
      var next = bucket(index).loadPointerAcquire()?.assumingMemoryBound(to: CacheLeases.self)
      while let leases = next {
        next = leases.pointee.next
        body(leases)
      }
    }
  }

  /// Whether cells, free sets, leases, pages and counts agree. Only while no other call on the cache is running; what is broken
  /// goes to standard error.
  public func checkInvariants() -> Bool {
    var isSound = true
    var pages: UInt = 0, leased: UInt = 0, slots: UInt = 0
    forEachPage { page in
      pages += 1
      if !page.checkInvariants(pointee.id) { isSound = false }
      for cell in 0..<page.cellCount where page.lessee(cell).loadRelaxed() != 0 { leased += 1 }
    }
    forEachLeases { leases in
      for slot in 0..<CacheLeases.slotCount {
        guard let page = leases.pointee.slots[slot].page else { continue }
        slots += 1
        if page.lessee(leases.pointee.slots[slot].cell).loadRelaxed() != UInt(bitPattern: leases) {
          isSound = broken("a lease that its cell does not know")
        } else if leases.owner.loadRelaxed() == 0 {
          isSound = broken("a lease of nobody's")
        }
      }
    }
    if slots != leased { isSound = broken("a leased cell that its lessee does not know") }
    if pages != pagesMade.loadRelaxed() &- pagesReturned.loadRelaxed() { isSound = broken("a wrong count of pages") }
    return isSound
  }

  private func broken(_ what: StaticString) -> Bool {
    var line = ReportLine()
    line.append("slab cache ")
    line.append(address: UInt(bitPattern: self))
    line.append(" of ")
    line.append(decimal: pointee.itemSize)
    line.append("-byte items is broken: ")
    line.append(what)
    line.write()
    return false
  }
}

extension UnsafeMutablePointer where Pointee == CachePage {
  fileprivate func checkInvariants(_ id: UInt) -> Bool {
    if pointee.cacheID != id { return broken("of another cache") }
    for cell in 0..<cellCount {
      let taken = self.cell(cell).loadRelaxed(), held = held(cell).loadRelaxed()
      if taken & surplus(cell) != 0 { return broken("an item beyond the last one") }
      if held & ~taken != 0 { return broken("an item free twice: for its lessee, and for all") }
      if held != 0, lessee(cell).loadRelaxed() == 0 { return broken("items held by nobody") }
    }
    for back in 0..<pointee.pageCount {
      let entry = pointee.segment.entry(of: pointee.base + back << Page.shift)
      if entry.isSlab || entry.kind != .cache || entry.slab.loadRelaxed() != UInt(bitPattern: self) {
        return broken("its entry names something else")
      }
    }
    return true
  }

  private func broken(_ what: StaticString) -> Bool {
    var line = ReportLine()
    line.append("page ")
    line.append(address: pointee.base)
    line.append(" of a slab cache is broken: ")
    line.append(what)
    line.write()
    return false
  }
}
