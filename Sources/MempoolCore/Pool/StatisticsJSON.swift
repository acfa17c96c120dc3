/// The statistics as one JSON object on one line. Never allocates.
///
/// Keys are stable: a later version adds some, and takes none away. Numbers are whole; bytes are the unit of every key that
/// ends in `_bytes` or `_size`.
struct StatisticsJSON<Sink: ByteSink>: StatisticsVisitor {
  var sink: Sink
  private var isFirst = true
  private var isInTable = false

  init(_ sink: Sink) { self.sink = sink }

  mutating func group(_ title: StaticString) {}

  mutating func figure(_ key: StaticString, _ value: UInt, _ unit: StatisticsUnit) {
    sink.write(isFirst ? "{\"" : ",\"")
    isFirst = false
    sink.write(key)
    sink.write("\":")
    sink.write(decimal: value)
  }

  mutating func sizeClass(_ row: ClassStatistics) {
    sink.write(isInTable ? ",{\"item_size\":" : ",\"classes\":[{\"item_size\":")
    isInTable = true
    sink.write(decimal: row.itemSize)
    sink.write(",\"live_items\":")
    sink.write(decimal: row.liveItems)
    sink.write(",\"slabs\":")
    sink.write(decimal: row.slabs)
    sink.write(",\"capacity\":")
    sink.write(decimal: row.capacity)
    sink.write("}")
  }

  mutating func end() {
    sink.write(isInTable ? "]}\n" : ",\"classes\":[]}\n")
  }
}

extension PoolStatistics {
  /// Writes the statistics as one JSON object and a newline: the keys of docs/statistics.md, and `classes`, one object a
  /// size class.
  public func writeJSON<Sink: ByteSink>(to sink: inout Sink) {
    var json = StatisticsJSON(sink)
    visit(&json)
    json.end()
    sink = json.sink
  }
}
