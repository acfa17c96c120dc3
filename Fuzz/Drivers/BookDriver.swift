import CMempool
import CMempoolHeaders
import Glibc
import MempoolCore

/// Books of pieces of any size, whose pages come from a small buffer pool that runs out, or from malloc; and wrong pieces in between.
struct BookDriver {
  private static let sourceBytes = 16384
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: sourceBytes, alignment: 64)
  private static nonisolated(unsafe) let book: UnsafeMutablePointer<mp_book_t> = .allocate(capacity: 1)

  private let pieceSize: Int
  private let perPage: Int
  private var input: Input
  private var blocks = Blocks()
  /// Pieces that were given back last.
  private var stale: [UnsafeMutableRawPointer] = []
  private var isVacuumedAlways = false

  static func run(_ input: Input) throws {
    var input = input
    let pieceSize = Int(bitPattern: input.below(4) == 0 ? input.size() : UInt(input.byte()))
    let perPage = Int(bitPattern: input.below(8) == 0 ? input.size() : UInt(input.below(40)))
    let source = mp_bufpool_init(memory, sourceBytes, 16, 0)
    var pages = mp_bufpool_allocator(source)
    // From malloc a page may be as large as one likes: no piece of it is looked at then.
    let isBounded = input.below(4) != 0 || pieceSize > 4096 || perPage > 4096
    errno = 0
    let result =
      isBounded ? mp_book_init(book, pieceSize, perPage, &pages) : mp_book_init(book, pieceSize, perPage, nil)
    let (bytes, overflow) = pieceSize.multipliedReportingOverflow(by: perPage)
    let mayBe = pieceSize > 0 && perPage > 0 && !overflow && bytes < 1 << 57
    guard result == 0 else {
      let mustBe = mayBe && bytes < 1 << 56 && perPage < 1 << 56
      return try demand(errno == EINVAL && !mustBe, "no book of \(pieceSize) bytes, \(perPage) a page")
    }
    try demand(mayBe, "a book of \(pieceSize) bytes, \(perPage) a page")
    var driver = BookDriver(pieceSize: pieceSize, perPage: perPage, input: input)
    try driver.perform()
    mp_book_close(book)
    try demand(mp_book_pieces(book) == 0 && mp_book_pages(book) == 0, "not empty when it is closed")
    var stats = mp_bufpool_stats_t()
    mp_bufpool_stats(source, &stats)
    try demand(stats.objects == 0 && mp_bufpool_check(source) == 0, "pages stayed, or their source is broken")
  }

  private init(pieceSize: Int, perPage: Int, input: Input) {
    (self.pieceSize, self.perPage, self.input) = (pieceSize, perPage, input)
  }

  private var pageCount: Int { mp_book_pages(Self.book) }

  private mutating func perform() throws {
    while !input.isEmpty, blocks.count < 300 {
      try one()
      try demand(mp_book_pieces(Self.book) == blocks.count, "a wrong count of pieces")
      try demand(pageCount > 0 || blocks.isEmpty, "pieces, and no page")
    }
    try demand(record.checkInvariants(), "broken")
    if input.below(2) == 0 {
      while !blocks.isEmpty { try free(blocks.count - 1) }
      let before = pageCount
      try demand(mp_book_vacuum(Self.book) == before && pageCount == 0, "empty pages stayed")
    }
  }

  private var record: BookPointer { UnsafeMutableRawPointer(Self.book).assumingMemoryBound(to: Book.self) }

  private mutating func one() throws {
    switch input.below(12) {
    case 0...4: try take()
    case 5:
      let before = pageCount
      if before < 20, mp_book_add_page(Self.book) == 0 { try demand(pageCount == before + 1, "no page more") }
    case 6:
      let before = pageCount, gone = mp_book_vacuum(Self.book)
      try demand(pageCount == before - gone, "a wrong count of pages")
    case 7:
      let on = input.below(2) == 1
      let was = mp_book_vacuum_auto(Self.book, on ? 1 : 0) != 0
      try demand(was == isVacuumedAlways, "vacuumed otherwise than it was set")
      isVacuumedAlways = on
    case 8: try freeWrong()
    default:
      if !blocks.isEmpty { try free(input.below(blocks.count)) }
    }
  }

  private mutating func take() throws {
    let pages = pageCount, pieces = blocks.count
    errno = 0
    guard let piece = mp_book_alloc(Self.book) else {
      try demand(errno == ENOMEM, "no piece, and no reason")
      // A page has room for so many at least.
      return try demand(pieces >= pages * perPage && pageCount == pages, "no piece, and there is room")
    }
    try demand(pageCount == pages || pieces >= pages * perPage && pageCount == pages + 1, "a page for nothing")
    try demand(mp_book_owns(Self.book, piece) != 0, "\(piece) is not its own")
    try blocks.add(piece, pieceSize, of: pieceSize, alignment: UInt(min(pieceSize & -pieceSize, 16)))
  }

  // What is no piece, or was one: nothing may come of it.
  private mutating func freeWrong() throws {
    let offset = input.below(64)
    let wrong =
      switch input.below(3) {
      case 0: stale.isEmpty ? Self.memory + offset : stale[offset % stale.count]
      case 1: blocks.isEmpty ? Self.memory + offset : blocks.live[input.below(blocks.count)].start + offset
      default: UnsafeMutableRawPointer(bitPattern: max(input.size(), 1)) ?? Self.memory
      }
    try demand(mp_book_free(Self.book, nil) == 0, "NULL is something to do")
    guard !blocks.live.contains(where: { $0.start == wrong }) else { return }
    let pages = pageCount
    errno = 0
    try demand(mp_book_free(Self.book, wrong) == -1 && errno == EINVAL, "freed \(wrong)")
    try demand(pageCount == pages, "a refusal changed something")
  }

  private mutating func free(_ index: Int) throws {
    let block = try blocks.remove(index)
    try demand(mp_book_free(Self.book, block.start) == 0, "could not free \(block.start)")
    stale.append(block.start)
    if stale.count > 16 { stale.removeFirst() }
  }
}
