import Foundation

extension Trace {
  /// Of a file's bytes. What is wrong with them is said in words, with the place.
  ///
  /// - Parameter acceptsUnfinished: A program that was killed, or left by `_exit`, wrote no end. What is taken are the whole blocks:
  ///   it may have been killed while it wrote the last one.
  package static func parse(_ data: Data, acceptsUnfinished: Bool = false) throws(StudyError) -> Trace {
    let bytes = [UInt8](data)
    guard bytes.count >= TraceFormat.headerByteCount, Array(bytes[0..<8]) == TraceFormat.magic else {
      throw StudyError(
        !bytes.isEmpty && TraceFormat.magic.starts(with: bytes.prefix(8))
          ? "truncated: not even its header is whole" : "not a trace")
    }
    guard TraceFormat.checksum(bytes[0..<28]) == number(bytes, 28) else {
      throw StudyError("damaged: the checksum of its header is wrong")
    }
    guard number(bytes, 8) == TraceFormat.version else {
      throw StudyError("a trace of version \(number(bytes, 8)), and this program knows version \(TraceFormat.version)")
    }
    var trace = Trace(samplePeriod: number(bytes, 12), processIdentifier: number(bytes, 24), events: [])
    var place = TraceFormat.headerByteCount
    var blocks: UInt32 = 0
    while true {
      if place == bytes.count {
        if acceptsUnfinished { break }
        throw StudyError(
          "truncated at byte \(place): it has no end. The program that was recorded did not exit, or a part is missing")
      }
      guard bytes.count - place >= TraceFormat.blockHeadByteCount else {
        if acceptsUnfinished { break }
        throw StudyError("truncated at byte \(place): the head of a block is not whole")
      }
      let size = Int(number(bytes, place))
      let start = place + TraceFormat.blockHeadByteCount
      guard bytes.count - start >= size else {
        if acceptsUnfinished { break }
        throw StudyError("truncated at byte \(place): a block of \(size) bytes has only \(bytes.count - start)")
      }
      guard TraceFormat.checksum(bytes[place + 8..<start + size]) == number(bytes, place + 4) else {
        throw StudyError("damaged at byte \(place): the checksum of a block is wrong")
      }
      let thread = number(bytes, place + 8)
      let count = number(bytes, place + 12)
      if size == 0, thread == TraceFormat.endThread {
        guard count == blocks else { throw StudyError("\(blocks) blocks, where its end says \(count)") }
        guard start == bytes.count else { throw StudyError("\(bytes.count - start) bytes follow its end") }
        break
      }
      try append(bytes[start..<start + size], thread: thread, count: count, to: &trace, at: place)
      blocks += 1
      place = start + size
    }
    // Blocks come as they became full. Of the same time a thread's own order is kept: the sort is stable.
    trace.events.sort { $0.time < $1.time }
    return trace
  }

  private static func append(
    _ payload: ArraySlice<UInt8>, thread: UInt32, count: UInt32, to trace: inout Trace, at block: Int
  ) throws(StudyError) {
    var place = payload.startIndex
    func varint() throws(StudyError) -> UInt64 {
      var value: UInt64 = 0
      var shift: UInt64 = 0
      while place < payload.endIndex, shift < 70 {
        let byte = payload[place]
        place += 1
        value |= UInt64(byte & 0x7f) << shift
        if byte < 0x80 { return value }
        shift += 7
      }
      throw StudyError("damaged at byte \(block): a record of a block has no end")
    }
    var time: UInt64 = 0
    var address: UInt64 = 0
    for _ in 0..<count {
      let head = try varint()
      let step = try varint()
      time &+= head >> 2
      address &+= UInt64(bitPattern: Int64(bitPattern: step >> 1) ^ -Int64(step & 1)) &* 8
      // Two bits have four values, and each is a kind.
      let kind = Kind(rawValue: UInt8(head & 3)).unsafelyUnwrapped
      let byteCount = kind.isAllocation ? try varint() : 0
      trace.events.append(Event(thread: thread, time: time, kind: kind, address: address, byteCount: byteCount))
    }
    guard place == payload.endIndex else {
      throw StudyError("damaged at byte \(block): a block has more than its records")
    }
  }

  private static func number(_ bytes: [UInt8], _ place: Int) -> UInt32 {
    UInt32(bytes[place]) | UInt32(bytes[place + 1]) << 8 | UInt32(bytes[place + 2]) << 16 | UInt32(bytes[place + 3])
      << 24
  }
}
