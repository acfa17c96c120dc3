extension UnsafeMutablePointer where Pointee == Book {
  /// Whether links, counts and pages agree. With nobody in a call.
  public func checkInvariants() -> Bool {
    var previous: BookPagePointer?
    var next = pointee.first
    var (pages, pieces, sawFull): (UInt, UInt, Bool) = (0, 0, false)
    while let page = next {
      guard page.pointee.previous == previous, page.pointee.pool.checkInvariants() else { return broken("its links") }
      let isFull = page.pointee.pool.hasNoFreeBlock
      if sawFull && !isFull { return broken("a page with room behind a full one") }
      sawFull = isFull
      pages += 1
      pieces += page.pointee.pool.pointee.objects
      previous = page
      next = page.pointee.next
    }
    guard previous == pointee.last, pages == pointee.pageCount, pieces == pointee.pieces else {
      return broken("a wrong count")
    }
    return true
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("book", UInt(bitPattern: self), what) }
}
