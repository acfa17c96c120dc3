import Testing

@testable import MempoolStudy

@Suite struct SampleTests {
  @Test func medians() {
    #expect(Sample([3]).median == 3)
    #expect(Sample([9, 1, 5]).median == 5)
    #expect(Sample([4, 1, 3, 2]).median == 2.5)
    #expect(Sample([0, 10, 20, 30, 40]).quantile(0.25) == 10)
    #expect(Sample([0, 10, 20, 30, 40]).relativeSpread == 0.5)
  }

  /// The ranks and coverages of tables of the sign test: from which figure to which, and how surely.
  @Test(arguments: [
    (5, 1, 0.9375), (6, 1, 0.96875), (8, 1, 0.9921875), (9, 2, 0.9609375), (10, 2, 0.978515625), (15, 4, 0.96484375),
    (20, 6, 0.958610534667969), (25, 8, 0.956714749336243), (1, 1, 0),
  ])
  func medianIntervals(count: Int, rank: Int, coverage: Double) {
    let interval = Sample((1...count).map(Double.init).shuffled()).medianInterval()
    #expect(interval.lower == Double(rank))
    #expect(interval.upper == Double(count + 1 - rank))
    #expect((interval.coverage - coverage).magnitude < 1e-12)
  }

  /// Of many samples of something whose median is known, as many intervals hold it as they say.
  @Test func intervalsCoverWhatTheySay() {
    var random = SplitMix64(seed: 7)
    let trials = 4000
    var covered = 0
    var said = 0.0
    for _ in 0..<trials {
      // Skewed: the square of an even one, whose median is a quarter.
      let interval = Sample((0..<9).map { _ in random.fraction() }.map { $0 * $0 }).medianInterval()
      if interval.lower <= 0.25, 0.25 <= interval.upper { covered += 1 }
      said = interval.coverage
    }
    // Five standard deviations of so many trials.
    #expect((Double(covered) / Double(trials) - said).magnitude < 0.016)
  }

  @Test func fairness() {
    #expect(Fairness.jain([5, 5, 5, 5]) == 1)
    #expect(Fairness.jain([8, 0, 0, 0]) == 0.25)
    #expect((Fairness.jain([1, 2, 3]) - 36.0 / 42).magnitude < 1e-15)
    #expect(Fairness.jain([0, 0]) == 1)
  }
}
