/// What is known of an object between guard pages, live or not: a copy, for a report.
struct GuardedHistory {
  let address: UInt
  let byteCount: UInt
  let isLive: Bool
  let allocation: Backtrace
  // When it is not live
  let deallocation: Backtrace

  /// The address behind its last byte.
  var behind: UInt { address &+ byteCount }

  /// Writes who allocated it, and who gave it back, to standard error. Safe in a signal handler.
  func write() {
    allocation.write("allocated")
    if !isLive { deallocation.write("freed") }
  }
}

extension ReportLine {
  /// Where an address is, as seen from an object: `overflow, 12 bytes behind the end of an object of 100 bytes`.
  mutating func append(_ address: UInt, asSeenFrom object: GuardedHistory, verb: StaticString = "") {
    let start = object.address
    let isBefore = address < start, isBehind = address >= object.behind
    append(!object.isLive ? "use after free, " : isBefore ? "underflow, " : isBehind ? "overflow, " : "")
    append(verb)
    append(decimal: isBefore ? start - address : isBehind ? address - object.behind : address - start)
    append(isBefore ? " bytes before the start of" : isBehind ? " bytes behind the end of" : " bytes into")
    append(" an object of ")
    append(decimal: object.byteCount)
    append(" bytes")
  }
}
