import Testing

@testable import MempoolCore

/// Many threads on few items. Ownership is counted in a shadow word an item, relaxed, and each owner writes to its items
/// plainly: so that ThreadSanitizer sees it when a claim does not acquire what a release released.
@Suite(.serialized) struct AtomicBitmapConcurrencyTests {
  /// Full size where the compiler optimises.
  private static func scaled(_ operations: Int) -> Int {
    #if DEBUG
      operations / 20
    #else
      operations
    #endif
  }

  /// Who has which item, and what was written to it.
  private final class Shadow: @unchecked Sendable {
    private let owners: AtomicPointer
    private let payload: UnsafeMutablePointer<UInt>
    private let failures = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    private let count: Int

    init(_ count: Int) {
      let words = UnsafeMutablePointer<UInt>.allocate(capacity: count)
      words.initialize(repeating: 0, count: count)
      owners = AtomicPointer(words)
      payload = .allocate(capacity: count)
      payload.initialize(repeating: 0, count: count)
      failures.initialize(to: 0)
      self.count = count
    }

    deinit {
      owners.word.deallocate()
      payload.deallocate()
      failures.deallocate()
    }

    var violations: UInt { AtomicPointer(failures).loadRelaxed() }

    func fail() { _ = AtomicPointer(failures).fetchAddRelaxed(1) }

    func take(_ items: Range<Int>, by owner: UInt) {
      guard items.lowerBound >= 0, items.upperBound <= count else { return fail() }
      for item in items {
        if owners.advanced(by: item).fetchAddRelaxed(1) != 0 { fail() }
        payload[item] = owner &+ UInt(item)
      }
    }

    func give(_ items: Range<Int>, by owner: UInt) {
      for item in items {
        if payload[item] != owner &+ UInt(item) { fail() }
        if owners.advanced(by: item).fetchAddRelaxed(0 &- 1) != 1 { fail() }
      }
    }
  }

  /// And no item is owned twice.
  @Test(
    "T6: 8 threads on half-full cells, no failure in 10^7 operations", arguments: [1, 2, 8],
    [[], [.one], [.one, .eight, .sixtyFour]] as [RunLengths])
  func halfFullCellsNeverFail(_ cellCount: Int, _ hints: RunLengths) {
    let threads = 8
    let rounds = Self.scaled(10_000_000) / threads / 2 / 3
    let test = TestBitmap(items: cellCount * 64, runLengths: hints)
    let bitmap = test.bitmap
    // Every other item belongs to nobody who takes part.
    for cell in 0..<cellCount { test.fill(cell, 0xaaaa_aaaa_aaaa_aaaa) }
    let shadow = Shadow(cellCount * 64)
    TestThread.run(threads) { number in
      // At most 3 items a thread: 24 of 32 free ones.
      for round in 0..<rounds {
        var claimed = (-1, -1, -1)
        func claim() -> Int {
          guard let claim = bitmap.tryClaim(from: (number + round) % cellCount) else {
            shadow.fail()
            return -1
          }
          shadow.take(claim.index..<claim.index + 1, by: UInt(number))
          return claim.index
        }
        func release(_ index: Int) {
          guard index >= 0 else { return }
          shadow.give(index..<index + 1, by: UInt(number))
          if bitmap.release(at: index).wasDouble { shadow.fail() }
        }
        claimed.0 = claim()
        claimed.1 = claim()
        release(claimed.0)
        claimed.2 = claim()
        release(claimed.2)
        release(claimed.1)
      }
    }
    #expect(shadow.violations == 0)
    #expect(bitmap.usedCount() == cellCount * 32)
    #expect(bitmap.checkInvariants())
    #expect(test.wait.sleeps == 0)
  }

