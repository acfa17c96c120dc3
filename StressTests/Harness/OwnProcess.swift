import Glibc

/// This program once more, as a process of its own: with another environment, under limits, or up to its very end.
///
/// It begins as every process does, so whatever the allocator does once in a process, it does there.
enum OwnProcess {
  /// What came of it.
  struct Result {
    let verdict: ForkedChild.Verdict
    /// What it wrote, both outputs together; the end of it when it was much.
    let output: String

    var isClean: Bool { if case .exited(0) = verdict { true } else { false } }

    /// For a failure's text.
    var description: String {
      let end =
        switch verdict {
        case .exited(let code): "exit status \(code)"
        case .killed(let signal): "signal \(signal)"
        case .hung: "it did not end"
        case .notForked(let error): String(cString: strerror(error))
        }
      return output.isEmpty ? end : "\(end): \(output)"
    }
  }

  /// Runs this program with `arguments`, and waits for it, `seconds` at most; then it is killed. `environment`: NAME=VALUE, on top of
  /// this process's own.
  static func run(_ arguments: [String], environment: [String] = [], seconds: Double) -> Result {
    var path = Array("/tmp/mempool-stress-XXXXXX".utf8CString)
    let output = mkstemp(&path)
    guard output >= 0 else { return Result(verdict: .notForked(errno: errno), output: "") }
    defer { close(output) }
    unlink(path)
    _ = fcntl(output, F_SETFD, FD_CLOEXEC)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)
    let names = environment.map { $0.prefix { $0 != "=" } + "=" }
    let kept = inherited.filter { variable in !names.contains { variable.hasPrefix($0) } }
    var child = pid_t()
    let error = withStrings(["mempool-stress"] + arguments) { arguments in
      withStrings(kept + environment) { posix_spawn(&child, "/proc/self/exe", &actions, nil, arguments, $0) }
    }
    guard error == 0 else { return Result(verdict: .notForked(errno: error), output: "") }
    let verdict = ForkedChild.wait(for: child, seconds: seconds)
    return Result(verdict: verdict, output: text(of: output))
  }

  /// This process's environment. Nobody changes it.
  private static let inherited: [String] = {
    // By name: Swift takes the variable itself for one that threads share.
    typealias Strings = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    var strings: [String] = []
    var next = dlsym(nil, "environ").assumingMemoryBound(to: Strings.self).pointee
    while let variable = next.pointee {
      strings.append(String(cString: variable))
      next += 1
    }
    return strings
  }()

  private static func withStrings<Value>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Value
  ) -> Value {
    let copies: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
    defer { for copy in copies { free(copy) } }
    return body(copies)
  }

  /// The last 4 KiB.
  private static func text(of file: Int32) -> String {
    let size = lseek(file, 0, SEEK_END)
    var bytes = [UInt8](repeating: 0, count: min(Int(size), 4096))
    let count = pread(file, &bytes, bytes.count, size - bytes.count)
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  }

  // MARK: Errands

  /// The first argument of a process that does one thing; the next is its name.
  static let errandOption = "--errand"

  private static let errands: [any Errand.Type] = [FirstToLast.self, AddressSpaceErrand.self, MemoryErrand.self]

  static func run(_ errand: any Errand.Type, _ arguments: [String], environment: [String] = [], seconds: Double)
    -> Result
  {
    run([errandOption, errand.name] + arguments, environment: environment, seconds: seconds)
  }

  /// What an errand writes before what the machine does not allow.
  static let notRun = "not run: "

  /// In that process.
  static func runErrand(_ arguments: [String]) -> ExitCode {
    guard let errand = errands.first(where: { $0.name == arguments.first }) else { return .usage }
    CrashLine.install()
    guard let wrong = errand.perform(Array(arguments.dropFirst())) else { return .clean }
    writeError("\(wrong)\n")
    return .checkFailed
  }
}

/// One thing that a process of its own does for a scenario.
protocol Errand: Sendable {
  static var name: String { get }
  /// What went wrong; nil: nothing.
  static func perform(_ arguments: [String]) -> String?
}
