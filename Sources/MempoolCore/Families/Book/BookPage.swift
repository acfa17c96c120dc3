/// A page of a book: two links, and a buffer pool in the rest.
struct BookPage {
  var next: BookPagePointer?
  var previous: BookPagePointer?
  // In the rest of the page.
  let pool: BufferPoolPointer

  static var recordBytes: UInt { 24 }
}

typealias BookPagePointer = UnsafeMutablePointer<BookPage>

// Pages: the list of them, and where they come from and go. All of it with the book's lock held, if it has one.
extension UnsafeMutablePointer where Pointee == Book {
  func page(of pointer: UnsafeRawPointer?) -> BookPagePointer? {
    var next = pointee.first
    while let page = next {
      if page.pointee.pool.owns(pointer) { return page }
      next = page.pointee.next
    }
    return nil
  }

  func makePage() -> Bool {
    guard let memory = pointee.source.allocate(pointee.pageBytes) else { return false }
    let rest = memory + Int(BookPage.recordBytes), count = pointee.pageBytes - BookPage.recordBytes
    guard UInt(bitPattern: memory) % 8 == 0,
      let pool = BufferPoolPointer.make(in: rest, count, blockSize: pointee.pieceSize)
    else {
      pointee.source.deallocate(memory)
      return false
    }
    let page = memory.bindMemory(to: BookPage.self, capacity: 1)
    page.initialize(to: BookPage(pool: pool))
    prepend(page)
    pointee.pageCount += 1
    return true
  }

  func removePages(_ isToGo: (BookPagePointer) -> Bool) -> UInt {
    let before = pointee.pageCount
    var next = pointee.first
    while let page = next {
      next = page.pointee.next
      if isToGo(page) { remove(page) }
    }
    return before - pointee.pageCount
  }

  func remove(_ page: BookPagePointer) {
    unlink(page)
    pointee.pageCount -= 1
    pointee.source.deallocate(UnsafeMutableRawPointer(page))
  }

  func unlink(_ page: BookPagePointer) {
    let (next, previous) = (page.pointee.next, page.pointee.previous)
    if let previous { previous.pointee.next = next } else { pointee.first = next }
    if let next { next.pointee.previous = previous } else { pointee.last = previous }
  }

  func prepend(_ page: BookPagePointer) {
    page.pointee.previous = nil
    page.pointee.next = pointee.first
    if let first = pointee.first { first.pointee.previous = page } else { pointee.last = page }
    pointee.first = page
  }

  func append(_ page: BookPagePointer) {
    page.pointee.next = nil
    page.pointee.previous = pointee.last
    if let last = pointee.last { last.pointee.next = page } else { pointee.first = page }
    pointee.last = page
  }
}

extension UnsafeMutablePointer where Pointee == BufferPool {
  // For who is alone with the pool.
  var hasNoFreeBlock: Bool { pointee.usedBlocks == pointee.blockCount }
  var isEmpty: Bool { pointee.usedBlocks == 0 }
}
