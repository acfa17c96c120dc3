/// What is known of a slot of the guard region: the object on its page, or the one that was there last.
///
/// In a table out of the objects' reach. Changed under the region's lock; a report of a fault reads it without.
struct GuardedObject {
  // 0: the slot was never used
  var address: UInt = 0
  // As it was asked for
  var byteCount: UInt = 0
  var isLive = false
  // Among the slots that are free: the one that became so next; 0: none, or its number + 1
  var next: UInt = 0
  var allocation = Backtrace()
  // Of the last object, when it is not live
  var deallocation = Backtrace()
}

typealias GuardedObjectPointer = UnsafeMutablePointer<GuardedObject>

extension UnsafeMutablePointer where Pointee == GuardedObject {
  /// The address behind its last byte.
  var behind: UInt { pointee.address &+ pointee.byteCount }

  /// Bytes between the object and an address outside it; 0 inside.
  func distance(to address: UInt) -> UInt {
    address < pointee.address ? pointee.address - address : address < behind ? 0 : address - behind
  }

  /// Writes who allocated it, who gave it back, and where the calling thread is now, to standard error. Safe in a signal handler.
  func writeHistory() {
    pointee.allocation.write("allocated")
    if !pointee.isLive { pointee.deallocation.write("freed") }
    // Last: the caller's stack may be broken, or small.
    Backtrace.here().write("noticed")
  }
}

extension ReportLine {
  /// Where an address is, as seen from an object: `overflow, 12 bytes behind the end of an object of 100 bytes`.
  mutating func append(_ address: UInt, asSeenFrom object: GuardedObjectPointer, verb: StaticString = "") {
    let start = object.pointee.address
    let isBefore = address < start, isBehind = address >= object.behind
    append(!object.pointee.isLive ? "use after free, " : isBefore ? "underflow, " : isBehind ? "overflow, " : "")
    append(verb)
    append(decimal: isBefore ? start - address : isBehind ? address - object.behind : address - start)
    append(isBefore ? " bytes before the start of" : isBehind ? " bytes behind the end of" : " bytes into")
    append(" an object of ")
    append(decimal: object.pointee.byteCount)
    append(" bytes")
  }
}
