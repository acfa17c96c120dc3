import Testing

@testable import MempoolCore

/// Pure functions against brute force.
@Suite struct CellTests {
  /// First fit, one item after the other.
  static func bruteForce(_ count: Int, _ cell: UInt) -> Int? {
    var free = 0
    for bit in 0..<UInt.bitWidth {
      free = cell >> UInt(bit) & 1 == 0 ? free + 1 : 0
      if free == count { return bit - count + 1 }
    }
    return nil
  }

  /// For every count at once: the first run of at least that length. `first[n]`, -1 for none.
  static func allFirstFits(_ cell: UInt) -> [Int] {
    var first = [Int](repeating: -1, count: UInt.bitWidth + 1)
    var longest = 0
    var start = 0
    for bit in 0...UInt.bitWidth where bit == UInt.bitWidth || cell >> UInt(bit) & 1 == 1 {
      while longest < bit - start {
        longest += 1
        first[longest] = start
      }
      start = bit + 1
    }
    return first
  }

  private func check(_ cell: UInt) -> Bool {
    let first = Self.allFirstFits(cell)
    for count in 1...UInt.bitWidth {
      let expected = first[count] < 0 ? nil : first[count]
      guard Cell.findRun(of: count, in: cell) == expected, Cell.hasRun(of: count, in: cell) == (expected != nil) else {
        Issue.record("cell \(String(cell, radix: 2)), run of \(count): expected \(String(describing: expected))")
        return false
      }
    }
    return true
  }

  @Test func theReferenceIsRight() {
    var random = SplitMix64(seed: 7)
    for _ in 0..<200 {
      let cell = random.next() & random.next()
      let first = Self.allFirstFits(UInt(cell))
      for count in 1...UInt.bitWidth { #expect((Self.bruteForce(count, UInt(cell)) ?? -1) == first[count]) }
    }
  }

  /// Searching goes past a candidate that fails, and sees the last position.
  @Test("T1: for words of every pattern and for every n, search is brute-force first fit")
  func every16BitPatternAnywhereInTheWord() {
    for pattern in UInt(0)...0xffff {
      for shift in stride(from: UInt(0), through: UInt(UInt.bitWidth - 16), by: 8) {
        // The pattern in an otherwise free and in an otherwise taken word.
        guard check(pattern << shift), check(~(~pattern & 0xffff) << shift | (1 << shift - 1)) else { return }
        guard check(~((~pattern & 0xffff) << shift)) else { return }
      }
    }
  }

  @Test("T1: for random words and every n, search is brute-force first fit")
  func randomWords() {
    let seed = SplitMix64.seed("CellTests.randomWords")
    var random = SplitMix64(seed: seed)
    for _ in 0..<100_000 {
      let word = UInt(random.next())
      for cell in [word, word & UInt(random.next()), word | UInt(random.next()), word & (word >> 1), word | word << 3] {
        guard check(cell) else { return }
      }
    }
  }

  @Test("T1: the word 0b10 has a run of 4, and the last position is one")
  func theOriginalsExample() {
    #expect(Cell.findRun(of: 4, in: 0b10) == 2)
    #expect(Cell.findRun(of: 63, in: 1) == 1)
    #expect(Cell.findRun(of: 64, in: 0) == 0)
    #expect(Cell.findRun(of: 64, in: 1 << 63) == nil)
    #expect(Cell.findRun(of: 1, in: ~(1 << 63)) == 63)
    #expect(Cell.findRun(of: 1, in: Cell.busy) == nil)
  }

  @Test(arguments: [-1, 0, 65, 128, Int.max, Int.min]) func countsOutOfRangeAreNowhere(_ count: Int) {
    #expect(Cell.findRun(of: count, in: 0) == nil)
    #expect(!Cell.hasRun(of: count, in: 0))
  }

  @Test("T2: the mask of a full word does not overflow")
  func masks() {
    #expect(Cell.mask(64, at: 0) == ~0)
    for count in 1...64 {
      for bit in 0...(64 - count) {
        var expected: UInt = 0
        for item in bit..<bit + count { expected |= 1 << UInt(item) }
        #expect(Cell.mask(count, at: bit) == expected)
      }
    }
  }

  @Test func surplusBits() {
    #expect(Cell.surplus(beyond: 64) == 0)
    #expect(Cell.surplus(beyond: 1000) == 0)
    #expect(Cell.surplus(beyond: 0) == ~0)
    #expect(Cell.surplus(beyond: -5) == ~0)
    for count in 1..<64 { #expect(Cell.surplus(beyond: count) == ~Cell.mask(count, at: 0)) }
  }

  @Test func cellCounts() {
    for items in 0..<1000 { #expect(Cell.count(forItems: items) == (items + 63) / 64) }
  }
}
