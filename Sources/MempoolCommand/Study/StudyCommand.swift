#if CommandLine
  import ArgumentParser
  import Foundation
  import MempoolStudy

  struct StudyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "study",
      abstract: "Shows where threads wait for each other, and what changes it: numbers, pictures, a page.",
      discussion: """
        Presets:
        \(Preset.all.map { "  \($0.name.padding(toLength: 12, withPad: " ", startingAt: 0))\($0.question)" }.joined(separator: "\n"))

        Threads claim and free items of cells as a pool's bitmaps do. Runs are interleaved: each round goes through all points in \
        another order. A figure is the median over the rounds, with the interval that holds it with 95 %. Ctrl-C ends a study and \
        keeps what was measured. Pictures are made by gnuplot; without it data and scripts are written, and a line says so.
        """)

    @Argument(help: ArgumentHelp("One of \(Preset.names).", valueName: "preset"))
    var preset: String?

    @Option(help: ArgumentHelp("Where to write; made if need be.", valueName: "folder"))
    var output: String?

    @Flag(help: "Fewer and shorter rounds: half a minute at most.")
    var quick = false

    @Option(help: ArgumentHelp("Rounds. (default: 9; quick: 5)", valueName: "n"))
    var rounds: Int?

    @Option(help: ArgumentHelp("Milliseconds of each run. (default: 60; quick: 20)", valueName: "n"))
    var milliseconds: Int?

    @Option(help: ArgumentHelp("Draws other orders of runs and other frees.", valueName: "n"))
    var seed: UInt64 = 1

    @Option(
      parsing: .upToNextOption,
      help: ArgumentHelp(
        "Instead of measuring, says what differs between two results.", valueName: "before.json after.json"))
    var compare: [String] = []

    @Flag(help: "As JSON, on standard output.")
    var json = false

    func validate() throws {
      guard compare.isEmpty else {
        if compare.count != 2 { throw ValidationError("--compare: a result before and one after, two files.") }
        if preset != nil { throw ValidationError("--compare measures nothing: leave the preset out.") }
        return
      }
      guard let preset else { throw ValidationError("Which preset? One of \(Preset.names).") }
      guard Preset.named(preset) != nil else { throw ValidationError("\(preset): one of \(Preset.names).") }
      if output == nil && !json { throw ValidationError("--output: where to write?") }
      if let rounds, !(1...1000).contains(rounds) { throw ValidationError("--rounds \(rounds): from 1 to 1000.") }
      if let milliseconds, !(1...60_000).contains(milliseconds) {
        throw ValidationError("--milliseconds \(milliseconds): from 1 to 60000.")
      }
    }

    func run() throws {
      if compare.isEmpty { try measure() } else { try tellDifference() }
    }

    private func measure() throws {
      guard let preset = preset.flatMap(Preset.named) else { return }
      var study = StudyRun(preset)
      if quick { study.beQuick() }
      study.rounds = rounds ?? study.rounds
      study.milliseconds = milliseconds ?? study.milliseconds
      study.seed = seed
      study.command =
        "mempool study \(preset.name)\(quick ? " --quick" : "")\(rounds.map { " --rounds \($0)" } ?? "")"
        + "\(milliseconds.map { " --milliseconds \($0)" } ?? "") --seed \(seed) --output DIR"
      let folder = output.map { StudyOutput(folder: URL(fileURLWithPath: $0)) }
      if let folder { orEnd(EX_CANTCREAT) { () throws(StudyError) in try folder.prepare() } }
      Interruption.watch()
      let progress = TimedProgress(preset.name)
      let measured = orEnd(EX_OSERR) { () throws(StudyError) in
        try study.run(progress: progress.show) { Interruption.isWanted }
      }
      progress.clear()
      guard let result = measured else {
        warn("interrupted before anything was measured")
        throw ExitCode(130)
      }
      if let folder {
        folder.removeOld(preset.name)
        for complaint in orEnd(EX_IOERR, { () throws(StudyError) in try folder.write(result) }) { warn(complaint) }
        if folder.gnuplot == nil {
          warn("gnuplot is not there: no pictures; their scripts are in \(folder.folder.path)")
        }
      }
      print(json ? String(decoding: try result.json(), as: UTF8.self) : result.text)
      if !result.isComplete {
        warn("interrupted: what was measured until then is kept")
        throw ExitCode(130)
      }
    }

    private func tellDifference() throws {
      let results = compare.map { file -> StudyResult in
        guard let data = FileManager.default.contents(atPath: file) else {
          Failure("\(file): \(String(cString: strerror(errno)))", status: EX_NOINPUT).end()
        }
        do { return try StudyResult.parse(data) } catch { Failure("\(file): \(error)", status: EX_DATAERR).end() }
      }
      let report = orEnd(EX_DATAERR) { () throws(StudyError) in
        try CompareReport(before: results[0], after: results[1], seed: seed)
      }
      print(json ? try report.json() : report.text)
    }

    /// What `body` makes; where it cannot, the process ends with this status.
    private func orEnd<Result>(_ status: Int32, _ body: () throws(StudyError) -> Result) -> Result {
      do { return try body() } catch { Failure(error.description, status: status).end() }
    }
  }
#endif