  /// Runs, whole cells, very items and very cells, by both strategies, growing meanwhile: no item is owned twice, nobody's
  /// rollback touches another's items, and in the end the hints are exact.
  @Test(arguments: AtomicBitmapTests.strategies, AtomicBitmapTests.hintSets)
  func everythingAtOnce(_ strategy: AtomicBitmap.Strategy, _ hints: RunLengths) {
    let seed = SplitMix64.seed("AtomicBitmapConcurrencyTests \(strategy) \(hints.rawValue)")
    var random = SplitMix64(seed: seed)
    for _ in 0..<12 {
      let capacity = [2, 5, 9, 70][random.below(4)] * 64
      let size = 1 + random.below(capacity)
      let test = TestBitmap(items: size, capacity: capacity, runLengths: hints, strategy: strategy)
      let bitmap = test.bitmap
      let shadow = Shadow(capacity)
      let threads = 4
      let seeds = (0..<threads).map { _ in random.next() }
      TestThread.run(threads) { number in
        var random = SplitMix64(seed: seeds[number])
        var held: [Range<Int>] = []
        func took(_ index: Int, _ count: Int) {
          shadow.take(index..<index + count, by: UInt(number) << 32)
          held.append(index..<index + count)
        }
        for _ in 0..<Self.scaled(20_000) {
          let cell = random.below(capacity / 64)
          switch held.count < 6 ? random.below(10) : 9 {
          case 0..<3:
            let count = 1 + random.below(20)
            if let claim = bitmap.tryClaim(run: count, from: cell) { took(claim.index, count) }
          case 3..<5:
            let cells = 1 + random.below(3)
            let items = cells * 64 - random.below(64)
            if let index = bitmap.tryClaimCells(cells, trimmedTo: items, from: cell) { took(index, items) }
          case 5:
            // The size that the claim sees is at least this one: what is taken beyond goes back.
            let items = bitmap.itemCount(ofCell: cell)
            if items == 64, bitmap.tryClaim(cell: cell) { took(cell * 64, 64) }
          case 6:
            let count = 1 + random.below(4)
            if bitmap.tryClaim(run: count, at: cell * 64 + 30) { took(cell * 64 + 30, count) }
          case 7 where number == 0 && random.below(100) == 0:
            bitmap.grow(toItemCount: min(capacity, bitmap.itemCount + random.below(50)))
          default:
            guard !held.isEmpty else { continue }
            let items = held.remove(at: random.below(held.count))
            shadow.give(items, by: UInt(number) << 32)
            if items.lowerBound % 64 == 0, items.count > 64 || random.below(2) == 0 {
              if !bitmap.releaseCells(itemCount: items.count, at: items.lowerBound) { shadow.fail() }
            } else if bitmap.release(run: items.count, at: items.lowerBound).wasDouble {
              shadow.fail()
            }
          }
        }
        for items in held {
          shadow.give(items, by: UInt(number) << 32)
          var item = items.lowerBound
          while item < items.upperBound {
            let count = min(64 - item % 64, items.upperBound - item)
            if bitmap.release(run: count, at: item).wasDouble { shadow.fail() }
            item += count
          }
        }
      }
      #expect(shadow.violations == 0)
      #expect(bitmap.usedCount() == 0)
      #expect(bitmap.checkInvariants())
    }
  }

  /// The hints' hardest case: two threads that meet again and again in one cell, of which one takes the last item while the
  /// other frees one. What remains must be told right, at every level up to the top.
  @Test func hintsAgreeAfterEveryMeeting() {
    let cells = 64 * 64 + 64  // three levels
    let test = TestBitmap(items: cells * 64, runLengths: [.one, .sixtyFour])
    let bitmap = test.bitmap
    #expect(bitmap.tryClaimCells(cells) == 0)
    let first = (cells - 5) * 64
    bitmap.release(at: first)
    let meeting = Meeting()
    let shadow = Shadow(1)
    @Sendable func check() {
      var cost = SearchCost()
      if bitmap.tree(0).nextOpen(from: 0, below: cells, &cost) != cells - 5 { shadow.fail() }
    }
    TestThread.run(2) { number in
      for round in 0..<Self.scaled(60_000) {
        // One of two items is free, all others are taken. One thread takes it, the other frees the other.
        let free = first + round % 2
        let other = first + (round + 1) % 2
        meeting.wait()
        if number == 0 ? !bitmap.tryClaim(run: 1, at: free) : bitmap.release(at: other).wasDouble { shadow.fail() }
        meeting.wait()
        if number == 0 {
          check()
          // Now all are taken. One thread frees it, the other takes it at once.
          if !bitmap.tryClaim(run: 1, at: other) { shadow.fail() }
        }
        meeting.wait()
        if number == 0 {
          if bitmap.release(at: other).wasDouble { shadow.fail() }
        } else {
          while !bitmap.tryClaim(run: 1, at: other) { yieldThread() }
        }
        meeting.wait()
        if number == 0 {
          var cost = SearchCost()
          if bitmap.tree(0).nextOpen(from: 0, below: cells, &cost) != nil { shadow.fail() }
          bitmap.release(at: other)
          check()
        }
      }
    }
    #expect(shadow.violations == 0)
    #expect(bitmap.checkInvariants())
  }

  /// No search comes before the claims of cells, so nearly every one runs into bits and is rolled back.
  @Test(
    "T4: claims of cells that fail leave foreign bits alone, also while these come and go",
    arguments: [[], [.sixtyFour]] as [RunLengths])
  func rollbacksLeaveForeignBits(_ hints: RunLengths) {
    let test = TestBitmap(items: 6 * 64, runLengths: hints)
    let bitmap = test.bitmap
    let rounds = Self.scaled(300_000)
    let shadow = Shadow(6 * 64)
    TestThread.run(4) { number in
      for round in 0..<rounds {
        if number < 2 {
          var cost = SearchCost()
          if bitmap.claimAll(0, 6, 384, &cost) == nil {
            shadow.take(0..<384, by: UInt(number))
            shadow.give(0..<384, by: UInt(number))
            if !bitmap.releaseCells(itemCount: 384, at: 0) { shadow.fail() }
          }
        } else {
          let index = (round * 67 + number) % 384
          if bitmap.tryClaim(run: 1, at: index) {
            shadow.take(index..<index + 1, by: UInt(number))
            shadow.give(index..<index + 1, by: UInt(number))
            if bitmap.release(at: index).wasDouble { shadow.fail() }
          }
        }
      }
    }
    #expect(shadow.violations == 0)
    #expect(test.values == [0, 0, 0, 0, 0, 0])
    #expect(bitmap.checkInvariants())
  }
}
