import Testing

@testable import MempoolCore

/// What hints are for: a search reads a handful of words. And what they must not do: hide anything.
@Suite struct HintTreeTests {
  private static let manyCells = 1 << 22

  /// 2^22 cells, all taken.
  private func fullBitmap(_ hints: RunLengths, strategy: AtomicBitmap.Strategy = .compareAndSwap) -> TestBitmap {
    let test = TestBitmap(items: Self.manyCells * 64, runLengths: hints, strategy: strategy)
    #expect(test.bitmap.tryClaimCells(Self.manyCells) == 0)
    return test
  }

  /// Four levels up, three down, and the cell.
  @Test func theOnlyFreeItemOf2To28() {
    let test = fullBitmap([.one, .sixtyFour])
    let bitmap = test.bitmap
    for index in [0, 63, 64, 1 << 27, (1 << 28) - 1, 12_345_678] {
      bitmap.release(at: index)
      for start in [0, Self.manyCells - 1, Self.manyCells / 2, index / 64, index / 64 + 1] {
        let found = bitmap.cost(run: 1, from: start)
        #expect(found.index == index)
        #expect(found.wordsRead <= 16)
        bitmap.release(at: index)
      }
      _ = bitmap.tryClaim(run: 1, at: index)
    }
    #expect(test.wait.passes == 0)
  }

  /// Every cell has room, but only one of them for a run of 16.
  @Test func theOnlyRun() {
    let test = fullBitmap([.one, .sixteen])
    let bitmap = test.bitmap
    for cell in 0..<Self.manyCells { bitmap.release(run: 8, at: cell * 64 + 8) }
    let place = 3_333_333
    bitmap.release(run: 16, at: place * 64 + 32)
    for (count, limit) in [(16, 16), (8, 16), (12, 100), (9, 100)] {
      let found = bitmap.cost(run: count, from: 17)
      #expect(found.index == (count == 8 ? 17 * 64 + 8 : place * 64 + 32))
      #expect(found.wordsRead <= limit)
      bitmap.release(run: count, at: found.index!)
    }
    #expect(test.wait.passes == 0)
  }

  @Test func theOnlyEmptyCells() {
    let test = fullBitmap([.one, .sixtyFour])
    let bitmap = test.bitmap
    let place = 2_222_222
    for cell in 0..<64 { bitmap.release(run: 64, at: (place + cell) * 64) }
    for count in [64, 2, 1] {
      var cost = SearchCost()
      #expect(bitmap.tryClaimCells(count, trimmedTo: nil, from: 99, &cost) == place * 64)
      #expect(cost.wordsRead <= 16 + count)  // and one swap a cell
      #expect(bitmap.releaseCells(itemCount: count * 64, at: place * 64))
    }
    #expect(test.wait.passes == 0)
  }

  /// A search that hints fail looks at every cell once, and says so.
  @Test(arguments: AtomicBitmapTests.strategies) func aFailingSearchMakesOnePass(_ strategy: AtomicBitmap.Strategy) {
    let test = TestBitmap(items: 5000 * 64, runLengths: [.one, .sixtyFour], strategy: strategy)
    #expect(test.bitmap.tryClaimCells(5000) == 0)
    let found = test.bitmap.cost(run: 1, from: 44)
    #expect(found.index == nil)
    #expect(found.wordsRead >= 5000 && found.wordsRead < 5100)
    #expect(test.wait.passes == 1)
    #expect(test.bitmap.tryClaimCells(1) == nil)
    #expect(test.wait.passes == 2)
    #expect(test.wait.sleeps == 0)
  }

