import CMempoolShims

/// One line of text, built on the stack: reports are written when nothing may allocate.
///
/// What does not fit is cut off. A line is at most 255 bytes, ends in a newline, and goes out in one `write`.
public struct ReportLine {
  private var bytes = InlineArray<256, UInt8>(repeating: 0)
  private var count = 0

  /// A line that begins with the name of this package, as all do.
  public init() { append("mempool: ") }

  /// One that begins with a call and its pointer: `mempool: free(0x7f0012345670): `.
  init(_ call: CallName, _ address: UInt) {
    self.init()
    append(cString: UnsafeRawPointer(call.start).assumingMemoryBound(to: CChar.self))
    append("(")
    append(address: address)
    append("): ")
  }

  public mutating func append(_ text: StaticString) {
    append(text.utf8Start, count: text.utf8CodeUnitCount)
  }

  public mutating func append(_ text: UnsafePointer<UInt8>, count textCount: Int) {
    for i in 0..<textCount { append(text[i]) }
  }

  /// A NUL-terminated string that somebody else owns, such as an environment value; control characters are shown as `?`.
  public mutating func append(cString: UnsafePointer<CChar>) {
    var next = cString
    while next.pointee != 0 {
      let byte = UInt8(bitPattern: next.pointee)
      append(byte < 32 || byte == 127 ? UInt8(ascii: "?") : byte)
      next += 1
    }
  }

  public mutating func append(_ byte: UInt8) {
    guard count < 255 else { return }
    bytes[count] = byte
    count += 1
  }

  public mutating func append(decimal value: UInt) {
    if value >= 10 { append(decimal: value / 10) }
    append(UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value % 10))
  }

  public mutating func append(address value: UInt) {
    append("0x")
    var shift = (UInt.bitWidth - 1 - (value | 1).leadingZeroBitCount) / 4 * 4
    while shift >= 0 {
      let digit = UInt8(truncatingIfNeeded: value >> UInt(shift) & 15)
      append(digit < 10 ? UInt8(ascii: "0") &+ digit : UInt8(ascii: "a") &+ digit &- 10)
      shift -= 4
    }
  }

  /// Writes the line to standard error. Keeps `errno`.
  public mutating func write() {
    bytes[count] = UInt8(ascii: "\n")
    let total = count + 1
    bytes.span.withUnsafeBytes { buffer in
      mp_write_error(buffer.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self), total)
    }
  }
}

/// The name of a call, and what it wants with an object, in one register, where three would be in the way.
public struct CallName {
  // The name's address; its top bit, which no address has, says that the call does not give back.
  @usableFromInline let word: UInt

  private static var useMark: UInt { 1 << 63 }

  /// Of a call that gives back. `name` is a literal, so it lives for ever and ends in a zero.
  @inlinable @inline(__always) public init(_ name: StaticString) { word = UInt(bitPattern: name.utf8Start) }

  init(_ name: StaticString, for purpose: Purpose) {
    word = UInt(bitPattern: name.utf8Start) | (purpose == .use ? Self.useMark : 0)
  }

  var start: UnsafePointer<UInt8> { UnsafePointer(bitPattern: word & ~Self.useMark).unsafelyUnwrapped }
  var purpose: Purpose { word & Self.useMark == 0 ? .free : .use }
}

/// Reports misuse on one line, naming the call, the pointer and what is wrong, and aborts:
/// `mempool: free(0x7f0012345670): double free`.
public func misuse(_ call: StaticString, _ address: UInt, _ what: StaticString) -> Never {
  misuse(CallName(call), address, what)
}

public func misuse(_ call: CallName, _ address: UInt, _ what: StaticString) -> Never {
  var line = ReportLine(call, address)
  line.append(what)
  line.write()
  mp_abort()
}

/// The same, naming one of many by its number: `mempool: mp_bitmap_free(0x7f0012345670): double free of item 12`.
public func misuse(_ call: StaticString, _ address: UInt, _ what: StaticString, _ number: UInt) -> Never {
  var line = ReportLine()
  line.append(call)
  line.append("(")
  line.append(address: address)
  line.append("): ")
  line.append(what)
  line.append(decimal: number)
  line.write()
  mp_abort()
}

/// Reports what cannot be gone on from, for a call that takes a size: `mempool: mp_malloc(100): out of memory`.
public func fatal(_ call: StaticString, byteCount: UInt, _ what: StaticString) -> Never {
  var line = ReportLine()
  line.append(call)
  line.append("(")
  line.append(decimal: byteCount)
  line.append("): ")
  line.append(what)
  line.write()
  mp_abort()
}

/// Reports a record that does not agree with others, `mempool: span 0x7f0012345670 is broken: a wrong size`, for what checks
/// them all to go on; always false.
func reportBroken(_ record: StaticString, _ address: UInt, _ what: StaticString) -> Bool {
  var line = ReportLine()
  line.append(record)
  line.append(" ")
  line.append(address: address)
  line.append(" is broken: ")
  line.append(what)
  line.write()
  return false
}
