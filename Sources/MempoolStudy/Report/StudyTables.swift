import Foundation

extension Double {
  /// In as few digits as tell it apart: `12.3 M`, `0.123`.
  var short: String {
    switch magnitude {
    case 0: return "0"
    case 1e9...: return String(format: "%.3g G", self / 1e9)
    case 999_500...: return String(format: "%.3g M", self / 1e6)
    case 9_995...: return String(format: "%.3g k", self / 1e3)
    case 1000...: return String(format: "%.0f", self)
    case 0.001...: return String(format: "%.3g", self)
    default: return String(format: "%.1g", self)
    }
  }
}

/// The figures of a result as tables: for a spreadsheet, and for a terminal.
extension StudyResult {
  /// A line a point; medians, with the interval of the throughput.
  package var csv: String {
    let columns = [
      "preset", "series", "position", "label", "threads", "rounds", "operations_per_second", "lower", "upper",
      "coverage",
      "fairness", "failures_per_thousand", "attempts_per_operation", "lost_swaps_per_operation",
      "retries_per_operation",
      "waiting_percent", "without_processor_percent", "voluntary_switches_per_second",
      "involuntary_switches_per_second", "peak_mebibytes", "p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "p99_99_ns",
      "max_ns",
    ]
    let lines = rows.map { row -> String in
      let interval = row.operationsPerSecond.medianInterval()
      let claims = row.claims
      let figures: [Double?] = [
        row.operationsPerSecond.median, interval.lower, interval.upper, interval.coverage, claims?.fairness.median,
        claims?.failuresPerThousand.median, claims?.attemptsPerOperation.median, claims?.lostSwapsPerOperation.median,
        claims?.retriesPerOperation.median, claims?.waitingPercent.median, claims?.withoutProcessorPercent.median,
        claims?.voluntarySwitchesPerSecond.median, claims?.involuntarySwitchesPerSecond.median,
        row.peakMebibytes?.median,
      ]
      let latency = row.latency.map { [$0.p50, $0.p90, $0.p99, $0.p999, $0.p9999, $0.maximum].map(String.init) }
      let head = [
        preset, row.series, String(row.position), axis.labels[row.position], String(row.threads),
        String(row.operationsPerSecond.count),
      ]
      return
        (head + figures.map { $0.map { String(format: "%.6g", $0) } ?? "" }
        + (latency ?? Array(repeating: "", count: 6)))
        .map(Self.quoted).joined(separator: ",")
    }
    return ([columns.joined(separator: ",")] + lines).joined(separator: "\n") + "\n"
  }

  /// As RFC 4180 has it.
  private static func quoted(_ field: String) -> String {
    field.contains { $0 == "," || $0 == "\"" || $0 == "\n" }
      ? "\"\(field.replacingOccurrences(of: "\"", with: "\"\""))\"" : field
  }

  /// The series in the order in which they first come.
  package var seriesNames: [String] {
    var names: [String] = []
    for row in rows where !names.contains(row.series) { names.append(row.series) }
    return names
  }

  package func row(_ series: String, _ position: Int) -> Row? {
    rows.first { $0.series == series && $0.position == position }
  }

  /// What a line of a table says, beside the series: of claims, and of allocators.
  package var tableHead: [String] {
    let first = ["series", "operations/s", "median within"]
    let last = ["p50 ns", "p99 ns", "p99.99 ns"]
    let isOfClaims = rows.contains { $0.claims != nil }
    return first + (isOfClaims ? ["gave up ‰", "attempts", "retries", "waiting", "fairness"] : ["peak MiB"]) + last
  }

  package func tableLine(_ row: Row) -> [String] {
    let interval = row.operationsPerSecond.medianInterval()
    var line = [row.series, row.operationsPerSecond.median.short, "\(interval.lower.short) … \(interval.upper.short)"]
    if let claims = row.claims {
      line += [
        claims.failuresPerThousand.median.short, claims.attemptsPerOperation.median.short,
        claims.retriesPerOperation.median.short, "\(claims.waitingPercent.median.short) %",
        claims.fairness.median.short,
      ]
    } else {
      line.append(row.peakMebibytes?.median.short ?? "")
    }
    return line + (row.latency.map { [$0.p50, $0.p99, $0.p9999].map { Double($0).short } } ?? ["", "", ""])
  }

  /// What is to be said of the machine and of how far the figures can be trusted, a sentence each.
  package var caveats: [String] {
    var notes: [String] = []
    let oversubscribed = Set(rows.map(\.threads)).filter { $0 > machine.processors }.sorted()
    if !oversubscribed.isEmpty {
      notes.append(
        "\(oversubscribed.map(String.init).joined(separator: ", ")) threads are more than this machine's "
          + "\(machine.processors) processors: there the scheduler is measured, too, and fairness is that of its turns."
      )
    }
    if !isComplete {
      notes.append("Interrupted: \(rounds) of \(roundsWanted) rounds are whole, and points may be missing.")
    }
    if machine.loadAtStart > 0.5 || machine.loadAtEnd > Double(machine.processors) + 1 {
      notes.append(
        String(
          format: "Others used the machine: the load was %.1f at the start and %.1f at the end, of %d processors.",
          machine.loadAtStart, machine.loadAtEnd, machine.processors))
    }
    notes.append(
      String(
        format:
          "The same computation took %.1f %% more or less in half of the rounds, at most %.0f %% more than its fastest: "
          + "less than that is noise.",
        100 * reference.relativeSpread, 100 * ((reference.values.max() ?? 1) / (reference.values.min() ?? 1) - 1)))
    notes.append(
      String(
        format: "One call in 61 is timed. Reading the clock takes %.0f ns, which is subtracted from each latency.",
        machine.calibration.clockNanoseconds))
    if let interval = rows.first?.operationsPerSecond.medianInterval(), interval.coverage < 0.95 {
      notes.append(
        String(
          format: "With %d rounds the whole span of the figures holds the median with %.0f %%, not 95.",
          rows[0].operationsPerSecond.count, 100 * interval.coverage))
    }
    return notes
  }

  /// For a terminal.
  package var text: String {
    var lines = ["\(title): \(question)", ""]
    for (position, label) in axis.labels.enumerated() {
      let here = rows.filter { $0.position == position }
      guard !here.isEmpty else { continue }
      lines.append("\(axis.title) \(label)")
      lines += Self.aligned([tableHead] + here.map(tableLine)).map { "  \($0)" }
      lines.append("")
    }
    return (lines + caveats).joined(separator: "\n")
  }

  /// Columns of one width, the first to the left and the others to the right.
  package static func aligned(_ table: [[String]]) -> [String] {
    let widths = (table.first ?? []).indices.map { column in table.map { $0[column].count }.max() ?? 0 }
    return table.map { line in
      zip(line, widths).enumerated().map { column, cell in
        let space = String(repeating: " ", count: cell.1 - cell.0.count)
        return column == 0 ? cell.0 + space : space + cell.0
      }.joined(separator: "  ")
    }
  }
}
