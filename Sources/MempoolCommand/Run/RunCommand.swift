#if CommandLine
  import ArgumentParser
  import Foundation
  import MempoolCore

  struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "run",
      abstract: "Runs a program on this allocator instead of the system's malloc.",
      usage: "mempool run [--stats[=text|json]] [--fixed SIZE] [--library PATH] -- PROGRAM [ARG ...]",
      discussion: """
        The program takes this command's place, with the drop-in library preloaded. What else is to be preloaded stays. \
        `mempool info --environment` lists what can be set beside these options.

        Exits as the program does; with 127 when it is not found, with 126 when it cannot be run, with 69 when the library is \
        not built.
        """)

    enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

    @Option(
      help: ArgumentHelp(
        "Write the statistics when the program exits: text (without a value) or json.", valueName: "format"))
    var stats: Format?

    @Option(
      help: ArgumentHelp(
        "Append the statistics to this file instead of writing them to standard error; %p: the process's id.",
        valueName: "path"))
    var statsFile: String?

    @Flag(help: "Write statistics for every process that the program starts, too.")
    var statsOfChildren = false

    @Option(
      help: ArgumentHelp(
        "Take this much memory at the start, and no more ever after. Bytes, or with K, M, G or T. "
          + "When the system refuses it, the program runs with a warning, and memory grows as it needs it.",
        valueName: "size"))
    var fixed: String?

    @Flag(help: "With --fixed: lock the memory, so that it is never paged out (see ulimit -l).")
    var locked = false

    @Option(help: ArgumentHelp("The drop-in library, where it is not beside this command.", valueName: "path"))
    var library: String?

    @Argument(parsing: .postTerminator, help: "The program and its arguments.")
    var words: [String] = []

    func validate() throws {
      if words.isEmpty { throw ValidationError("Which program? Name it after --.") }
      if let fixed {
        let value = fixed.withCString { text in
          text.withMemoryRebound(to: UInt8.self, capacity: fixed.utf8.count + 1) { bytes in
            EnvironmentValue(EnvironmentVariable.fixed.row.kind, bytes)
          }
        }
        guard case .value(let byteCount) = value, byteCount > 0 else {
          throw ValidationError(
            "--fixed \(fixed): not a size of at least 1M (a whole number of bytes, or one with K, M, G or T).")
        }
      }
      if locked && fixed == nil { throw ValidationError("--locked needs --fixed: only a fixed segment can be locked.") }
    }

    func run() {
      var launch = Launch(
        program: words[0], arguments: Array(words.dropFirst()),
        library: orEnd { () throws(Failure) in try LibraryLocation.find(given: library) })
      if stats != nil || statsFile != nil || statsOfChildren {
        launch.variables["MEMPOOL_SHOW_STATS"] = (stats ?? .text).rawValue
        // The program keeps this process's id.
        launch.variables["MEMPOOL_STATS_PROCESS"] = statsOfChildren ? "0" : "\(getpid())"
      }
      if let statsFile { launch.variables["MEMPOOL_STATS_FILE"] = statsFile }
      if let fixed { launch.variables["MEMPOOL_FIXED"] = fixed }
      if locked { launch.variables["MEMPOOL_LOCK"] = "1" }
      launch.execute().end()
    }
  }
#endif
