/// What came of a scenario.
struct Outcome {
  let scenario: String
  let setting: Setting
  let liveThreads: Int
  let elapsed: Double
  let rounds: Int
  let operations: UInt64
  let failures: [String]
  /// What the machine did not allow, and why.
  let skipped: [String]
  let counters: Counters
  /// The process's peak so far, those of earlier scenarios included.
  let peakBytes: Int

  var exitCode: ExitCode {
    liveThreads < setting.threads ? .tooFewThreads : failures.isEmpty ? .clean : .checkFailed
  }

  var replay: String { setting.replay(scenario) }

  /// For people: one line, and one a failure.
  var text: String {
    let verdict =
      switch exitCode {
      case .tooFewThreads: "ONLY \(liveThreads) OF \(setting.threads) THREADS"
      case .clean: "ok"
      default: "FAILED"
      }
    var text = "\(scenario): \(verdict), \(operations) operations in \(decimal(elapsed)) s, \(rounds) rounds"
    let counts = counters.nonZero.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    if !counts.isEmpty { text += "\n  \(counts)" }
    for skipped in skipped { text += "\n  not run: \(skipped)" }
    for failure in failures { text += "\n  failure: \(failure)" }
    if exitCode == .tooFewThreads { text += "\n  ask for at most \(liveThreads): the machine gives no more" }
    if exitCode != .clean { text += "\n  replay: \(replay)" }
    return text
  }

  var json: JSON {
    .object([
      ("scenario", .string(scenario)),
      ("passed", .bool(exitCode == .clean)),
      ("threads", .number(setting.threads)),
      ("liveThreads", .number(liveThreads)),
      ("seconds", .decimal(setting.seconds)),
      ("elapsed", .decimal(elapsed)),
      ("seed", .string("0x" + String(setting.seed, radix: 16))),
      ("rounds", .number(rounds)),
      ("operations", .number(Int(operations))),
      ("failures", .array(failures.map(JSON.string))),
      ("skipped", .array(skipped.map(JSON.string))),
      (
        "statistics",
        .object(
          counters.nonZero.map { ($0.name, .number(Int($0.value))) } + [("peakResidentBytes", .number(peakBytes))])
      ),
      ("replay", .string(replay)),
    ])
  }
}

/// What the process says to its caller.
enum ExitCode: Int32 {
  case clean = 0
  case checkFailed = 1
  case tooFewThreads = 2
  case usage = 64
}

/// One digit after the point.
func decimal(_ value: Double) -> String {
  let tenths = Int((value * 10).rounded())
  return "\(tenths / 10).\(tenths % 10)"
}
