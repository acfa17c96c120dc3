import CMempoolShims

/// Which thread did something, and by which way it had come there: return addresses, innermost first.
///
/// A plain value of fixed size. Taking one costs a microsecond or two and allocates nothing, but for the first of the process, which
/// loads the unwinder; see ``loadUnwinder()``.
struct Backtrace {
  /// The kernel's number of the thread.
  private(set) var thread: UInt = 0
  // Frames 0..<count
  private(set) var count = 0
  private(set) var frames = InlineArray<20, UInt>(repeating: 0)

  init() {}

  /// Of the calling thread, now.
  @inline(never)
  static func here() -> Backtrace {
    var backtrace = Backtrace()
    backtrace.thread = mp_thread_id()
    var frames = backtrace.frames
    var span = frames.mutableSpan
    backtrace.count = span.withUnsafeMutableBytes { bytes in
      Int(mp_backtrace(bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt.self)))
    }
    backtrace.frames = frames
    return backtrace
  }

  /// Writes it where others may read it meanwhile, word by word, what is used of it: `init(from:)` reads it there.
  func store(to words: AtomicPointer) {
    words.storeRelaxed(thread)
    words.advanced(by: 1).storeRelaxed(UInt(count))
    for index in 0..<count { words.advanced(by: 2 + index).storeRelaxed(frames[index]) }
  }

  /// What is there; some of this and some of that if somebody writes to it meanwhile.
  init(from words: AtomicPointer) {
    thread = words.loadRelaxed()
    count = Int(min(words.advanced(by: 1).loadRelaxed(), UInt(MP_FRAMES)))
    for index in 0..<count { frames[index] = words.advanced(by: 2 + index).loadRelaxed() }
  }

  /// Makes later backtraces allocate nothing. While the caller holds no lock and the loader is at rest.
  static func loadUnwinder() { _ = here() }

  /// Writes it to standard error under a title, a line a frame: `mempool: allocated by thread 1234:`. Safe in a signal handler.
  func write(_ title: StaticString) {
    var line = ReportLine()
    line.append(title)
    line.append(" by thread ")
    line.append(decimal: thread)
    line.append(":")
    line.write()
    for index in 0..<count { mp_backtrace_write(frames[index]) }
  }
}
