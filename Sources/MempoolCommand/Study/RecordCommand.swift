#if CommandLine
  import ArgumentParser
  import Foundation

  struct RecordCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "record",
      abstract: "Runs a program and writes down what it asks its malloc for.",
      usage: "mempool record --output FILE [--sample N] [--on-mempool] -- PROGRAM [ARG ...]",
      discussion: """
        The program takes this command's place, with a recorder preloaded. The file says which thread allocated and freed which object \
        when; `mempool study trace --trace FILE` replays it. What the program starts itself is not recorded, nor is what it does after \
        a fork. A program that is killed, or leaves by _exit, leaves a file without an end, of which the last blocks of each thread are missing; \
        so may one that exits in a signal handler.

        Exits as the program does; with 127 when it is not found, with 126 when it cannot be run, with 69 when the recorder is \
        not built, with 73 when the file cannot be made.
        """)

    @Option(help: ArgumentHelp("The file to write; what is in it is replaced.", valueName: "file"))
    var output: String

    @Option(help: ArgumentHelp("Record one object in so many, a power of two.", valueName: "n"))
    var sample = 1

    @Flag(help: "Run the program on this allocator instead of its own malloc.")
    var onMempool = false

    @Option(help: ArgumentHelp("The drop-in library, where it is not beside this command.", valueName: "path"))
    var library: String?

    @Option(help: ArgumentHelp("The recorder, where it is not beside this command.", valueName: "path"))
    var recorder: String?

    @Argument(parsing: .postTerminator, help: "The program and its arguments.")
    var words: [String] = []

    func validate() throws {
      if words.isEmpty { throw ValidationError("Which program? Name it after --.") }
      guard sample >= 1, sample <= 1 << 20, sample & (sample - 1) == 0 else {
        throw ValidationError("--sample \(sample): a power of two, up to \(1 << 20).")
      }
    }

    func run() {
      let recorder = orEnd { () throws(Failure) in
        try LibraryLocation.find(given: self.recorder, name: LibraryLocation.recorder)
      }
      var launch = Launch(program: words[0], arguments: Array(words.dropFirst()), library: recorder)
      if onMempool {
        let library = orEnd { () throws(Failure) in try LibraryLocation.find(given: self.library) }
        let others = ProcessInfo.processInfo.environment["LD_PRELOAD"]
        setenv("LD_PRELOAD", Launch.preload(library.path, before: others), 1)
      }
      // Before the file is made anew: an older trace in it is not lost to a wrong word.
      if case .failure(let failure) = Launch.find(words[0]) { failure.end() }
      // The program starts in this folder, but the recorder may be asked when it is elsewhere.
      let file = URL(fileURLWithPath: output).path
      let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
      guard descriptor >= 0 else {
        Failure("\(output): \(String(cString: strerror(errno)))", status: EX_CANTCREAT).end()
      }
      close(descriptor)
      launch.variables["MEMPOOL_RECORD_FILE"] = file
      launch.variables["MEMPOOL_RECORD_SAMPLE"] = "\(sample)"
      // The program keeps this process's id.
      launch.variables["MEMPOOL_RECORD_PROCESS"] = "\(getpid())"
      launch.execute().end()
    }
  }
#endif
