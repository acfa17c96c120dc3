/// Bytes that a fuzzer made up, read as numbers. Past its end an input is all zeros.
struct Input {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var next = 0

  init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  var isEmpty: Bool { next >= bytes.count }

  mutating func byte() -> Int {
    guard next < bytes.count else { return 0 }
    defer { next += 1 }
    return Int(bytes[next])
  }

  /// A number in `0..<bound`, of one byte.
  mutating func below(_ bound: Int) -> Int { byte() % bound }

  mutating func word() -> UInt { (0..<8).reduce(0) { word, _ in word << 8 | UInt(byte()) } }

  /// A number of bytes as callers ask for: small, around powers of two, up to a megabyte, or what nobody has.
  mutating func size() -> UInt {
    let kind = byte(), value = UInt(byte())
    switch kind {
    case 0..<120: return value
    case 120..<180: return value << UInt(kind % 6)
    case 180..<220: return 1 << UInt(kind % 21) &+ value &- 128
    case 220..<245: return value << 8 | UInt(byte())
    case 245..<250: return value << 12
    case 250..<253: return UInt.max &- value
    default: return UInt(Int.max) &+ value &- 128
    }
  }

  /// The rest, as a C string.
  mutating func text() -> [UInt8] {
    let rest = bytes[min(next, bytes.count)...].prefix { $0 != 0 }
    next = bytes.count
    return Array(rest) + [0]
  }
}

/// What a driver found wrong.
struct Wrong: Error, CustomStringConvertible {
  let description: String
}

@inline(__always)
func demand(_ isTrue: Bool, _ what: @autoclosure () -> String) throws {
  if !isTrue { throw Wrong(description: what()) }
}
