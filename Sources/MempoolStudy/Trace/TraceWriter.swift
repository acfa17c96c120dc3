import Foundation

extension Trace {
  /// The bytes of a trace file.
  ///
  /// - Parameter recordsPerBlock: A block ends after so many, and where the thread changes.
  package func encoded(recordsPerBlock: Int = 4096) -> Data {
    var bytes = TraceFormat.magic
    bytes.append(number: TraceFormat.version)
    bytes.append(number: samplePeriod)
    bytes.append(number: UInt32(0))
    bytes.append(number: UInt32(0))
    bytes.append(number: processIdentifier)
    bytes.append(number: TraceFormat.checksum(bytes))
    var blocks: UInt32 = 0
    var start = 0
    while start < events.count {
      var end = start
      while end < events.count, events[end].thread == events[start].thread, end - start < recordsPerBlock { end += 1 }
      bytes.append(block: Self.payload(events[start..<end]), thread: events[start].thread, count: UInt32(end - start))
      blocks += 1
      start = end
    }
    bytes.append(block: [], thread: TraceFormat.endThread, count: blocks)
    return Data(bytes)
  }

  private static func payload(_ events: ArraySlice<Event>) -> [UInt8] {
    var bytes: [UInt8] = []
    var time: UInt64 = 0
    var address: UInt64 = 0
    for event in events {
      bytes.append(varint: (event.time - time) << 2 | UInt64(event.kind.rawValue))
      let step = Int64(bitPattern: event.address &- address) / 8
      bytes.append(varint: UInt64(bitPattern: step << 1 ^ step >> 63))
      if event.kind.isAllocation { bytes.append(varint: event.byteCount) }
      time = event.time
      address = event.address
    }
    return bytes
  }
}

extension [UInt8] {
  fileprivate mutating func append(number: UInt32) {
    for shift: UInt32 in [0, 8, 16, 24] { append(UInt8(truncatingIfNeeded: number >> shift)) }
  }

  fileprivate mutating func append(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(rest))
  }

  fileprivate mutating func append(block payload: [UInt8], thread: UInt32, count: UInt32) {
    var body: [UInt8] = []
    body.append(number: thread)
    body.append(number: count)
    body += payload
    append(number: UInt32(payload.count))
    append(number: TraceFormat.checksum(body))
    self += body
  }
}
