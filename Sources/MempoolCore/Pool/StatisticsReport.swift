import CMempoolShims

/// A path that outlives the environment it came from: programs that change their title overwrite that.
public struct StatisticsPath: Sendable {
  private var bytes = InlineArray<1024, UInt8>(repeating: 0)
  // count < 1024, and bytes[count] == 0
  private var count = 0

  public init() {}

  public var isEmpty: Bool { count == 0 }

  /// Takes over a NUL-terminated path, `%p` in it replaced by the process's id; false, and unchanged, when it is too long.
  mutating func set(_ text: UnsafePointer<UInt8>) -> Bool {
    var path = StatisticsPath()
    var next = text
    while next.pointee != 0 {
      var fits: Bool
      if next.pointee == UInt8(ascii: "%"), next[1] == UInt8(ascii: "p") {
        fits = path.append(decimal: UInt(mp_process_id()))
        next += 2
      } else {
        fits = path.append(next.pointee)
        next += 1
      }
      if !fits { return false }
    }
    self = path
    return true
  }

  /// Calls `body` with the path as a C string.
  func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
    bytes.span.withUnsafeBytes { body($0.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self)) }
  }

  private mutating func append(_ byte: UInt8) -> Bool {
    guard count < bytes.count - 1 else { return false }
    bytes[count] = byte
    count += 1
    return true
  }

  private mutating func append(decimal value: UInt) -> Bool {
    (value < 10 || append(decimal: value / 10)) && append(UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value % 10))
  }
}

extension EnvironmentSettings {
  /// Writes a pool's statistics to where the environment wants them; does nothing when it does not. For the end of a
  /// process: one `write` to standard error or appended to a file. A file that cannot be written costs one warning line.
  public func report(_ pool: MemoryPoolPointer) {
    guard let statisticsFormat, statisticsProcess == 0 || statisticsProcess == mp_process_id() else { return }
    let statistics = pool.statistics()
    guard !statisticsPath.isEmpty else {
      statistics.write(statisticsFormat, to: mp_error_output_kept())
      return
    }
    let isWritten = statisticsPath.withCString { path in
      let descriptor = mp_open_append(path)
      guard descriptor >= 0 else { return false }
      let isWritten = statistics.write(statisticsFormat, to: descriptor)
      mp_close(descriptor)
      return isWritten
    }
    if isWritten { return }
    var line = ReportLine()
    line.append("MEMPOOL_STATS_FILE: cannot write ")
    statisticsPath.withCString { line.append(cString: $0) }
    line.write()
  }
}

extension PoolStatistics {
  /// Writes the statistics to an open file; false when that failed.
  @discardableResult
  public func write(_ format: StatisticsFormat, to descriptor: Int32) -> Bool {
    var sink = FileSink(descriptor: descriptor)
    switch format {
    case .text:
      sink.write("mempool: statistics of process ")
      sink.write(decimal: processID)
      sink.write("\n")
      writeText(to: &sink)
    case .json:
      writeJSON(to: &sink)
    }
    sink.flush()
    return sink.isComplete
  }
}
