/// Whether one of two samples tends to be larger: the exact test of Wilcoxon, Mann and Whitney.
///
/// Nothing is assumed of how the figures are distributed. All ways to deal the ranks out to the two samples are counted, ties
/// by their mean rank, so that the answer is exact however few figures there are.
package enum RankSum {
  /// The probability that samples of the same thing differ by as much or more, in either direction.
  ///
  /// Costs about (n + m)²·n·(n + m) additions: for samples of up to a hundred.
  package static func probability(_ first: [Double], _ second: [Double]) -> Double {
    guard !first.isEmpty, !second.isEmpty else { return 1 }
    let ranks = doubledRanks(first + second)
    let sum = ranks.prefix(first.count).reduce(0, +)
    let total = ranks.reduce(0, +)
    // ways[k][s]: how many ways k of the ranks seen so far add up to s, relative to all ways: no number grows large.
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
