import Foundation

/// Whether one of two samples tends to be larger: the test of Wilcoxon, Mann and Whitney.
///
/// Nothing is assumed of how the figures are distributed. All ways to deal the ranks out to the two samples are counted, ties
/// by their mean rank, so that the answer is exact however few figures there are. Of many, the sum of ranks is normal.
package enum RankSum {
  /// Figures of both up to which all ways are counted: at most 50 over 25, 1.3e14, a whole number that a Double holds. Of
  /// 1000 and 1000 it holds not even their magnitude.
  static let exactLimit = 50

  /// The probability that samples of the same thing differ by as much or more, in either direction.
  package static func probability(_ first: [Double], _ second: [Double]) -> Double {
    guard !first.isEmpty, !second.isEmpty else { return 1 }
    return first.count + second.count <= exactLimit ? exact(first, second) : normal(first, second)
  }

  static func exact(_ first: [Double], _ second: [Double]) -> Double {
    let ranks = doubledRanks(first + second)
    let sum = ranks.prefix(first.count).reduce(0, +)
    let total = ranks.reduce(0, +)
    // ways[k][s]: how many ways k of the ranks seen so far add up to s.
    var ways = [[Double]](repeating: [Double](repeating: 0, count: total + 1), count: first.count + 1)
    ways[0][0] = 1
    for (seen, rank) in ranks.enumerated() {
      for chosen in stride(from: min(seen + 1, first.count), through: 1, by: -1) {
        for value in stride(from: total, through: rank, by: -1) where ways[chosen - 1][value - rank] != 0 {
          ways[chosen][value] += ways[chosen - 1][value - rank]
        }
      }
    }
    // The mean of the sum is n·total/(n + m); all at least as far from it count, in whole numbers.
    let size = first.count + second.count
    let distance = (sum * size - first.count * total).magnitude
    var extreme = 0.0
    var all = 0.0
    for (value, count) in ways[first.count].enumerated() where count != 0 {
      all += count
      if (value * size - first.count * total).magnitude >= distance { extreme += count }
    }
    return extreme / all
  }

  /// By the normal distribution with the mean and the variance of the sum, which ties make smaller; half a rank is taken
  /// off the distance, as sums are whole numbers.
  static func normal(_ first: [Double], _ second: [Double]) -> Double {
    let doubled = doubledRanks(first + second)
    let (n, m) = (Double(first.count), Double(second.count))
    let size = n + m
    let sum = Double(doubled.prefix(first.count).reduce(0, +)) / 2
    // As many figures as have one rank are tied.
    let tied = Dictionary(grouping: doubled, by: { $0 }).values.reduce(0) {
      $0 + pow(Double($1.count), 3) - Double($1.count)
    }
    let variance = n * m / 12 * (size + 1 - tied / (size * (size - 1)))
    guard variance > 0 else { return 1 }
    let distance = max(0, (sum - n * (size + 1) / 2).magnitude - 0.5)
    return erfc(distance / (2 * variance).squareRoot())
  }

  /// Twice each figure's rank, so that the mean rank of a tie is a whole number.
  static func doubledRanks(_ values: [Double]) -> [Int] {
    let order = values.indices.sorted { values[$0] < values[$1] }
    var ranks = [Int](repeating: 0, count: values.count)
    var start = 0
    while start < order.count {
      var end = start
      while end + 1 < order.count, values[order[end + 1]] == values[order[start]] { end += 1 }
      for place in start...end { ranks[order[place]] = start + end + 2 }
      start = end + 1
    }
    return ranks
  }
}
