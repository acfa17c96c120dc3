import Foundation

/// Why the command cannot go on: one sentence and the status to exit with, as sysexits.h or the shell has it.
struct Failure: Error, CustomStringConvertible {
  let description: String
  let status: Int32

  init(_ description: String, status: Int32) {
    self.description = description
    self.status = status
  }
}

extension Failure {
  /// Says what is wrong on standard error and ends the process.
  func end() -> Never {
    warn(description)
    exit(status)
  }
}

/// What `body` makes; a failure ends the process.
func orEnd<Result>(_ body: () throws(Failure) -> Result) -> Result {
  do {
    return try body()
  } catch {
    error.end()
  }
}

/// One line on standard error, in the name of the command.
func warn(_ text: String) {
  FileHandle.standardError.write(Data("mempool: \(text)\n".utf8))
}
