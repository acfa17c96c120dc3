import Glibc

/// The program: reads the command line, runs what it asks for, tells what came of it.
enum Command {
  static func run(_ arguments: [String]) -> ExitCode {
    if arguments.first == OwnProcess.errandOption { return OwnProcess.runErrand(Array(arguments.dropFirst())) }
    let options: Options
    do {
      options = try Options(arguments)
    } catch {
      writeError("mempool-stress: \(error.message)\nmempool-stress --help tells more\n")
      return .usage
    }
    if options.wantsHelp {
      print(Options.help)
      return .clean
    }
    if options.wantsList {
      print(Options.list)
      return .clean
    }
    CrashLine.install()
    return run(options)
  }

  private static func run(_ options: Options) -> ExitCode {
    let setting = Setting(
      threads: options.threads, seconds: options.seconds / Double(options.scenarios.count), seed: options.seed,
      pools: options.pools)
    let progress = Progress()
    var outcomes: [Outcome] = []
    for scenario in options.scenarios {
      CrashLine.set(setting.replay(scenario.name))
      let outcome = Run(scenario, setting, progress: progress).perform()
      outcomes.append(outcome)
      print(outcome.text)
      fflush(nil)
      if outcome.exitCode != .clean { break }
    }
    let code = outcomes.last?.exitCode ?? .clean
    print(summary(outcomes))
    if code == .clean { print("replay: \(replayAll(options))") }
    let written = options.jsonPath.map { write(outcomes, options, to: $0) } ?? true
    return code == .clean && !written ? .checkFailed : code
  }

  /// One line: how many scenarios, and what of them did not run.
  private static func summary(_ outcomes: [Outcome]) -> String {
    let clean = outcomes.filter { $0.exitCode == .clean }.count
    let skipped = outcomes.flatMap(\.skipped)
    return "scenarios: \(clean) ok, \(outcomes.count - clean) failed; parts not run: \(skipped.count)"
      + (skipped.isEmpty ? "" : " (" + skipped.joined(separator: "; ") + ")")
  }

  private static func replayAll(_ options: Options) -> String {
    let setting = Setting(
      threads: options.threads, seconds: options.seconds, seed: options.seed, pools: options.pools)
    let isAll = options.scenarios.count == scenarios.count
    return setting.replay(isAll ? "all" : options.scenarios.map { $0.name }.joined(separator: ","))
  }

  private static func write(_ outcomes: [Outcome], _ options: Options, to path: String) -> Bool {
    let result = JSON.object([
      ("passed", .bool(outcomes.allSatisfy { $0.exitCode == .clean })),
      ("sanitizer", .string(Sanitizer.current.rawValue)),
      ("threads", .number(options.threads)),
      ("seconds", .decimal(options.seconds)),
      ("seed", .string("0x" + String(options.seed, radix: 16))),
      ("scenarios", .array(outcomes.map(\.json))),
      ("skipped", .number(outcomes.reduce(0) { $0 + $1.skipped.count })),
      ("replay", .string(replayAll(options))),
    ])
    if path == "-" {
      print(result.text())
      return true
    }
    guard let file = fopen(path, "w") else {
      writeError("mempool-stress: cannot write \(path): \(String(cString: strerror(errno)))\n")
      return false
    }
    defer { fclose(file) }
    return fputs(result.text() + "\n", file) >= 0
  }
}
