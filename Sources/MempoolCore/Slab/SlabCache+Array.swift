extension UnsafeMutablePointer where Pointee == SlabCache {
  /// `count` neighbouring items of one page; nil when the pool is exhausted, and when `count` is 0 or above
  /// ``arrayCapacity``. Any thread. Up to 64 items lie in one cell, and come from one that the thread leases if it has such a
  /// run; more begin at a cell. Worst case as ``take()``.
  @inlinable @inline(__always)
  public func takeArray(_ count: UInt) -> UnsafeMutableRawPointer? {
    let items = takeArrayUntold(count)
    if Memcheck.isRunning, let items {
      // Each is an object: neighbours may be given back in parts.
      for index in 0..<count {
        Memcheck.allocated(UInt(bitPattern: items) + index * pointee.stride, pointee.stride, in: UInt(bitPattern: self))
      }
    }
    return items
  }

  @usableFromInline
  func takeArrayUntold(_ count: UInt) -> UnsafeMutableRawPointer? {
    guard count >= 1, count <= arrayCapacity else { return nil }
    if count == 1 { return takeUntold() }
    let leases = ownLeases()
    if let leases {
      noticeShrink(leases)
      if count <= 64, let address = leases.takeRun(count) { return UnsafeMutableRawPointer(bitPattern: address) }
    }
    _ = searches.fetchAddRelaxed(1)
    var triesAll = false
    while true {
      let known = pagesMade.loadAcquire()  // acquire: pairs with the release in growPage(known:itemCount:_:)
      if let address = searchPages(count, triesAll) { return UnsafeMutableRawPointer(bitPattern: address) }
      // This thread's own leases may be all that is in the way.
      if let leases, leases.page != nil {
        leases.giveBackAll()
        continue
      }
      switch growPage(known: known, itemCount: count, { $0.claim(count) }) {
      case .made(let item): if let item { return item }
      case .retry: continue
      case .full: break
      }
      if triesAll { return nil }
      triesAll = true
    }
  }

  // Over all pages: arrays are taken less often than items, and no lease pays for them.
  private func searchPages(_ count: UInt, _ waits: Bool) -> UInt? {
    pagesLock.lockRead()
    defer { pagesLock.unlockRead() }
    var next = pointee.firstPage
    while let page = next {
      if let address = page.claim(count, waits: waits) { return address }
      next = page.pointee.next
    }
    return nil
  }

  /// Gives back `count` neighbouring items that ``takeArray(_:)`` returned together. Misuse as ``put(_:call:)``. Any thread.
  public func putArray(_ pointer: UnsafeMutableRawPointer?, _ count: UInt, call: StaticString = "putArray") {
    guard let pointer else { return }
    let address = UInt(bitPattern: pointer)
    let leases = ownLeases()
    if let leases { noticeShrink(leases) }
    let (page, first) = find(address, call)
    if count == 0 || count > page.pointee.itemCount - first { misuse(call, address, "not so many items") }
    if Memcheck.isRunning {
      for index in 0..<count { Memcheck.freed(address + index * pointee.stride, in: UInt(bitPattern: self)) }
    }
    let word = UInt(bitPattern: leases)
    var item = first
    while item < first + count {
      let inCell = min(64 - item & 63, first + count - item)
      let bits = Cell.mask(Int(inCell), at: Int(item & 63))
      let cell = item >> 6
      item += inCell
      if leases != nil, page.lessee(cell).loadRelaxed() == word {
        if !page.putHeld(cell, bits) { page.freedTwice(cell, bits, call) }
      } else {
        // After the last one the page may be gone.
        page.putRemotely(cell, bits, call)
      }
    }
  }
}

extension UnsafeMutablePointer where Pointee == CachePage {
  /// Claims neighbouring items, 1…64 in one cell, more from a cell on; the address of the first.
  func claim(_ count: UInt, waits: Bool = false) -> UInt? {
    guard count <= pointee.itemCount else { return nil }
    let bitmap = bitmap
    let index: Int?
    if count <= 64 {
      index = bitmap.tryClaim(run: Int(count))?.index
    } else if waits {
      index = bitmap.claimCells(Cell.count(forItems: Int(count)), trimmedTo: Int(count))
    } else {
      index = bitmap.tryClaimCells(Cell.count(forItems: Int(count)), trimmedTo: Int(count))
    }
    return index.map { address(ofItem: UInt($0)) }
  }
}

extension UnsafeMutablePointer where Pointee == CacheLeases {
  /// Neighbouring items, 1…64, from one of the leased cells' free sets.
  func takeRun(_ count: UInt) -> UInt? {
    for slot in 0..<CacheLeases.slotCount {
      guard let page = pointee.slots[slot].page else { continue }
      let cell = pointee.slots[slot].cell
      let free = page.held(cell).loadRelaxed()
      guard let bit = Cell.findRun(of: Int(count), in: ~free) else { continue }
      page.held(cell).storeRelaxed(free & ~Cell.mask(Int(count), at: bit))
      return page.address(ofItem: cell << 6 + UInt(bit))
    }
    return nil
  }
}
