import Testing

@testable import MempoolStudy

@Suite struct ComparisonTests {
  /// As in tables of the exact distribution: 2/C(10, 5), 2/C(6, 3), and others by hand.
  @Test func rankSums() {
    #expect((RankSum.probability([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) - 2.0 / 252).magnitude < 1e-12)
    #expect((RankSum.probability([7, 8, 9], [1, 2, 3]) - 0.1).magnitude < 1e-12)
    // Sums of 6 or 7 of 1…6 in threes, and as far at the other end: 2 of 20 each.
    #expect((RankSum.probability([1, 2, 4], [3, 5, 6]) - 0.2).magnitude < 1e-12)
    #expect(RankSum.probability([1, 2], [1, 2]) == 1)
    #expect(RankSum.probability([4, 4, 4], [4, 4, 4]) == 1)
    #expect(RankSum.probability([], [1]) == 1)
  }

  @Test func ranksOfTies() {
    #expect(RankSum.doubledRanks([10, 20, 20, 5]) == [4, 7, 7, 2])
  }

  /// Against counting every way to choose.
  @Test func rankSumsAgainstBruteForce() {
    var random = SplitMix64(seed: 11)
    for _ in 0..<200 {
      let first = (0..<Int(random.below(4)) + 1).map { _ in Double(random.below(6)) }
      let second = (0..<Int(random.below(4)) + 1).map { _ in Double(random.below(6)) }
      let ranks = RankSum.doubledRanks(first + second)
      let mean = Double(ranks.reduce(0, +) * first.count) / Double(ranks.count)
      let seen = (Double(ranks.prefix(first.count).reduce(0, +)) - mean).magnitude
      var ways = 0
      var extreme = 0
      for chosen in 0..<1 << ranks.count where chosen.nonzeroBitCount == first.count {
        ways += 1
        let sum = ranks.indices.reduce(0) { $0 + (chosen >> $1 & 1) * ranks[$1] }
        if (Double(sum) - mean).magnitude >= seen - 1e-9 { extreme += 1 }
      }
      #expect((RankSum.probability(first, second) - Double(extreme) / Double(ways)).magnitude < 1e-12)
    }
  }

  /// Where both can be had, the normal distribution gives what counting gives; and then it goes on, to any size.
  @Test(arguments: [0, 2, 4, 8])
  func manyFigures(shift: Int) {
    var random = SplitMix64(seed: UInt64(shift))
    for tied in [false, true] {
      func sample(_ count: Int, _ shift: Int) -> [Double] {
        (0..<count).map { _ in tied ? Double(Int(random.below(30)) + shift) : 30 * random.fraction() + Double(shift) }
      }
      let (first, second) = (sample(25, 0), sample(25, shift))
      let (exact, normal) = (RankSum.exact(first, second), RankSum.normal(first, second))
      #expect((exact - normal).magnitude < 0.005, "\(exact), \(normal)")
      if !tied { #expect(RankSum.probability(first, second) == exact) }
      #expect(RankSum.probability(first + [0], second) == RankSum.normal(first + [0], second))
      let large = RankSum.probability(sample(1000, 0), sample(1000, shift))
      #expect(shift == 0 ? large > 0.001 : large.isFinite)
      if shift >= 4 { #expect(large < 1e-9) }
    }
    #expect(RankSum.probability([Double](repeating: 4, count: 60), [4, 4, 4]) == 1)
  }

  @Test func aDifferenceAndNone() {
    let before = Sample([100, 101, 99, 102, 98, 100.5, 99.5])
    let after = Sample(before.values.map { $0 * 1.2 })
    let comparison = Comparison(before: before, after: after, seed: 1)
    #expect((comparison.ratio - 1.2).magnitude < 1e-12)
    #expect(comparison.lower > 1.1 && comparison.lower <= comparison.ratio)
    #expect(comparison.upper < 1.3 && comparison.upper >= comparison.ratio)
    #expect(comparison.probability < 0.001)
    #expect(comparison == Comparison(before: before, after: after, seed: 1))
    let same = Comparison(before: before, after: before, seed: 1)
    #expect(same.ratio == 1 && same.probability == 1 && same.lower <= 1 && same.upper >= 1)
    #expect(Comparison(before: Sample([0, 0]), after: Sample([0, 0]), seed: 1).ratio == 1)
  }

  /// The example of Benjamini and Hochberg's paper: 15 probabilities, of which 4 stand.
  @Test func discoveries() {
    let probabilities = [
      0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1,
    ]
    #expect(Comparison.discoveries(probabilities) == (0..<15).map { $0 < 4 })
    #expect(Comparison.discoveries(probabilities.reversed()) == (0..<15).map { $0 >= 11 })
    #expect(Comparison.discoveries([]) == [])
    #expect(Comparison.discoveries([0.06]) == [false])
  }
}
