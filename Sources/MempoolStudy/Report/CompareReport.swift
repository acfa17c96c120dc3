import Foundation

/// A before and an after, point by point: what changed, and what is noise.
package struct CompareReport: Encodable {
  package struct Line: Encodable {
    package let series: String
    package let label: String
    package let before: Double
    package let after: Double
    package let comparison: Comparison
    /// Whether it stands as a difference among all lines.
    package let isDifference: Bool

    /// One sentence's end.
    package var verdict: String {
      guard isDifference else { return "noise" }
      return comparison.ratio >= 1 ? "faster" : "slower"
    }
  }

  package let preset: String
  package let seed: UInt64
  /// After by before of the same computation: what the machine itself did.
  package let referenceRatio: Double
  package let lines: [Line]
  package let notes: [String]

  package init(before: StudyResult, after: StudyResult, seed: UInt64) throws(StudyError) {
    guard before.preset == after.preset else {
      throw StudyError("\(before.preset) and \(after.preset) are different studies")
    }
    // Of a trace the title names it and what is in it.
    guard before.title == after.title, before.axis == after.axis else {
      throw StudyError("two studies of \(before.preset), but not of the same: \(before.title); \(after.title)")
    }
    preset = before.preset
    self.seed = seed
    guard before.reference.median > 0 else { throw StudyError("the first result's reference took no time") }
    referenceRatio = after.reference.median / before.reference.median
    var missing = 0
    var pairs: [(StudyResult.Row, StudyResult.Row)] = []
    for row in before.rows {
      guard let other = after.row(row.series, row.position), other.setup == row.setup else {
        missing += 1
        continue
      }
      pairs.append((row, other))
    }
    missing += after.rows.count { before.row($0.series, $0.position) == nil }
    guard !pairs.isEmpty else { throw StudyError("the two results have no point in common") }
    for (row, _) in pairs where row.operationsPerSecond.values.contains(where: { $0 <= 0 }) {
      throw StudyError(
        "\(row.series) at \(before.axis.labels[row.position]) did nothing in a round of the first result: there is no ratio"
      )
    }
    let comparisons = pairs.map {
      Comparison(before: $0.operationsPerSecond, after: $1.operationsPerSecond, seed: seed)
    }
    let stand = Comparison.discoveries(comparisons.map(\.probability))
    lines = zip(pairs, zip(comparisons, stand)).map { pair, found in
      Line(
        series: pair.0.series, label: before.axis.labels[pair.0.position], before: pair.0.operationsPerSecond.median,
        after: pair.1.operationsPerSecond.median, comparison: found.0, isDifference: found.1)
    }
    var notes = [
      "A difference stands by the rank-sum test when at most 5 % of those that are named may be chance "
        + "(Benjamini and Hochberg, over \(lines.count) points). Intervals of the ratio by bootstrap, seed \(seed)."
    ]
    let least = RankSum.probability(
      pairs[0].0.operationsPerSecond.values.indices.map(Double.init),
      pairs[0].1.operationsPerSecond.values.indices.map { Double($0) + 1e6 })
    if least > 0.05 / Double(lines.count) {
      notes.append(
        "With so few rounds the surest difference has a probability of \(least.short): one changed point alone could not "
          + "be told from chance among so many.")
    }
    if (referenceRatio - 1).magnitude > 0.02 {
      notes.append(
        String(
          format:
            "The machine itself took %.2f of the time for the same computation: the two were not measured under the same conditions.",
          referenceRatio))
    }
    if before.machine.processor != after.machine.processor || before.machine.processors != after.machine.processors {
      notes.append("Two machines: \(before.machine.processor) and \(after.machine.processor).")
    }
    if missing > 0 { notes.append("\(missing) points are only in one of the two, or were set up differently.") }
    self.notes = notes
  }

  package var text: String {
    var table = [["", "before/s", "after/s", "ratio", "95 % within", "p", ""]]
    for line in lines {
      table.append([
        "\(line.series) at \(line.label)", line.before.short, line.after.short,
        String(format: "%.3f", line.comparison.ratio),
        String(format: "%.3f … %.3f", line.comparison.lower, line.comparison.upper),
        line.comparison.probability.short, line.verdict,
      ])
    }
    let changed = lines.count(where: \.isDifference)
    return (StudyResult.aligned(table) + ["", "\(changed) of \(lines.count) points differ."] + notes)
      .joined(separator: "\n")
  }

  package func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }
}
