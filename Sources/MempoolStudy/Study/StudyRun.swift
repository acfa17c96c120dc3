import Foundation

/// Runs a preset: its points in another order in each round, so that what the machine does meanwhile meets all of them.
package struct StudyRun {
  package let preset: Preset
  package var rounds = 9
  package var milliseconds = 60
  package var seed: UInt64 = 1
  package var command = ""

  package init(_ preset: Preset) { self.preset = preset }

  /// Less of everything: half a minute at most.
  package mutating func beQuick() {
    rounds = 5
    milliseconds = 20
  }

  /// - Parameters:
  ///   - progress: Told before each run which part of all is done, in 0…1.
  ///   - isInterrupted: Asked before each run. What was measured until then is the result; the rounds of a point may differ.
  /// - Returns: Nil when nothing was measured.
  package func run(
    progress: (Double) -> Void, isInterrupted: () -> Bool
  ) throws(StudyError) -> StudyResult? {
    let calibration = Calibration.measure()
    var machine = Machine.look(calibration)
    var random = SplitMix64(seed: seed)
    var results = [[ClaimRun.Result]](repeating: [], count: preset.points.count)
    var reference: [Double] = []
    var completed = 0
    // The first round is for page faults and the clock of the processor to settle.
    rounds: for round in 0...rounds {
      for (step, index) in preset.points.indices.shuffled(using: &random).enumerated() {
        if isInterrupted() { break rounds }
        let done = Double(round * preset.points.count + step) / Double((rounds + 1) * preset.points.count)
        progress(done)
        let result = try ClaimRun.run(
          preset.points[index].setup, FullTally.self, seconds: Double(milliseconds) / 1000,
          seed: seed &+ UInt64(round) &* 0x100_0000, calibration: calibration)
        guard result.isEmptyAtEnd else { throw StudyError("an item was lost by \(preset.points[index].setup)") }
        if round > 0 { results[index].append(result) }
      }
      reference.append(Machine.reference())
      completed = round
    }
    guard results.contains(where: { !$0.isEmpty }) else { return nil }
    progress(1)
    machine.loadAtEnd = Machine.load()
    let rows = zip(preset.points, results).compactMap { $1.isEmpty ? nil : Self.row($0, $1) }
    var result = StudyResult(
      preset: preset.name, title: preset.title, question: preset.question, command: command, seed: seed,
      millisecondsPerRun: milliseconds, roundsWanted: rounds, rounds: completed, machine: machine,
      reference: Sample(reference), axis: .init(title: preset.axisTitle, labels: preset.axisLabels), rows: rows,
      simulated: nil)
    if !preset.simulatedCores.isEmpty {
      result.simulated = Simulated(
        preset, measured: rows, costs: try .measure(calibration), processors: machine.processors, seed: seed)
    }
    return result
  }

  private static func row(_ point: Preset.Point, _ results: [ClaimRun.Result]) -> StudyResult.Row {
    func sample(_ value: (ClaimRun.Result) -> Double) -> Sample { Sample(results.map(value)) }
    func perOperation(_ count: @escaping (ClaimCounters) -> UInt64) -> Sample {
      sample { Double(count($0.counters)) / Double(max(1, $0.counters.operations)) }
    }
    func percent(_ nanoseconds: @escaping (ClaimCounters, Double) -> Double) -> Sample {
      sample { result in
        let all = result.seconds * 1e9 * Double(point.setup.threads)
        return 100 * max(0, nanoseconds(result.counters, all)) / all
      }
    }
    var latencies = LatencyHistogram()
    for result in results { latencies.merge(result.latencies) }
    let claims = StudyResult.Claims(
      fairness: sample(\.fairness),
      failuresPerThousand: sample {
        1000 * Double($0.counters.failures) / Double(max(1, $0.counters.failures + $0.counters.operations))
      },
      attemptsPerOperation: perOperation(\.attempts), lostSwapsPerOperation: perOperation(\.lostSwaps),
      retriesPerOperation: perOperation(\.retries),
      waitingPercent: percent { counters, _ in Double(counters.waitNanoseconds) },
      withoutProcessorPercent: percent { counters, all in
        // A sleep is a wait; what is left of the time without a processor was taken by others.
        let asleep = point.setup.wait.givesProcessorUp ? Double(counters.waitNanoseconds) : 0
        return all - Double(counters.processorNanoseconds) - asleep
      },
      voluntarySwitchesPerSecond: sample { Double($0.counters.voluntarySwitches) / $0.seconds },
      involuntarySwitchesPerSecond: sample { Double($0.counters.involuntarySwitches) / $0.seconds })
    return StudyResult.Row(
      series: point.series, position: point.position, threads: point.setup.threads, setup: point.setup,
      operationsPerSecond: sample(\.operationsPerSecond), latency: StudyResult.Latency(latencies), claims: claims,
      peakMebibytes: nil)
  }
}

extension ClaimSetup.Wait {
  /// Whether somebody else may have the processor meanwhile.
  var givesProcessorUp: Bool { self == .sleep || self == .futex || self == .yield }
}
