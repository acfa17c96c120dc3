import Foundation

/// Figures of one thing, measured several times.
///
/// The middle is the median: a round in which somebody else had the processor moves it by one place at most.
package struct Sample: Codable, Equatable, Sendable {
  /// As they were measured, in that order: a drift can be seen in it.
  package let values: [Double]

  /// Of at least one figure.
  package init(_ values: [Double]) {
    precondition(!values.isEmpty, "a sample of nothing has no median")
    self.values = values
  }

  /// Of a file, which may say anything.
  package init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    values = try container.decode([Double].self, forKey: .values)
    guard !values.isEmpty, values.allSatisfy(\.isFinite) else {
      throw DecodingError.dataCorruptedError(forKey: .values, in: container, debugDescription: "no figures")
    }
  }

  package var count: Int { values.count }

  package var median: Double { quantile(0.5) }

  /// The figure below which this part of them lies, between two where it falls between.
  package func quantile(_ part: Double) -> Double { Sample.quantile(part, ofSorted: values.sorted()) }

  static func quantile(_ part: Double, ofSorted sorted: [Double]) -> Double {
    let place = part * Double(sorted.count - 1)
    let lower = Int(place)
    let upper = min(lower + 1, sorted.count - 1)
    return sorted[lower] + (sorted[upper] - sorted[lower]) * (place - Double(lower))
  }

  /// Half of what the middle half spans, by the median: what two rounds usually differ by. 0 where the median is.
  package var relativeSpread: Double {
    let sorted = values.sorted()
    let middle = Sample.quantile(0.5, ofSorted: sorted)
    guard middle != 0 else { return 0 }
    return (Sample.quantile(0.75, ofSorted: sorted) - Sample.quantile(0.25, ofSorted: sorted)) / 2 / middle.magnitude
  }

  /// Where the median of what was sampled lies.
  package struct Interval: Codable, Equatable, Sendable {
    package let lower: Double
    package let upper: Double
    /// The probability that it holds the median: at least what was asked for, or all that so few figures can give.
    package let coverage: Double

    package init(lower: Double, upper: Double, coverage: Double) {
      self.lower = lower
      self.upper = upper
      self.coverage = coverage
    }
  }

  /// Between the k-th smallest and the k-th largest figure, with the largest k that covers enough.
  ///
  /// How many of the figures lie below the median of what they are drawn from is binomial, whatever that is, as long as
  /// they are drawn independently: P = 1 − 2·P(Bin(n, ½) < k). Of fewer than six figures not even all span reaches 95 %.
  package func medianInterval(coverage wanted: Double = 0.95) -> Interval {
    let sorted = values.sorted()
    var below = pow(0.5, Double(count))  // P(Bin(n, ½) < k) for k = 1
    var term = below
    var rank = 1
    while rank < (count + 1) / 2 {
      term *= Double(count - rank + 1) / Double(rank)
      guard 1 - 2 * (below + term) >= wanted else { break }
      below += term
      rank += 1
    }
    return Interval(lower: sorted[rank - 1], upper: sorted[count - rank], coverage: max(0, 1 - 2 * below))
  }
}
