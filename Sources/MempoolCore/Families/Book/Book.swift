/// Pieces of one size in pages that come from an allocator one by one: what a buffer pool is when its memory may grow.
///
/// A page is a buffer pool with two links in front. Pages with room come before full ones, so that a piece is taken in O(1) or
/// with a new page; giving one back looks for its page among all: O(pages). The record is the caller's and must stay where it is.
/// Not for several threads at once, unless it has a lock, which is then held during each call.
public struct Book {
  // Pages with room, then full ones. first == nil: there is none.
  var first: BookPagePointer?
  var last: BookPagePointer?
  var pageCount: UInt = 0
  // == sum of the pages' objects
  var pieces: UInt = 0
  /// Whether a page goes back to the allocator as soon as its last piece is given back.
  var isVacuumedAlways = false
  let pieceSize: UInt
  let pageBytes: UInt
  let source: RawAllocator
  let lock: LockHook?

  /// Nil when no page can be so large. `source` gives and takes the pages; nothing is taken yet.
  public init?(pieceSize: UInt, piecesPerPage: UInt, from source: RawAllocator, lock: LockHook? = nil) {
    guard let bytes = BlockLayout.byteCount(blockCount: piecesPerPage, blockSize: pieceSize) else { return nil }
    self.pieceSize = pieceSize
    pageBytes = bytes + BookPage.recordBytes
    self.source = source
    self.lock = lock
  }
}

public typealias BookPointer = UnsafeMutablePointer<Book>

/// What a book holds.
public struct BookStatistics: Equatable {
  /// Pieces that are out.
  public var pieces: UInt = 0
  public var pieceSize: UInt = 0
  public var pageCount: UInt = 0
  /// Bytes of a page, bookkeeping included.
  public var pageBytes: UInt = 0

  public init() {}
}

extension UnsafeMutablePointer where Pointee == Book {
  /// Takes a piece, of any content.
  public func allocate() throws(BufferPoolError) -> UnsafeMutableRawPointer {
    try acquire()
    defer { release() }
    if pointee.first.map({ $0.pointee.pool.hasNoFreeBlock }) ?? true, !makePage() { throw .outOfMemory }
    let page = pointee.first.unsafelyUnwrapped
    let piece = try page.pointee.pool.allocate(pointee.pieceSize)
    pointee.pieces += 1
    // Behind all others: a page in front has room, unless none has.
    if page.pointee.pool.hasNoFreeBlock {
      unlink(page)
      append(page)
    }
    return piece
  }

  /// Takes a piece back. Nil is nothing to do.
  public func deallocate(_ piece: UnsafeMutableRawPointer?) throws(BufferPoolError) {
    guard let piece else { return }
    try acquire()
    defer { release() }
    guard let page = page(of: piece) else { throw .foreign }
    try page.pointee.pool.deallocate(piece)
    pointee.pieces -= 1
    if page.pointee.pool.isEmpty, pointee.isVacuumedAlways { return remove(page) }
    unlink(page)
    prepend(page)
  }

  /// Takes a page ahead of need.
  public func addPage() throws(BufferPoolError) {
    try acquire()
    defer { release() }
    if !makePage() { throw .outOfMemory }
  }

  /// Gives pages without a piece back; their number.
  public func vacuum() throws(BufferPoolError) -> UInt {
    try acquire()
    defer { release() }
    return removePages { $0.pointee.pool.isEmpty }
  }

  /// Gives all pages back, with the pieces that are out. The book is empty then, and may be used again.
  public func close() throws(BufferPoolError) {
    try acquire()
    defer { release() }
    _ = removePages { _ in true }
    pointee.pieces = 0
  }

  /// Whether a page goes back as soon as it is empty. From when that is switched on; pages that are empty then wait for ``vacuum()``.
  public var isVacuumedAlways: Bool {
    get { pointee.isVacuumedAlways }
    nonmutating set { pointee.isVacuumedAlways = newValue }
  }

  /// Whether an address lies in one of its pages' blocks.
  public func owns(_ pointer: UnsafeRawPointer?) throws(BufferPoolError) -> Bool {
    try acquire()
    defer { release() }
    return page(of: pointer) != nil
  }

  public func statistics() throws(BufferPoolError) -> BookStatistics {
    try acquire()
    defer { release() }
    var now = BookStatistics()
    now.pieces = pointee.pieces
    now.pieceSize = pointee.pieceSize
    now.pageCount = pointee.pageCount
    now.pageBytes = pointee.pageBytes
    return now
  }

  private func acquire() throws(BufferPoolError) {
    guard let hook = pointee.lock else { return }
    if hook.lock(hook.state) != 0 { throw .lockRefused }
  }

  private func release() {
    if let hook = pointee.lock { hook.unlock(hook.state) }
  }
}
