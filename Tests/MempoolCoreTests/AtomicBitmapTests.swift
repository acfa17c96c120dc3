import Testing

@testable import MempoolCore

/// One thread: exact counts, exact places.
@Suite struct AtomicBitmapTests {
  static let strategies: [AtomicBitmap.Strategy] = [.compareAndSwap, .exchange]
  static let hintSets: [RunLengths] = [
    [], [.one], [.sixtyFour], [.four, .sixteen], [.one, .eight, .sixtyFour], [.one, .two, .four, .sixteen, .sixtyFour],
  ]

  @Test("T2: the used count returns to 0 for every run length from 1 to all there are", arguments: strategies, hintSets)
  func usedCountReturnsToZero(_ strategy: AtomicBitmap.Strategy, _ hints: RunLengths) throws {
    let cellCount = 5
    let test = TestBitmap(items: cellCount * 64, runLengths: hints, strategy: strategy)
    let bitmap = test.bitmap
    for count in 1...64 {
      var claims: [Int] = []
      while let claim = bitmap.tryClaim(run: count, from: claims.count) {
        claims.append(claim.index)
        #expect(bitmap.usedCount() == claims.count * count)
      }
      #expect(claims.count == cellCount * (64 / count))
      #expect(bitmap.checkInvariants())
      for index in claims { #expect(!bitmap.release(run: count, at: index).wasDouble) }
      #expect(bitmap.usedCount() == 0)
      #expect(bitmap.checkInvariants())
    }
    for count in 65...cellCount * 64 {
      let cells = Cell.count(forItems: count)
      let index = try #require(bitmap.tryClaimCells(cells, trimmedTo: count))
      #expect(index == 0)
      #expect(bitmap.usedCount() == count)
      #expect(bitmap.releaseCells(itemCount: count, at: index))
      #expect(bitmap.usedCount() == 0)
      #expect(bitmap.checkInvariants())
    }
  }

  // MARK: Whole cells

  @Test("T3: a claim of n cells takes exactly n, all of them included", arguments: hintSets)
  func exactlyAsManyCells(_ hints: RunLengths) {
    for count in 1...8 {
      let test = TestBitmap(items: 8 * 64, runLengths: hints)
      #expect(test.bitmap.tryClaimCells(count) == 0)
      #expect(test.values == (0..<8).map { $0 < count ? Cell.busy : 0 })
      #expect(test.bitmap.checkInvariants())
    }
    let test = TestBitmap(items: 8 * 64, runLengths: hints)
    for count in [9, 100, Int.max, 0, -1] { #expect(test.bitmap.tryClaimCells(count) == nil) }
    #expect(test.bitmap.usedCount() == 0)
  }

  @Test(
    "T3, T4: a claim of cells that fails changes nothing, whatever is in the cell that it failed on",
    arguments: hintSets)
  func aFailedClaimOfCellsLeavesForeignBits(_ hints: RunLengths) {
    for obstacle in [1, 0xff, 1 << 63, Cell.busy - 1, Cell.busy] as [UInt] {
      for place in 0..<8 {
        let test = TestBitmap(items: 8 * 64, runLengths: hints)
        test.fill(place, obstacle)
        let before = test.values
        #expect(test.bitmap.tryClaimCells(8) == nil)
        #expect(test.values == before)
        #expect(test.bitmap.checkInvariants())
      }
    }
  }

  /// The rollback itself: hints are made to say that all is free, so that each claim runs into the obstacle.
  @Test("T4: rolling a claim of cells back leaves the cell that it failed on as it is")
  func rollingBackTouchesOnlyItsOwnCells() {
    for place in 0..<8 {
      let test = TestBitmap(items: 8 * 64, runLengths: [.sixtyFour])
      let bitmap = test.bitmap
      test.fill(place, 0xff)
      bitmap.tree(6).words.storeRelaxed(0)
      #expect(bitmap.tryClaimCells(8) == nil)
      #expect(test.values == (0..<8).map { $0 == place ? 0xff : 0 })
    }
  }

  @Test("T5: a release of cells clears exactly the run, wherever it starts")
  func releasingCellsClearsExactlyThese() {
    for first in 0..<6 {
      for items in [64, 65, 100, 128, 150] where first * 64 + items <= 8 * 64 {
        let test = TestBitmap(items: 8 * 64)
        for cell in 0..<8 { #expect(test.bitmap.tryClaim(cell: cell)) }
        #expect(test.bitmap.releaseCells(itemCount: items, at: first * 64))
        #expect(test.taken == (0..<512).filter { $0 < first * 64 || $0 >= first * 64 + items })
        #expect(test.bitmap.checkInvariants())
      }
    }
  }

  @Test func cellsAreTrimmed() {
    let test = TestBitmap(items: 4 * 64)
    let bitmap = test.bitmap
    #expect(bitmap.tryClaimCells(2, trimmedTo: 65) == 0)
    #expect(test.values == [Cell.busy, 1, 0, 0])
    #expect(bitmap.checkInvariants())
    // Not more than the last cell may be left over, nor asked for beyond it.
    for items in [0, -1, 64, 129] { #expect(bitmap.tryClaimCells(2, trimmedTo: items) == nil) }
    #expect(bitmap.tryClaim(run: 63)?.index == 65)
    #expect(bitmap.tryClaimCells(2) == 128)
  }

  @Test func cellsAreFoundFromAnyStart() {
    for hints in Self.hintSets {
      for place in 0...5 {
        for start in -3..<12 {
          let test = TestBitmap(items: 8 * 64, runLengths: hints)
          for cell in 0..<8 where cell < place || cell >= place + 3 { test.fill(cell, 1 << 17) }
          #expect(test.bitmap.tryClaimCells(3, from: start) == place * 64)
        }
      }
    }
  }

  // MARK: Sizes

  /// A last cell with fewer items: what stands for none is never handed out.
  @Test(arguments: strategies, hintSets)
  func theLastCell(_ strategy: AtomicBitmap.Strategy, _ hints: RunLengths) {
    for items in [1, 2, 63, 64, 65, 100, 127, 128, 129] {
      for count in 1...64 {
        let test = TestBitmap(items: items, runLengths: hints, strategy: strategy)
        let bitmap = test.bitmap
        #expect(bitmap.checkInvariants())
        var claims = 0
        while let claim = bitmap.tryClaim(run: count, from: 1) {
          #expect(claim.index >= 0 && claim.index + count <= items)
          claims += 1
        }
        #expect(claims == items / 64 * (64 / count) + items % 64 / count)
        #expect(bitmap.usedCount() == claims * count)
        #expect(bitmap.checkInvariants())
      }
    }
  }

  @Test(arguments: hintSets) func cellsUpToTheLastItem(_ hints: RunLengths) {
    let test = TestBitmap(items: 100, runLengths: hints)
    let bitmap = test.bitmap
    #expect(bitmap.tryClaimCells(2) == nil)
    #expect(bitmap.tryClaimCells(2, trimmedTo: 101) == nil)
    #expect(bitmap.tryClaimCells(2, trimmedTo: 100) == 0)
    #expect(bitmap.usedCount() == 100)
    #expect(bitmap.checkInvariants())
    #expect(bitmap.releaseCells(itemCount: 100, at: 0))
    #expect(bitmap.usedCount() == 0)
    #expect(bitmap.tryClaim(cell: 1))
    #expect(test.values == [0, Cell.mask(36, at: 0)])
    #expect(!bitmap.tryClaim(cell: 1))
    #expect(!bitmap.tryClaim(cell: 2))
    #expect(!bitmap.tryClaim(cell: -1))
    #expect(bitmap.itemCount(ofCell: 1) == 36)
    #expect(!bitmap.release(run: 36, at: 64).wasDouble)
    #expect(bitmap.checkInvariants())
  }

  @Test(arguments: strategies, hintSets)
  func growing(_ strategy: AtomicBitmap.Strategy, _ hints: RunLengths) {
    let test = TestBitmap(items: 0, capacity: 1000, runLengths: hints, strategy: strategy)
    let bitmap = test.bitmap
    #expect(bitmap.cellCount == 0)
    #expect(bitmap.tryClaim() == nil)
    #expect(bitmap.tryClaimCells(1) == nil)
    #expect(bitmap.claim() == nil)
    var taken = 0
    for size in [1, 7, 63, 64, 65, 100, 128, 200, 640, 1000] {
      bitmap.grow(toItemCount: size)
      bitmap.grow(toItemCount: size - 1)
      #expect(bitmap.itemCount == size)
      #expect(bitmap.checkInvariants())
      while let claim = bitmap.tryClaim(from: taken) {
        #expect(claim.index < size)
        taken += 1
      }
      #expect(taken == size)
      #expect(bitmap.checkInvariants())
    }
    bitmap.grow(toItemCount: 1025)  // beyond its 16 cells
    #expect(bitmap.itemCount == 1000)
  }

  /// A bitmap of 2^26 cells in memory that nobody has touched: making, growing and using it touches a handful of pages.
  @Test func makingALargeOneTouchesLittle() throws {
    let cells = 1 << 26
    let byteCount = AtomicBitmap.byteCount(cellCount: cells, runLengths: [.one, .sixtyFour])
    let memory = try #require(mapPages(byteCount))
    defer { unmapPages(memory, byteCount) }
    let wait = BoundedWaitPointer.allocate(capacity: 1)
    wait.initialize(to: BoundedWait())
    defer { wait.deallocate() }
    let bitmap = AtomicBitmap(
      zeroed: memory, cellCapacity: cells, runLengths: [.one, .sixtyFour], itemCount: 0, wait: wait)
    bitmap.grow(toItemCount: cells * 64)
    #expect(bitmap.tryClaim(from: 1 << 25)?.index == 1 << 31)
    #expect(bitmap.tryClaimCells(100, from: 1 << 24) == 1 << 30)
    #expect(residentPages(memory, byteCount) < 40)
  }

  // MARK: Places

  /// Searches start anywhere, go around, and find what there is.
  @Test(arguments: strategies, hintSets)
  func theOnlyFreeItemIsFound(_ strategy: AtomicBitmap.Strategy, _ hints: RunLengths) {
    let test = TestBitmap(items: 10 * 64, runLengths: hints, strategy: strategy)
    let bitmap = test.bitmap
    for cell in 0..<10 { #expect(bitmap.tryClaim(cell: cell)) }
    var random = SplitMix64(seed: 5)
    for start in [-1, 0, 1, 5, 9, 10, 11, 1 << 40, Int.max, Int.min] {
      let index = random.below(640)
      bitmap.release(at: index)
      let claim = bitmap.tryClaim(from: start)
      #expect(claim?.index == index)
      #expect(claim?.previous == ~(1 << UInt(index % 64)))
    }
    #expect(bitmap.checkInvariants())
  }

  @Test func claimsTellWhetherTheCellWasEmpty() {
    for strategy in Self.strategies {
      let test = TestBitmap(items: 64, strategy: strategy)
      #expect(test.bitmap.tryClaim(run: 3)?.previous == 0)
      #expect(test.bitmap.tryClaim(run: 3)?.previous == 0b111)
      #expect(test.bitmap.release(run: 3, at: 0).previous == 0b111111)
    }
  }

  @Test(arguments: hintSets) func theseVeryItems(_ hints: RunLengths) {
    let test = TestBitmap(items: 100, runLengths: hints)
    let bitmap = test.bitmap
    #expect(bitmap.tryClaim(run: 5, at: 10))
    #expect(!bitmap.tryClaim(run: 5, at: 14))
    #expect(!bitmap.tryClaim(run: 5, at: 6))
    #expect(bitmap.tryClaim(run: 4, at: 6))
    #expect(!bitmap.tryClaim(run: 2, at: 63))  // crosses a cell
    #expect(!bitmap.tryClaim(run: 1, at: 100))
    #expect(!bitmap.tryClaim(run: 1, at: -1))
    #expect(!bitmap.tryClaim(run: 0, at: 0))
    #expect(bitmap.tryClaim(run: 36, at: 64))
    #expect(test.taken == Array(6..<15) + Array(64..<100))
    #expect(bitmap.checkInvariants())
  }

  // MARK: Misuse

  @Test("T24: a second release of the same items is told", arguments: strategies, hintSets)
  func doubleReleaseIsDetected(_ strategy: AtomicBitmap.Strategy, _ hints: RunLengths) throws {
    let test = TestBitmap(items: 300, runLengths: hints, strategy: strategy)
    let bitmap = test.bitmap
    let index = try #require(bitmap.tryClaim(run: 8)).index
    #expect(!bitmap.release(run: 3, at: index).wasDouble)
    #expect(bitmap.release(run: 3, at: index).wasDouble)
    #expect(bitmap.release(run: 8, at: index).wasDouble)  // some of it
    #expect(bitmap.usedCount() == 0)
    let cells = try #require(bitmap.tryClaimCells(3, trimmedTo: 180))
    #expect(bitmap.releaseCells(itemCount: 180, at: cells))
    #expect(!bitmap.releaseCells(itemCount: 180, at: cells))
    #expect(bitmap.tryClaimCells(3, trimmedTo: 180) == cells)
    #expect(!bitmap.release(at: cells + 179).wasDouble)
    #expect(!bitmap.releaseCells(itemCount: 180, at: cells))
    #expect(bitmap.checkInvariants())
  }

  @Test func releasesOutOfRangeChangeNothing() {
    let test = TestBitmap(items: 100)
    let bitmap = test.bitmap
    #expect(bitmap.tryClaimCells(2, trimmedTo: 100) == 0)
    for (count, index) in [(1, -1), (1, 100), (0, 0), (-1, 5), (2, 63), (65, 0), (37, 64), (1, Int.max), (Int.max, 1)] {
      #expect(bitmap.release(run: count, at: index).wasDouble)
    }
    for (count, index) in [(1, -64), (1, 1), (0, 0), (101, 0), (64, 64), (1, 128), (Int.max, 64), (1, Int.max & ~63)] {
      #expect(!bitmap.releaseCells(itemCount: count, at: index))
    }
    #expect(bitmap.usedCount() == 100)
    for index in [-1, 100, 1000, Int.max, Int.min] { #expect(!bitmap.isTaken(index)) }
    for count in [0, -1, 65, Int.max, Int.min] { #expect(bitmap.tryClaim(run: count) == nil) }
  }

  /// By exchange, the give-back sees when one of the bits that the thread holds was cleared by somebody else.
  @Test func anExchangeSeesADoubleFreeOfWhatItHolds() {
    let storage = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    defer { storage.deallocate() }
    let cell = AtomicPointer(storage)
    // Item 2 is taken, the rest is held; item 2 is freed rightly, item 5 wrongly.
    cell.storeRelaxed(Cell.busy)
    _ = cell.fetchAndRelease(~0b100)
    let right = AtomicBitmap.giveBack(cell, 0b100, 0b1)
    #expect(right.current == 0b1 && !right.sawDoubleFree)
    cell.storeRelaxed(Cell.busy)
    _ = cell.fetchAndRelease(~0b100000)
    let wrong = AtomicBitmap.giveBack(cell, 0b100, 0b1)
    #expect(wrong.current == 0b101 && wrong.sawDoubleFree)
  }

  /// Frees that arrive while a cell is held survive: the give-back is an and, not a store.
  @Test func freesDuringAnExchangeSurvive() {
    let storage = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    defer { storage.deallocate() }
    let cell = AtomicPointer(storage)
    for freed in 0..<64 as Range<UInt> {
      let copy: UInt = ~(1 << ((freed + 1) % 64))  // one item free: it is claimed
      cell.storeRelaxed(copy)
      #expect(cell.exchangeAcquire(Cell.busy) == copy)
      _ = cell.fetchAndRelease(~(1 << freed))
      let (current, sawDoubleFree) = AtomicBitmap.giveBack(cell, copy, ~copy)
      #expect(current == ~(1 << freed) && !sawDoubleFree)
      #expect(cell.loadRelaxed() == current)
    }
  }

  @Test(arguments: strategies) func oneCell(_ strategy: AtomicBitmap.Strategy) {
    let storage = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    defer { storage.deallocate() }
    let cell = AtomicPointer(storage)
    for limit in 1...64 {
      for count in 1...64 {
        cell.storeRelaxed(0)
        var claims = 0
        while let claim = AtomicBitmap.claimInCell(cell, count: count, limit: limit, strategy: strategy) {
          #expect(claim.bit == claims * count)
          #expect(claim.current == cell.loadRelaxed())
          claims += 1
        }
        #expect(claims == limit / count)
        #expect(cell.loadRelaxed().nonzeroBitCount == claims * count)
      }
    }
  }

  /// Cells that are in use already, with nothing around them.
  @Test func bareCells() {
    let storage = UnsafeMutablePointer<UInt>.allocate(capacity: 3)
    defer { storage.deallocate() }
    storage.initialize(repeating: 0, count: 3)
    storage[0] = Cell.busy
    let wait = BoundedWaitPointer.allocate(capacity: 1)
    wait.initialize(to: BoundedWait())
    defer { wait.deallocate() }
    let bitmap = AtomicBitmap(bareCells: AtomicPointer(storage), itemCount: 150, wait: wait)
    #expect(bitmap.cellCount == 3)
    #expect(bitmap.usedCount() == 64)
    #expect(bitmap.tryClaim(run: 64)?.index == 64)
    #expect(bitmap.tryClaim(run: 22)?.index == 128)
    #expect(wait.passes == 0)
    #expect(bitmap.tryClaim() == nil)
    #expect(wait.passes == 1)
    // Each sleep follows a pass in vain, also where there are no hints.
    wait.waitNanoseconds = 1
    #expect(bitmap.claim() == nil && bitmap.claimCells(2) == nil)
    #expect(wait.sleeps == 6 && wait.passes == 1 + 8)
    bitmap.grow(toItemCount: 192)
    #expect(bitmap.itemCount == 150)
    #expect(bitmap.checkInvariants())
  }
}
