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
  case block(page: DensePagePointer, unit: UInt, header: DenseHeader)
  case fault(DenseHeapFault)
}

/// A dense heap in figures. Free units are those in pages, slivers too small to hand out included.
struct DenseHeapStatistics: Equatable {
  var pages: UInt = 0
  var liveBlocks: UInt = 0
  var liveUnits: UInt = 0
  // liveUnits + freeUnits == pages * DensePage.capacity
  var freeUnits: UInt = 0
  /// The largest free block, in units, its header included.
  var largestRun: UInt = 0
}

// All but statistics() and checkInvariants() with the mutex held.
extension UnsafeMutablePointer where Pointee == DenseHeap {
  private var room: DensePageTree { DensePageTree(heap: self) }

  func find(_ address: UInt) -> DenseLookup {
    let page = DensePagePointer.unchecked(of: address)
    guard page.isSealed, page.pointee.heap == self else { return .fault(.notABlock) }
    if let fault = page.fault(atPayload: address) { return .fault(fault) }
    let unit = (address - UInt(bitPattern: page)) / DensePage.unitBytes - 1
    return .block(page: page, unit: unit, header: page.header(unit))
  }

  /// A block from the page whose largest run is the smallest that will do; nil when no page has one.
  func take(_ request: DenseRequest) -> UInt? {
    var page = room.page(withRun: request.units)
    // A run that is long enough may begin at the wrong place for the alignment. That happens where objects below 16 bytes
    // lie among larger ones; after a few such pages, one with three units more fits for certain.
    var misfits = 0
    while let candidate = page {
      if let unit = candidate.take(request) {
        room.refile(candidate)
        if pointee.emptyPage == candidate { pointee.emptyPage = nil }
        pointee.liveBlocks += 1
        pointee.liveUnits += request.units
        return candidate.payload(unit)
      }
      misfits += 1
      page = room.page(withRun: request.units + (misfits < 4 ? 0 : request.alignmentUnits - 1), after: candidate)
    }
    return nil
  }

  /// Makes a claimed page one of the heap's, which has no other that is empty.
  func adopt(_ page: DensePagePointer) {
    page.start(self)
    page.pointee.next = pointee.pages
    pointee.pages?.pointee.previous = page
    pointee.pages = page
    pointee.pageCount += 1
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
    pointee.pageCount -= 1
    page.end()
  }

  /// Keeps a page that has become empty if it is the only one, else disowns and returns it.
  func keepEmpty(_ page: DensePagePointer) -> DensePagePointer? {
    guard pointee.emptyPage != nil else {
      pointee.emptyPage = page
      return nil
    }
    disown(page)
    return page
  }

  /// The heap in figures, right at one moment. Any thread.
  func statistics() -> DenseHeapStatistics {
    enter()
    defer { leave() }
    return DenseHeapStatistics(
      pages: pointee.pageCount, liveBlocks: pointee.liveBlocks, liveUnits: pointee.liveUnits,
      freeUnits: pointee.pageCount * DensePage.capacity - pointee.liveUnits, largestRun: room.largestRun)
  }

  /// Whether all pages, the tree of those with room, and the counters agree. O(blocks), under the lock.
  func checkInvariants() -> Bool {
    enter()
    defer { leave() }
    var (pages, withRoom, emptyPages, liveBlocks, liveUnits): (UInt, UInt, UInt, UInt, UInt) = (0, 0, 0, 0, 0)
    var previous: DensePagePointer?
    var next = pointee.pages
    while let page = next {
      guard page.pointee.heap == self, page.pointee.previous == previous, page.checkInvariants() else { return false }
      guard !page.isEmpty || pointee.emptyPage == page else { return false }
      pages += 1
      if page.isEmpty { emptyPages += 1 }
      if UInt(page.pointee.largestRun) >= FreeTree.minUnits { withRoom += 1 }
      liveBlocks += UInt(page.pointee.liveBlocks)
      liveUnits += UInt(page.pointee.liveUnits)
      previous = page
      next = page.pointee.next
    }
    return pages == pointee.pageCount && emptyPages == (pointee.emptyPage == nil ? 0 : 1)
      && liveBlocks == pointee.liveBlocks && liveUnits == pointee.liveUnits && room.checkInvariants(count: withRoom)
  }
}
