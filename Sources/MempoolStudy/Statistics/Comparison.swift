import Foundation

/// A before and an after of one thing: by how much they differ, and whether that is more than noise.
package struct Comparison: Codable, Equatable, Sendable {
  /// After by before, of the medians.
  package let ratio: Double
  /// Where that ratio lies with 95 %, by bootstrap.
  package let lower: Double
  package let upper: Double
  /// The probability that two samples of the same thing differ by as much (``RankSum``).
  package let probability: Double

  package static let resampleCount = 2000

  /// - Parameter seed: Of the bootstrap; the same seed gives the same interval.
  package init(before: Sample, after: Sample, seed: UInt64) {
    var random = SplitMix64(seed: seed)
    func resampledMedian(_ sample: Sample) -> Double {
      let drawn = (0..<sample.count).map { _ in sample.values[Int(random.below(UInt64(sample.count)))] }
      return Sample(drawn).median
    }
    let ratios = (0..<Comparison.resampleCount).map { _ in
      Comparison.ratio(resampledMedian(before), resampledMedian(after))
    }.sorted()
    ratio = Comparison.ratio(before.median, after.median)
    lower = Sample.quantile(0.025, ofSorted: ratios)
    upper = Sample.quantile(0.975, ofSorted: ratios)
    probability = RankSum.probability(before.values, after.values)
  }

  /// 1 where both are 0: nothing has changed.
  private static func ratio(_ before: Double, _ after: Double) -> Double {
    before == after ? 1 : after / before
  }

  /// Which of many probabilities stand for a difference when at most this part of those that are named may be wrong.
  ///
  /// Who looks at forty rows finds two with a probability below 5 % in pure noise. Benjamini and Hochberg, 1995: with the
  /// probabilities in order, the largest k for which the k-th is at most k/m of the part; it and all below stand.
  package static func discoveries(_ probabilities: [Double], falsePart: Double = 0.05) -> [Bool] {
    let order = probabilities.indices.sorted { probabilities[$0] < probabilities[$1] }
    var stand = [Bool](repeating: false, count: probabilities.count)
    let last = order.indices.last { place in
      probabilities[order[place]] <= falsePart * Double(place + 1) / Double(order.count)
    }
    guard let last else { return stand }
    for place in 0...last { stand[order[place]] = true }
    return stand
  }
}
