import Glibc

/// One line that is written over and over, on a terminal only.
final class Progress {
  private var shown = ""
  private var nextSecond = 0.0

  /// Nil when standard error is no terminal.
  init?() {
    guard isatty(STDERR_FILENO) == 1 else { return nil }
  }

  func show(_ scenario: String, elapsed: Double, of seconds: Double, _ operations: UInt64) {
    guard monotonicSeconds() >= nextSecond else { return }
    nextSecond = monotonicSeconds() + 0.2
    let line = "\(scenario)  \(decimal(elapsed)) of \(decimal(seconds)) s  \(operations) operations"
    let blank = String(repeating: " ", count: max(0, shown.count - line.count))
    shown = line
    writeError("\r\(line)\(blank)")
  }

  func clear() {
    if !shown.isEmpty { writeError("\r\(String(repeating: " ", count: shown.count))\r") }
    shown = ""
  }
}
