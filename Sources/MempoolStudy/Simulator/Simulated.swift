/// A preset on the simulated machine, beside what was measured.
package struct Simulated: Codable, Equatable, Sendable {
  package struct Row: Codable, Equatable, Sendable {
    package var series: String
    package var cores: Int
    package var operationsPerSecond: Double
  }

  /// Where both are: at most as many threads as the machine has processors, and, if they are several, these had them.
  package struct Check: Codable, Equatable, Sendable {
    package var series: String
    package var threads: Int
    package var measured: Double
    package var simulated: Double
    /// Simulated by measured: 1 is right.
    package var ratio: Double { simulated / measured }
  }

  package var costs: SimulatedCosts
  package var cores: [Int]
  package var rows: [Row]
  package var checks: [Check]
  /// Points that were measured while others had the processors for more than a tenth of the time: these compare nothing.
  package var unfit: Int

  /// The factor by which the simulation is off, half the checks less and half more; and at worst. 1 is right.
  package var typicalFactor: Double { factors.isEmpty ? 1 : Sample(factors).median }
  package var worstFactor: Double { factors.max() ?? 1 }
  private var factors: [Double] { checks.map { max($0.ratio, 1 / $0.ratio) } }

  /// - Parameter measured: The preset's rows, whose setups vary the number of threads.
  package init(
    _ preset: Preset, measured: [StudyResult.Row], costs: SimulatedCosts, processors: Int, seed: UInt64
  ) {
    self.costs = costs
    cores = preset.simulatedCores
    rows = []
    checks = []
    unfit = 0
    var seen: [String] = []
    for point in preset.points where !seen.contains(point.series) {
      seen.append(point.series)
      for count in cores {
        let setup = point.setup.with {
          $0.threads = count
          // Fewer cells than cores cannot be owned.
          if $0.placement == .owned { $0.cells = max($0.cells, count) }
        }
        let run = SimulatedRun.run(setup, costs: costs, operationCount: max(5000, 100 * count), seed: seed)
        rows.append(Row(series: point.series, cores: count, operationsPerSecond: run.operationsPerSecond))
      }
    }
    for row in measured where row.threads <= processors {
      let idle = row.claims?.withoutProcessorPercent.values ?? []
      guard row.threads == 1 || Sample(idle).median <= 10 else {
        unfit += 1
        continue
      }
      guard let simulated = rows.first(where: { $0.series == row.series && $0.cores == row.threads }) else { continue }
      // Of the time in which the threads had a processor: on the simulated machine they always do.
      let speeds = zip(row.operationsPerSecond.values, idle).map { $0 / (1 - min($1, 99) / 100) }
      checks.append(
        Check(
          series: row.series, threads: row.threads, measured: Sample(speeds).median,
          simulated: simulated.operationsPerSecond))
    }
  }
}
