import CMempoolShims

/// Why a handle cannot be used. A call that throws this has changed nothing.
public enum CompactFault: Error {
  /// Numbers that no handle of the pool has.
  case noHandle
  /// No object has this handle: it was given back, or never handed out.
  case notLive
  /// Free memory: the object was given back.
  case free
  /// The middle of an object, or no object's place.
  case notAnObject
  /// Its header, or a neighbour's, is not what the pool wrote.
  case overwritten
  /// Somebody has it mapped.
  case mapped
  /// Of a pool that another process changes.
  case foreign

  /// What a report says of it.
  public func text(_ purpose: Purpose) -> StaticString {
    switch self {
    case .noHandle: "no object can have this handle"
    case .notLive: purpose.freedOrNeverAllocated
    case .free: purpose.freed
    case .notAnObject: "not the start of an object"
    case .overwritten: "block header overwritten"
    case .mapped: "object freed while it is mapped"
    case .foreign: "of another process's pool"
    }
  }
}

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Reports misuse of a handle, and ends the process: `mempool: mp_compact_free(17, 260): double free`.
  public func report(_ call: StaticString, _ handle: CompactHandle, _ what: StaticString) -> Never {
    var line = ReportLine()
    line.append(call)
    line.append("(")
    line.append(decimal: UInt(handle.page))
    line.append(", ")
    line.append(decimal: UInt(handle.offset))
    line.append("): ")
    line.append(what)
    line.write()
    mp_abort()
  }
}
