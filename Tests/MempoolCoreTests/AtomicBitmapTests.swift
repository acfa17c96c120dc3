import Testing

@testable import MempoolCore

/// One thread: exact counts, exact places, shadow models.
@Suite struct AtomicBitmapTests {
  static let strategies: [AtomicBitmap.Strategy] = [.compareAndSwap, .exchange]
  static let hintSets: [RunLengths] = [
    [], [.one], [.sixtyFour], [.four, .sixteen], [.one, .eight, .sixtyFour], [.one, .two, .four, .sixteen, .sixtyFour],
  ]

  /// Seeds, bitmap defect 2: nothing stays taken, for every run length.
  @Test(arguments: strategies, hintSets)
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
}
