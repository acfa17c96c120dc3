#if CommandLine
  import ArgumentParser
  import Foundation
  import MempoolStudy

  /// What a study of allocators runs in processes of their own, on the malloc that was preloaded.
  struct WorkerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "study-worker", abstract: "Replays a trace on this process's malloc.", shouldDisplay: false)

    @Option var trace: String?
    @Option var workload: String?
    @Option var threads = 4
    @Option var milliseconds = 100
    @Option var seed: UInt64 = 1
    @Flag var unfinished = false

    func run() throws {
      let trace: Trace
      if let file = self.trace {
        trace = TraceFile.read(file, acceptsUnfinished: unfinished)
      } else {
        guard let workload = workload.flatMap(Workload.named) else { throw ValidationError("--trace or --workload.") }
        trace = workload.trace(threads: threads, seed: seed)
      }
      do throws(StudyError) {
        let outcome = try Replay(trace).run(
          milliseconds: milliseconds, clockNanoseconds: UInt64(Calibration.measure().clockNanoseconds.rounded()))
        FileHandle.standardOutput.write(
          orEnd { () throws(Failure) in
            do { return try JSONEncoder().encode(outcome) } catch { throw Failure("\(error)", status: EX_SOFTWARE) }
          })
      } catch {
        Failure(error.description, status: EX_DATAERR).end()
      }
    }
  }

  /// A trace from a file, or the end of the process with what is wrong.
  enum TraceFile {
    static func read(_ file: String, acceptsUnfinished: Bool) -> Trace {
      guard let data = FileManager.default.contents(atPath: file) else {
        Failure("\(file): \(String(cString: strerror(errno)))", status: EX_NOINPUT).end()
      }
      do { return try Trace.parse(data, acceptsUnfinished: acceptsUnfinished) } catch {
        Failure("\(file): \(error)", status: EX_DATAERR).end()
      }
    }
  }
#endif
