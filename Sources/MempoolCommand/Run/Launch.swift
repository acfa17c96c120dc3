import Foundation
import MempoolCore

/// A program, to be started on the drop-in malloc in this process's place.
struct Launch {
  var program: String
  var arguments: [String]
  /// Variables to set over those that are there.
  var variables: [String: String] = [:]
  var library: URL

  /// Replaces this process by the program. Returns only to say why it could not.
  func execute() -> Failure {
    let executable: String
    switch Self.find(program) {
    case .success(let path): executable = path
    case .failure(let failure): return failure
    }
    if let reason = ProgramFile(path: executable)?.reasonNotToPreload {
      warn("\(program) \(reason), and will run on its own malloc")
    }
    for (name, value) in variables { setenv(name, value, 1) }
    setenv("LD_PRELOAD", Self.preload(library.path, before: ProcessInfo.processInfo.environment["LD_PRELOAD"]), 1)
    var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
    words.append(nil)
    execv(executable, words)
    let error = errno
    for word in words { free(word) }
    return Failure("cannot run \(program): \(String(cString: strerror(error)))", status: error == ENOENT ? 127 : 126)
  }

  /// The library first, so that its malloc is the one that counts, and then what was to be preloaded already.
  static func preload(_ library: String, before others: String?) -> String {
    let rest = (others ?? "").split { $0 == ":" || $0 == " " }.map(String.init).filter { $0 != library }
    return ([library] + rest).joined(separator: ":")
  }

  /// Looks a program up as a shell does, so that what is not there is an error of this command and not of the loader.
  static func find(_ program: String) -> Result<String, Failure> {
    let isPath = program.contains("/")
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
    let folders = path.split(separator: ":", omittingEmptySubsequences: false).map { $0.isEmpty ? "." : String($0) }
    var found: String?
    for candidate in isPath ? [program] : folders.map({ "\($0)/\(program)" }) {
      var status = stat()
      guard stat(candidate, &status) == 0 else { continue }
      guard status.st_mode & S_IFMT == S_IFREG else {
        if isPath { return .failure(Failure("\(program): not a program", status: 126)) }
        continue
      }
      if access(candidate, X_OK) == 0 { return .success(candidate) }
      found = found ?? candidate
    }
    if let found { return .failure(Failure("\(found): permission denied", status: 126)) }
    let place = isPath ? "no such file" : "not found in PATH"
    return .failure(Failure("\(program): \(place)", status: 127))
  }
}

/// Where the drop-in malloc is, or the recorder.
struct LibraryLocation {
  static let name = "libmempool-malloc.so"
  static let recorder = "libmempool-record.so"

  /// Beside this executable as it is installed (`bin` and `lib`) or as it is built (`.build` and `.build-interposer`).
  static func candidates(executable: URL, name: String = name) -> [URL] {
    let folder = executable.deletingLastPathComponent()
    var candidates = [
      folder.deletingLastPathComponent().appendingPathComponent("lib/\(name)"), folder.appendingPathComponent(name),
    ]
    var parent = folder
    while parent.path != "/" {
      if parent.lastPathComponent.hasPrefix(".build") {
        let root = parent.deletingLastPathComponent()
        for configuration in ["stage", "release", "debug"] {
          candidates.append(root.appendingPathComponent(".build-interposer/\(configuration)/\(name)"))
        }
      }
      parent = parent.deletingLastPathComponent()
    }
    return candidates
  }

  static func find(given: String?, name: String = name) throws(Failure) -> URL {
    if let given {
      let file = URL(fileURLWithPath: given).resolvingSymlinksInPath()
      guard access(file.path, R_OK) == 0 else {
        throw Failure("\(given): \(String(cString: strerror(errno)))", status: EX_NOINPUT)
      }
      return try preloadable(file)
    }
    let executable = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    let candidates = candidates(executable: executable, name: name)
    for file in candidates where access(file.path, R_OK) == 0 {
      return try preloadable(file.resolvingSymlinksInPath())
    }
    throw Failure(
      """
      cannot find \(name). Looked for:
      \(candidates.map { "  \($0.path)" }.joined(separator: "\n"))
      Build it with `make libraries`, or say where it is with --library.
      """, status: EX_UNAVAILABLE)
  }

  private static func preloadable(_ file: URL) throws(Failure) -> URL {
    guard !file.path.contains(where: { $0 == ":" || $0 == " " }) else {
      throw Failure("\(file.path): the loader cannot preload a path with a colon or a space in it", status: EX_CONFIG)
    }
    return file
  }
}
