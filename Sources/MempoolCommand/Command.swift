#if CommandLine
  import ArgumentParser
  import Foundation

  /// The command `mempool`.
  @main
  struct Command: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "mempool",
      abstract: "Runs programs on this allocator, tells how it is set up, measures it, and studies contention.",
      version: "0.1.0",  // the Makefile's VERSION: a test compares the two
      subcommands: [
        RunCommand.self, InfoCommand.self, BenchCommand.self, StudyCommand.self, RecordCommand.self, WorkerCommand.self,
      ]
    )

    static func main() {
      main(Launch.normalized(Array(ProcessInfo.processInfo.arguments.dropFirst())))
    }
  }
#else
  import Foundation

  /// What there is of the command when it is built without its argument parser: a word on how to build it.
  @main
  struct Command {
    static func main() {
      let text = """
        mempool: this command was built without its argument parser, so that packages that depend on Mempool fetch nothing.
        Build it with:  swift build -c release --traits CommandLine --product mempool

        """
      FileHandle.standardError.write(Data(text.utf8))
      exit(EX_UNAVAILABLE)
    }
  }
#endif
