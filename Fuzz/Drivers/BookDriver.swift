import CMempool
import CMempoolHeaders
import Glibc

/// Books of pieces of any size, whose pages come from a small buffer pool that runs out, or from malloc; and wrong pieces in between.
struct BookDriver {
  private static let sourceBytes = 16384
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: sourceBytes, alignment: 64)
  private static nonisolated(unsafe) let book: UnsafeMutablePointer<mp_book_t> = .allocate(capacity: 1)

  private let pieceSize: Int
  private var input: Input
  private var blocks = Blocks()

  static func run(_ input: Input) throws {
    var input = input
    let pieceSize = Int(bitPattern: input.below(4) == 0 ? input.size() : UInt(input.byte()))
    let perPage = Int(bitPattern: input.below(8) == 0 ? input.size() : UInt(input.below(40)))
    let source = mp_bufpool_init(memory, sourceBytes, 16, 0)
    var pages = mp_bufpool_allocator(source)
    // From malloc a page may be as large as one likes: no piece of it is looked at then.
    let isBounded = input.below(4) != 0 || pieceSize > 4096 || perPage > 4096
    errno = 0
    guard mp_book_init(book, pieceSize, perPage, isBounded ? &pages : nil) == 0 else {
      return try demand(errno == EINVAL && (pieceSize <= 0 || perPage <= 0 || pieceSize > 1 << 40 || perPage > 1 << 40),
        "no book of \(pieceSize) bytes, \(perPage) a page")
    }
    var driver = BookDriver(pieceSize: pieceSize, input: input)
    try driver.perform()
    mp_book_close(book)
    try demand(mp_book_pieces(book) == 0 && mp_book_pages(book) == 0, "not empty when it is closed")
    var stats = mp_bufpool_stats_t()
    mp_bufpool_stats(source, &stats)
    try demand(stats.objects == 0 && mp_bufpool_check(source) == 0, "pages stayed, or their source is broken")
  }

  private init(pieceSize: Int, input: Input) { (self.pieceSize, self.input) = (pieceSize, input) }

  private mutating func perform() throws {
    while !input.isEmpty, blocks.count < 300 {
      try one()
      try demand(mp_book_pieces(Self.book) == blocks.count, "a wrong count of pieces")
      try demand(mp_book_pages(Self.book) > 0 || blocks.isEmpty, "pieces, and no page")
    }
    if input.below(2) == 0 {
      while !blocks.isEmpty { try free(blocks.count - 1) }
      mp_book_vacuum(Self.book)
      try demand(mp_book_pages(Self.book) == 0, "empty pages stayed")
    }
  }

  private mutating func one() throws {
    switch input.below(10) {
    case 0...4:
      errno = 0
      guard let piece = mp_book_alloc(Self.book) else { return try demand(errno == ENOMEM, "no piece, and no reason") }
      try demand(mp_book_owns(Self.book, piece) != 0, "\(piece) is not its own")
      try blocks.add(piece, pieceSize, of: pieceSize, alignment: 1)
    case 5:
      let before = mp_book_pages(Self.book)
      if before < 20, mp_book_add_page(Self.book) == 0 {
        try demand(mp_book_pages(Self.book) == before + 1, "no page more")
      }
    case 6: mp_book_vacuum(Self.book)
    case 7: _ = mp_book_vacuum_auto(Self.book, Int32(input.below(2)))
    case 8:
      // A wrong piece: nothing may come of it.
      let offset = input.below(64)
      let wrong = blocks.isEmpty ? Self.memory + offset : blocks.live[input.below(blocks.count)].start + offset
      guard !blocks.live.contains(where: { $0.start == wrong }) else { return }
      errno = 0
      try demand(mp_book_free(Self.book, wrong) == -1 && errno == EINVAL, "freed \(wrong)")
    default:
      if !blocks.isEmpty { try free(input.below(blocks.count)) }
    }
  }

  private mutating func free(_ index: Int) throws {
    let block = try blocks.remove(index)
    try demand(mp_book_free(Self.book, block.start) == 0, "could not free \(block.start)")
  }
}