  /// Hints that are wrong, in either direction, cost time and nothing else.
  @Test(arguments: AtomicBitmapTests.strategies) func wrongHintsHideNothing(_ strategy: AtomicBitmap.Strategy) {
    var random = SplitMix64(seed: 3)
    for round in 0..<200 {
      let cellCount = 1 + random.below(200)
      let test = TestBitmap(items: cellCount * 64, runLengths: [.one, .four, .sixtyFour], strategy: strategy)
      let bitmap = test.bitmap
      for cell in 0..<cellCount { #expect(bitmap.tryClaim(cell: cell)) }
      let place = random.below(cellCount)
      bitmap.release(run: 64, at: place * 64)
      for word in 0..<3 * HintTree.wordCount(cellCapacity: cellCount) {
        bitmap.hints.advanced(by: word).storeRelaxed(round % 3 == 0 ? 0 : round % 3 == 1 ? ~0 : UInt(random.next()))
      }
      let count = 1 + random.below(64)
      #expect(bitmap.tryClaim(run: count, from: random.below(cellCount))?.index == place * 64)
      bitmap.release(run: count, at: place * 64)
      #expect(bitmap.tryClaimCells(1) == place * 64)
    }
  }

  /// Others may have taken a cell for full while a claim held it, and hinted so. Whoever gives back tells the tree, whatever
  /// came of the claim.
  @Test func whoGivesBackTellsTheTree() {
    let rolledBack = TestBitmap(items: 3 * 64, runLengths: [.one, .sixtyFour])
    rolledBack.fill(2, 1)
    let exchanged = TestBitmap(items: 3 * 64, runLengths: [.one, .sixtyFour], strategy: .exchange)
    for cell in 0..<3 { exchanged.fill(cell, 1) }
    for test in [rolledBack, exchanged] {
      #expect(test.bitmap.checkInvariants())
      // What another would have written who saw the cell 0 in the claim's hands.
      for exponent in [0, 6] { _ = test.bitmap.tree(exponent).words.fetchOrRelaxed(1) }
    }
    var cost = SearchCost()
    #expect(rolledBack.bitmap.claimAll(0, 3, 192, &cost) == 2)
    #expect(rolledBack.bitmap.checkInvariants())
    #expect(exchanged.bitmap.tryClaim(run: 64) == nil)
    #expect(exchanged.bitmap.checkInvariants())
  }

  /// The tree's search against one that looks at each cell in turn.
  @Test func nextOpenAndNextClosed() {
    var random = SplitMix64(seed: SplitMix64.seed("HintTreeTests.nextOpenAndNextClosed"))
    for capacity in [1, 2, 63, 64, 65, 128, 4095, 4096, 4097, 5000, 270_000] {
      let test = TestBitmap(items: capacity * 64, runLengths: [.sixtyFour])
      let bitmap = test.bitmap
      let tree = bitmap.tree(6)
      var open = [Bool](repeating: true, count: capacity)
      // Nearly all open; then nearly all closed, in stretches.
      for round in 0..<6 {
        for _ in 0..<(round < 3 ? 5 : 60) {
          let first = random.below(capacity)
          for cell in first..<min(capacity, first + (round < 3 ? 3 : capacity / 20 + 1)) where open[cell] {
            #expect(bitmap.tryClaim(cell: cell))
            open[cell] = false
          }
        }
        if capacity <= 5000 || round == 5 { #expect(bitmap.checkInvariants()) }
        for _ in 0..<100 {
          let first = random.below(capacity + 1)
          let limit = random.below(capacity + 1)
          var cost = SearchCost()
          let expected = first < limit ? open[first..<limit].firstIndex(of: true) : nil
          #expect(tree.nextOpen(from: first, below: limit, &cost) == expected)
          #expect(cost.wordsRead <= 8)
          let closed = first < limit ? open[first..<limit].firstIndex(of: false) : nil
          #expect(tree.nextClosed(from: first, below: limit, &cost) == closed ?? limit)
        }
      }
    }
  }

  /// Every wrong hint is seen by the check: of each level, in each direction, also of cells that do not exist yet.
  @Test func theCheckSeesEveryWrongHint() {
    let cells = 64 * 64 + 70
    let test = TestBitmap(items: cells * 64 - 300, capacity: cells * 64, runLengths: [.two])
    let bitmap = test.bitmap
    for cell in 64..<128 { #expect(bitmap.tryClaim(cell: cell)) }
    #expect(bitmap.checkInvariants())
    for word in 0..<HintTree.wordCount(cellCapacity: cells) {
      for bit in 0..<64 as Range<UInt> {
        let hint = bitmap.hints.advanced(by: word)
        hint.storeRelaxed(hint.loadRelaxed() ^ 1 << bit)
        #expect(!bitmap.checkInvariants())
        hint.storeRelaxed(hint.loadRelaxed() ^ 1 << bit)
      }
    }
    #expect(bitmap.checkInvariants())
    // And an item that does not exist.
    let last = bitmap.word(ofCell: bitmap.cellCount - 1)
    last.storeRelaxed(last.loadRelaxed() | 1 << 63)
    #expect(!bitmap.checkInvariants())
  }

  @Test func runLengths() {
    let hints: RunLengths = [.two, .eight, .sixtyFour]
    #expect(hints.count == 3)
    for count in 1...64 {
      #expect(hints.exponent(atMost: count) == (count >= 64 ? 6 : count >= 8 ? 3 : count >= 2 ? 1 : nil))
      #expect(hints.exponent(atLeast: count) == (count <= 2 ? 1 : count <= 8 ? 3 : 6))
    }
    #expect(RunLengths([.four]).exponent(atLeast: 5) == nil)
    #expect([1, 3, 6].map { hints.position(of: $0) } == [0, 1, 2])
    #expect(RunLengths(rawValue: ~0).count == 7)
    for cells in [1, 64] { #expect(HintTree.wordCount(cellCapacity: cells) == 1) }
    #expect(HintTree.wordCount(cellCapacity: 65) == 3)
    #expect(HintTree.wordCount(cellCapacity: 1 << 22) == 65536 + 1024 + 16 + 1)
    #expect(AtomicBitmap.byteCount(cellCount: 65, runLengths: hints) == 8 * (8 + 9 + 65))
    #expect(AtomicBitmap.byteCount(cellCount: 1, runLengths: []) == 8 * 9)
  }
}
