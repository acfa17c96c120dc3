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
        \(Self.questions.map { "  \($0.name.padding(toLength: 12, withPad: " ", startingAt: 0))\($0.question)" }.joined(separator: "\n"))

        Threads claim and free items of cells as a pool's bitmaps do. Runs are interleaved: each round goes through all points in \
        another order. A figure is the median over the rounds, with the interval that holds it with 95 %. Ctrl-C ends a study and \
        keeps what was measured. Pictures are made by gnuplot; without it data and scripts are written, and a line says so.
        """)

    @Argument(help: ArgumentHelp("One of \(Self.names).", valueName: "preset"))
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
      help: ArgumentHelp(
        "Of allocators and trace: another malloc to preload; as often as you like.", valueName: "name=library.so"))
    var allocator: [String] = []

    @Option(help: ArgumentHelp("Of trace: what `mempool record` wrote.", valueName: "file"))
    var trace: String?

    @Flag(help: "Of trace: take a file without an end, as a killed program leaves it.")
    var unfinished = false

    @Option(help: ArgumentHelp("The drop-in library, where it is not beside this command.", valueName: "path"))
    var library: String?

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
      guard let preset else { throw ValidationError("Which preset? One of \(Self.names).") }
      guard Self.questions.contains(where: { $0.name == preset }) else {
        throw ValidationError("\(preset): one of \(Self.names).")
      }
      if preset == "trace" && trace == nil { throw ValidationError("--trace: which file of mempool record?") }
      if preset != "trace" && trace != nil { throw ValidationError("--trace belongs to the preset trace.") }
      if !allocator.isEmpty && Preset.named(preset) != nil {
        throw ValidationError("--allocator belongs to the presets allocators and trace.")
      }
      for subject in allocator where subject.split(separator: "=", maxSplits: 1).count != 2 {
        throw ValidationError("--allocator \(subject): a name, =, and a library.")
      }
      if output == nil && !json { throw ValidationError("--output: where to write?") }
      if let rounds, !(1...1000).contains(rounds) { throw ValidationError("--rounds \(rounds): from 1 to 1000.") }
      if let milliseconds, !(1...60_000).contains(milliseconds) {
        throw ValidationError("--milliseconds \(milliseconds): from 1 to 60000.")
      }
    }

    func run() throws {
      if compare.isEmpty { try measure() } else { try tellDifference() }
    }

    /// All presets: those of claims, and those that run whole allocators.
    static var questions: [(name: String, question: String)] {
      Preset.all.map { ($0.name, $0.question) } + [
        ("allocators", Self.allocatorsQuestion), ("trace", Self.traceQuestion),
      ]
    }

    static var names: String { questions.map(\.name).joined(separator: ", ") }
    private static let allocatorsQuestion = "What do whole allocators make of threads that hand objects to each other?"
    private static let traceQuestion = "How would a recorded program fare on another allocator?"

    /// What makes the same again.
    private var again: String {
      var words = ["mempool study", preset ?? ""]
      if quick { words.append("--quick") }
      if let rounds { words.append("--rounds \(rounds)") }
      if let milliseconds { words.append("--milliseconds \(milliseconds)") }
      if let trace { words.append("--trace \(URL(fileURLWithPath: trace).lastPathComponent)") }
      words += allocator.map { "--allocator \($0)" }
      return (words + ["--seed \(seed)", "--output DIR"]).joined(separator: " ")
    }

    private func measure() throws {
      guard let preset else { return }
      let folder = output.map { StudyOutput(folder: URL(fileURLWithPath: $0)) }
      if let folder { orEnd(EX_CANTCREAT) { () throws(StudyError) in try folder.prepare() } }
      let progress = TimedProgress(preset)
      let measured: StudyResult?
      if let claims = Preset.named(preset) {
        var study = StudyRun(claims)
        if quick { study.beQuick() }
        study.rounds = rounds ?? study.rounds
        study.milliseconds = milliseconds ?? study.milliseconds
        study.seed = seed
        study.command = again
        Interruption.watch()
        measured = orEnd(EX_OSERR) { () throws(StudyError) in
          try study.run(progress: progress.show) { Interruption.isWanted }
        }
      } else {
        let study = allocatorStudy(preset)
        Interruption.watch()
        measured = orEnd(EX_OSERR) { () throws(StudyError) in
          try study.run(progress: progress.show) { Interruption.isWanted }
        }
      }
      progress.clear()
      guard let result = measured else {
        warn("interrupted before anything was measured")
        throw ExitCode(130)
      }
      if let folder {
        folder.removeOld(result)
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

    private func allocatorStudy(_ preset: String) -> AllocatorStudy {
      let library = MempoolCommand.orEnd { () throws(Failure) in try LibraryLocation.find(given: self.library) }
      var subjects = AllocatorStudy.subjects(library: library.path)
      for subject in allocator {
        let parts = subject.split(separator: "=", maxSplits: 1).map(String.init)
        let file = MempoolCommand.orEnd { () throws(Failure) in try LibraryLocation.find(given: parts[1]) }
        subjects.append(.init(name: parts[0], library: file.path))
      }
      let works: [AllocatorStudy.Work]
      let title: String
      if let trace {
        let replay = orEnd(EX_DATAERR) { () throws(StudyError) in
          try Replay(TraceFile.read(trace, acceptsUnfinished: unfinished))
        }
        title =
          "\(URL(fileURLWithPath: trace).lastPathComponent): \(replay.objectCount) objects, \(replay.handedOver) of them freed by "
          + "another thread, at most \(replay.peakBytes) bytes at a time"
        works = [
          .init(
            title: "\(replay.threadCount) threads", threads: replay.threadCount,
            arguments: ["--trace", URL(fileURLWithPath: trace).path] + (unfinished ? ["--unfinished"] : []))
        ]
      } else {
        title = "Whole allocators"
        works = Workload.allCases.map {
          .init(title: $0.rawValue, threads: 4, arguments: ["--workload", $0.name, "--threads", "4"])
        }
      }
      var study = AllocatorStudy(
        preset: preset, title: title, question: preset == "trace" ? Self.traceQuestion : Self.allocatorsQuestion,
        subjects: subjects, works: works,
        worker: (URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath(), ["study-worker"]))
      study.rounds = rounds ?? (quick ? 5 : 9)
      study.milliseconds = milliseconds ?? (quick ? 40 : 200)
      study.seed = seed
      study.command = again
      return study
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
