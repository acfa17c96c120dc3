/// How evenly something is shared.
package enum Fairness {
  /// Jain's index: (Σx)² / (n·Σx²). 1 when all have the same, 1/n when one has all; 1 when nobody has anything.
  ///
  /// Jain, Chiu, Hawe: A Quantitative Measure of Fairness and Discrimination, DEC-TR-301, 1984.
  package static func jain(_ shares: [Double]) -> Double {
    let sum = shares.reduce(0, +)
    let squares = shares.reduce(0) { $0 + $1 * $1 }
    return squares == 0 ? 1 : sum * sum / (Double(shares.count) * squares)
  }
}
