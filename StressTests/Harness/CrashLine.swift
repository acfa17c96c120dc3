import Glibc

/// Says how to replay a run that ends in a signal: the allocator found misuse and aborted, or memory was not what it should be.
///
/// What was to happen on the signal happens afterwards: a sanitizer's report, a core.
enum CrashLine {
  // Written between scenarios, read by the handler.
  nonisolated(unsafe) private static let line = UnsafeMutablePointer<CChar>.allocate(capacity: 512)
  nonisolated(unsafe) private static let lineLength = UnsafeMutablePointer<Int>.allocate(capacity: 1)
  nonisolated(unsafe) private static let before = UnsafeMutablePointer<sigaction>.allocate(capacity: 32)

  private static let signals = [SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE]

  static func install() {
    lineLength.initialize(to: 0)
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { signal in
      _ = write(STDERR_FILENO, CrashLine.line, CrashLine.lineLength.pointee)
      // The handler returns into what raised the signal, which then meets what was there before.
      sigaction(signal, CrashLine.before + Int(signal), nil)
    }
    action.sa_flags = Int32(SA_ONSTACK)
    for signal in signals { sigaction(signal, &action, before + Int(signal)) }
  }

  /// From now on this is what is running.
  static func set(_ replay: String) {
    let text = "\nmempool-stress: died of a signal; replay: \(replay)\n"
    let bytes = Array(text.utf8.prefix(512))
    for (i, byte) in bytes.enumerated() { line[i] = CChar(bitPattern: byte) }
    lineLength.pointee = bytes.count
  }
}
