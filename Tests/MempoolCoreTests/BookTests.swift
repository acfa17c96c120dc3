import Testing

@testable import MempoolCore

@Suite struct BookTests {
  private let memory = TestMemory()

  /// A book, and the allocator of its pages, which finds every page again at the end.
  private final class TestBook {
    let pages = TestAllocator()
    let book: BookPointer = .allocate(capacity: 1)

    init(_ pieceSize: Int, _ piecesPerPage: Int, lock: LockHook? = nil) throws {
      let record = Book(
        pieceSize: UInt(pieceSize), piecesPerPage: UInt(piecesPerPage), from: pages.raw, lock: lock)
      book.initialize(to: try #require(record))
    }

    deinit {
      try? book.close()
      if pages.live != 0 { Issue.record("\(pages.live) pages stayed") }
      book.deallocate()
    }
  }

  // Pages hold what they are asked for and a few more where these fit.
  private func piecesPerPage(_ test: TestBook) throws -> Int {
    try test.book.addPage()
    defer { _ = try? test.book.vacuum() }
    return Int(try #require(test.book.pointee.first).pointee.pool.pointee.blockCount)
  }

  @Test("B8: a page that fills goes behind those with room, and comes back to the front")
  func fullPagesGoToTheEnd() throws {
    // Pages of four, and no room for a fifth: fill one and begin another, free three of the first, and take one.
    let test = try TestBook(64, 4)
    try #require(try piecesPerPage(test) == 4)
    let pieces = try (0..<5).map { _ in try test.book.allocate() }
    #expect(test.pages.live == 2 && test.book.checkInvariants())
    for piece in pieces.prefix(3) { try test.book.deallocate(piece) }
    #expect(test.book.checkInvariants())
    let again = try test.book.allocate()
    #expect(try pieces.prefix(3).contains(again) && test.book.owns(again) && test.pages.live == 2)
    for count in 1...40 {
      var more = try (0..<count).map { _ in try test.book.allocate() }
      more.shuffle()
      for piece in more { try test.book.deallocate(piece) }
      #expect(test.book.checkInvariants())
    }
  }

  @Test("B10: giving empty pages back at once can be switched on and off again")
  func vacuumingAtOnce() throws {
    let test = try TestBook(32, 8)
    #expect(!test.book.isVacuumedAlways)
    test.book.isVacuumedAlways = true
    #expect(test.book.isVacuumedAlways)
    try test.book.deallocate(try test.book.allocate())
    #expect(test.pages.live == 0)
    test.book.isVacuumedAlways = false
    #expect(!test.book.isVacuumedAlways)
    try test.book.deallocate(try test.book.allocate())
    #expect(test.pages.live == 1)
    try test.book.addPage()
    #expect(test.pages.live == 2)
    let piece = try test.book.allocate()
    #expect(try test.book.vacuum() == 1)
    #expect(test.pages.live == 1)
    try test.book.deallocate(piece)
    #expect(try test.book.vacuum() == 1)
    #expect(test.pages.live == 0 && test.book.checkInvariants())
  }

  @Test("B7, B9: pages of more than 65535 bytes; what is no piece is refused")
  func largePagesAndWrongPieces() throws {
    let test = try TestBook(100, 1000)
    let pieces = try (0..<3000).map { number in
      let piece = try test.book.allocate()
      Pattern.fill(piece, 100, UInt64(number))
      return piece
    }
    #expect(test.book.checkInvariants())
    for (number, piece) in pieces.enumerated() { #expect(Pattern.isIntact(piece, 100, UInt64(number))) }
    var local = 0
    #expect(throws: BufferPoolError.foreign) { try test.book.deallocate(&local) }
    #expect(throws: BufferPoolError.interior) { try test.book.deallocate(pieces[0] + 50) }
    try test.book.deallocate(pieces[0])
    #expect(throws: BufferPoolError.free) { try test.book.deallocate(pieces[0]) }
    try test.book.deallocate(nil)
    let now = try test.book.statistics()
    #expect(now.pieces == 2999 && now.pieceSize == 100 && now.pageCount == UInt(test.pages.live))
    #expect(Book(pieceSize: 0, piecesPerPage: 1, from: .system) == nil)
    #expect(Book(pieceSize: 1, piecesPerPage: 0, from: .system) == nil)
    #expect(Book(pieceSize: .max, piecesPerPage: 2, from: .system) == nil)
  }

  @Test func agreesWithAModel() throws {
    let seed = SplitMix64.seed("Book.agreesWithAModel")
    var random = SplitMix64(seed: seed)
    let test = try TestBook(24, 3)
    test.pages.limit = 12
    var live: [(UnsafeMutableRawPointer, UInt64)] = []
    for step in 0..<20_000 {
      let isGrowing = step / 500 % 2 == 0
      switch random.below(20) {
      case 0: test.book.isVacuumedAlways = random.below(2) == 0
      case 1: _ = try test.book.vacuum()
      case 2: _ = try? test.book.addPage()
      case 3..<(isGrowing ? 14 : 8):
        guard let piece = try? test.book.allocate() else {
          try demand(test.pages.live == 12, "seed \(seed), step \(step): it had room")
          continue
        }
        live.append((piece, random.next()))
        Pattern.fill(piece, 24, live.last!.1)
      default:
        guard !live.isEmpty else { continue }
        live.swapAt(random.below(live.count), live.count - 1)
        let (piece, tag) = live.removeLast()
        try demand(Pattern.isIntact(piece, 24, tag), "seed \(seed), step \(step): overwritten")
        try test.book.deallocate(piece)
      }
      if step % 32 == 0 {
        try demand(test.book.checkInvariants(), "seed \(seed), step \(step)")
        let now = try test.book.statistics()
        try demand(
          now.pieces == UInt(live.count) && now.pageCount == UInt(test.pages.live), "seed \(seed), step \(step)")
      }
    }
  }

  @Test func booksOfPagesFromABufferPool() throws {
    let buffer = memory.buffer(4096)
    let pool = try #require(buffer.pool(blockSize: 16))
    let book = BookPointer.allocate(capacity: 1)
    defer { book.deallocate() }
    book.initialize(to: try #require(Book(pieceSize: 6, piecesPerPage: 50, from: pool.allocator)))
    var count = 0
    while (try? book.allocate()) != nil { count += 1 }
    #expect(count > 250 && buffer.isGuarded)
    try book.close()
    #expect(try pool.statistics().objects == 0 && pool.checkInvariants())
  }
}
