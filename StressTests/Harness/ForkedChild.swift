import Glibc

/// A child process that does a little and ends: `fork` while other threads are in the middle of anything.
enum ForkedChild {
  /// What became of it.
  enum Verdict {
    case exited(Int32)
    case killed(signal: Int32)
    case hung
    case notForked(errno: Int32)
  }

  // Swift does not import it; by name it is also the one that a sanitizer puts in its place.
  private static let fork = unsafeBitCast(dlsym(nil, "fork"), to: (@convention(c) () -> pid_t).self)

  /// Runs `body` in a child and waits for it, `seconds` at most; then it is killed.
  ///
  /// In the child only this thread exists: `body` must take no lock that another may have held, so it allocates from the pool that
  /// is looked at, and little else.
  static func run(seconds: Int, _ body: () -> Int32) -> Verdict {
    let fork = fork
    let child = fork()
    if child < 0 { return .notForked(errno: errno) }
    if child == 0 {
      alarm(UInt32(2 * seconds))  // should the parent be gone
      _exit(body())
    }
    return wait(for: child, seconds: Double(seconds))
  }

  /// Waits for a child of this process, `seconds` at most; then it is killed.
  static func wait(for child: pid_t, seconds: Double) -> Verdict {
    let deadline = monotonicSeconds() + seconds
    var status: Int32 = 0
    while true {
      let waited = waitpid(child, &status, WNOHANG)
      if waited == child { break }
      if waited < 0 && errno != EINTR { return .notForked(errno: errno) }
      if monotonicSeconds() > deadline {
        kill(child, SIGKILL)
        waitpid(child, &status, 0)
        return .hung
      }
      usleep(500)
    }
    let signal = status & 0x7f
    return signal == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: signal)
  }
}
