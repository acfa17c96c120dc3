/// What came of the wish to resize an object where it is.
enum DenseResize: Equatable {
  case inPlace
  /// The object is as it was. The caller allocates, copies and frees.
  case mustMove
  /// The pointer is not that of an object; nothing has changed.
  case fault(DenseHeapFault)
}

/// What an address turned out to be.
enum DenseLookup {
  case block(page: DensePagePointer, unit: UInt)
  case fault(DenseHeapFault)
}

// By the owner, inside the gate.
extension UnsafeMutablePointer where Pointee == DenseHeap {
  var room: DensePageLists { DensePageLists(heap: self) }

  func find(_ address: UInt) -> DenseLookup {
    guard let (page, unit) = place(address) else { return .fault(.notABlock) }
    if let fault = page.fault(of: unit) { return .fault(fault) }
    return .block(page: page, unit: unit)
  }

  /// The page of this heap that an address lies in, and the unit of the header that an object there has; nil when there can be none.
  @inline(__always)
  func place(_ address: UInt) -> (DensePagePointer, UInt)? {
    let page = DensePagePointer.unchecked(of: address)
    guard page.isSealed, page.pointee.heap == self, let unit = page.unit(ofPayload: address) else { return nil }
    return (page, unit)
  }

  /// A block from the page whose largest one is of the lowest list that will do; nil when no page has one, but for those that were not looked
  /// at, of which a thorough search leaves none.
  func take(_ request: DenseRequest) -> UInt? {
    let list = FreeLists.list(request.units)
    guard var page = room.first(from: list) else { return nil }
    if let address = take(request, from: page) { return address }
    // The largest block of its list may be shorter, or begin at the wrong place for the alignment: where objects below 16 bytes lie among
    // larger ones. After a few such pages one of a list all of whose blocks fit for certain.
    for _ in 0..<(request.isThorough ? Int.max : Self.misfits) {
      guard let next = room.next(after: page) else { return nil }
      page = next
      if let address = take(request, from: page) { return address }
    }
    return room.first(from: FreeLists.list(request.units + request.alignmentUnits - 1) + 1).flatMap {
      take(request, from: $0)
    }
  }

  private static var misfits: Int { 4 }

  @inline(__always)
  private func take(_ request: DenseRequest, from page: DensePagePointer) -> UInt? {
    if !page.isSealed { misuse("dense heap", UInt(bitPattern: page), "page header overwritten") }
    guard let unit = page.take(request) else { return nil }
    room.refile(page)
    if pointee.emptyPage == page { pointee.emptyPage = nil }
    liveBlocks.addUnshared(1)
    liveUnits.addUnshared(request.units)
    return page.payload(unit)
  }

  /// Frees a block; the page is to be settled.
  func release(_ page: DensePagePointer, _ unit: UInt) {
    liveBlocks.addUnshared(~0)
    liveUnits.addUnshared(0 &- page.block(unit).size)
    page.release(unit)
  }

  /// Puts a page where it belongs after blocks have come back.
  func settle<Source: DensePageSource>(_ page: DensePagePointer, to source: Source) {
    room.refile(page)
    if page.isEmpty, let surplus = keepEmpty(page) { source.releasePage(UInt(bitPattern: surplus)) }
  }

  /// Makes a claimed page one of the heap's, which has no other that is empty.
  func adopt(_ page: DensePagePointer) {
    page.start(self)
    page.pointee.next = pointee.pages
    pointee.pages?.pointee.previous = page
    pointee.pages = page
    pageCount.addUnshared(1)
    pointee.emptyPage = page
    room.refile(page)
  }

  /// Takes a page off the heap's books; releasing it is the caller's.
  func disown(_ page: DensePagePointer) {
    room.remove(page)
    if let previous = page.pointee.previous {
      previous.pointee.next = page.pointee.next
    } else {
      pointee.pages = page.pointee.next
    }
    page.pointee.next?.pointee.previous = page.pointee.previous
    if pointee.emptyPage == page { pointee.emptyPage = nil }
    pageCount.addUnshared(~0)
    page.end()
  }

  /// Gives back the one empty page, if there is one.
  func releaseEmptyPage<Source: DensePageSource>(to source: Source) {
    guard let page = pointee.emptyPage else { return }
    disown(page)
    source.releasePage(UInt(bitPattern: page))
  }

  /// Keeps a page that has become empty if it is the only one, else disowns and returns it.
  private func keepEmpty(_ page: DensePagePointer) -> DensePagePointer? {
    guard pointee.emptyPage != nil else {
      pointee.emptyPage = page
      return nil
    }
    disown(page)
    return page
  }

  /// Whether all pages, the lists of those with room, those told of, and the counters agree. O(blocks). When nobody frees.
  func checkInvariants() -> Bool {
    enter()
    defer { leave() }
    var (pages, withRoom, emptyPages, blocks, units): (UInt, UInt, UInt, UInt, UInt) = (0, 0, 0, 0, 0)
    var (marked, told, toldUnits, toldPages): (UInt, UInt, UInt, UInt) = (0, 0, 0, 0)
    var previous: DensePagePointer?
    var next = pointee.pages
    while let page = next {
      guard page.pointee.heap == self, page.pointee.previous == previous, page.checkInvariants() else { return false }
      guard !page.isEmpty || pointee.emptyPage == page else { return false }
      pages += 1
      if page.isEmpty { emptyPages += 1 }
      if page.pointee.room != 0 { withRoom += 1 }
      blocks += UInt(page.pointee.liveBlocks)
      units += UInt(page.pointee.liveUnits)
      guard let list = page.countTold() else { return false }
      marked += list.marked
      told += list.blocks
      toldUnits += list.units
      if list.blocks > 0 { toldPages += 1 }
      previous = page
      next = page.pointee.next
    }
    return pages == pageCount.loadRelaxed() && emptyPages == (pointee.emptyPage == nil ? 0 : 1)
      && blocks == liveBlocks.loadRelaxed() && units == liveUnits.loadRelaxed() && room.checkInvariants(count: withRoom)
      && freed.loadRelaxed() &- collected.loadRelaxed() == told << 32 + toldUnits
      && countPending(atMost: toldPages) == toldPages
      && countResting() == rests.loadRelaxed() && marked == told + rests.loadRelaxed() >> 32
  }
}
