import CMempoolShims

extension ObjectPoolStatistics {
  /// Each figure with its key: the words of docs/object-pools.md.
  func visit(_ figure: (StaticString, UInt) -> Void) {
    figure("item_size", itemSize)
    figure("item_stride", stride)
    figure("count", count)
    figure("hot", hot)
    figure("cold", cold)
    figure("max_hot", maxHot)
    figure("allocations", allocations)
    figure("misses", misses)
    figure("fallback", fallback)
    figure("max_fallback", maxFallback)
    figure("page_bytes", pageBytes)
    figure("metadata_bytes", metadataBytes)
    figure("threads", threads)
    figure("sweeps", sweeps)
  }
}

extension ObjectPools {
  /// Writes what all pools, or those of one name, have counted: as text, a pool a paragraph; as JSON, one object on one line. Any
  /// thread; under the lock of all pools, for as long as the sink takes. Allocates nothing.
  public static func write<Sink: ByteSink>(
    _ format: StatisticsFormat, named name: UnsafePointer<CChar>? = nil, to sink: inout Sink
  ) {
    var isFirst = true
    if format == .json { sink.write("{\"object_pools\":[") }
    var output = sink
    forEach { pool in
      if let name, !isEqual(name, pool.name) { return }
      let statistics = pool.statistics()
      switch format {
      case .text:
        output.write("object pool \"")
        output.write(name: pool.name, escaping: false)
        output.write("\"\n")
        statistics.visit { key, value in
          output.write("  ")
          output.write(key)
          output.write(byte: UInt8(ascii: " "), count: 32 - key.utf8CodeUnitCount + 14 - value.digitCount)
          output.write(decimal: value)
          output.write("\n")
        }
      case .json:
        if !isFirst { output.write(",") }
        output.write("{\"name\":\"")
        output.write(name: pool.name, escaping: true)
        output.write("\"")
        statistics.visit { key, value in
          output.write(",\"")
          output.write(key)
          output.write("\":")
          output.write(decimal: value)
        }
        output.write("}")
      }
      isFirst = false
    }
    sink = output
    if format == .json { sink.write("]}\n") }
  }

  /// The same to an open file; false when not all could be written.
  public static func write(
    _ format: StatisticsFormat, named name: UnsafePointer<CChar>? = nil, to descriptor: Int32
  ) -> Bool {
    var sink = FileSink(descriptor: descriptor)
    write(format, named: name, to: &sink)
    sink.flush()
    return sink.isComplete
  }

  /// The pool of a name, the newest of several; nil when there is none.
  public static func named(_ name: UnsafePointer<CChar>) -> ObjectPoolPointer? {
    var found: ObjectPoolPointer?
    forEach { if found == nil, isEqual(name, $0.name) { found = $0 } }
    return found
  }

  private static func isEqual(_ left: UnsafePointer<CChar>, _ right: UnsafePointer<CChar>) -> Bool {
    var index = 0
    while index < 63, left[index] == right[index], left[index] != 0 { index += 1 }
    return index == 63 || left[index] == right[index]
  }
}

extension ByteSink {
  /// A name, control characters shown as `?`; quotes and backslashes escaped, where that is to be.
  fileprivate mutating func write(name: UnsafePointer<CChar>, escaping: Bool) {
    var next = name
    while next.pointee != 0 {
      let byte = UInt8(bitPattern: next.pointee)
      if escaping, byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { write(byte: UInt8(ascii: "\\")) }
      write(byte: byte < 32 || byte == 127 ? UInt8(ascii: "?") : byte)
      next += 1
    }
  }
}
