/// The statistics as text for people: one figure a line, then a table of size classes. Never allocates.
struct StatisticsText<Sink: ByteSink>: StatisticsVisitor {
  var sink: Sink
  private var isInTable = false

  private static var keyWidth: Int { 32 }
  private static var columnWidth: Int { 14 }

  init(_ sink: Sink) { self.sink = sink }

  mutating func group(_ title: StaticString) {
    sink.write(title)
    sink.write("\n")
  }

  mutating func figure(_ key: StaticString, _ value: UInt, _ unit: StatisticsUnit) {
    sink.write("  ")
    sink.write(key)
    sink.write(byte: UInt8(ascii: " "), count: Self.keyWidth - key.utf8CodeUnitCount)
    column(value)
    if unit == .bytes && value >= 1024 {
      sink.write("  ")
      binary(value)
    }
    sink.write("\n")
  }

  mutating func sizeClass(_ row: ClassStatistics) {
    if !isInTable {
      isInTable = true
      sink.write("       item_size    live_items         slabs      capacity  in use\n")
    }
    guard row.slabs > 0 else { return }
    sink.write("  ")
    column(row.itemSize)
    column(row.liveItems)
    column(row.slabs)
    column(row.capacity)
    let hundredfold = min(row.liveItems, row.capacity).multipliedFullWidth(by: 100)
    let percent = row.capacity == 0 ? 0 : row.capacity.dividingFullWidth(hundredfold).quotient
    sink.write(byte: UInt8(ascii: " "), count: 7 - percent.digitCount)
    sink.write(decimal: percent)
    sink.write("%\n")
  }

  /// A number, right-aligned.
  private mutating func column(_ value: UInt) {
    sink.write(byte: UInt8(ascii: " "), count: Self.columnWidth - value.digitCount)
    sink.write(decimal: value)
  }

  /// A number of bytes with a binary unit and one decimal, cut off rather than rounded: `11.7 MiB`.
  private mutating func binary(_ value: UInt) {
    let step = (UInt.bitWidth - 1 - value.leadingZeroBitCount) / 10
    let shift = UInt(step * 10)
    sink.write(decimal: value >> shift)
    sink.write(".")
    let fraction = value >> (shift - 10) & 1023
    sink.write(decimal: fraction * 10 / 1024)
    switch step {
    case 1: sink.write(" KiB")
    case 2: sink.write(" MiB")
    case 3: sink.write(" GiB")
    case 4: sink.write(" TiB")
    case 5: sink.write(" PiB")
    default: sink.write(" EiB")
    }
  }
}

extension PoolStatistics {
  /// Writes the statistics as text: a figure a line under the words of docs/statistics.md, classes without slabs left out.
  public func writeText<Sink: ByteSink>(to sink: inout Sink) {
    var text = StatisticsText(sink)
    visit(&text)
    sink = text.sink
  }
}
