/// What the rest of a guarded object's page holds: a byte that is rarely written by mistake, over and over.
enum GuardPattern {
  private static var byte: UInt8 { 0xd7 }
  private static var word: UInt { 0xd7d7_d7d7_d7d7_d7d7 }

  private static func bytes(_ address: UInt) -> UnsafeMutablePointer<UInt8> {
    UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  static func fill(from start: UInt, to end: UInt) {
    if start < end { bytes(start).update(repeating: byte, count: Int(end - start)) }
  }

  /// The lowest address of `[start, end)` that holds something else.
  static func firstOther(from start: UInt, to end: UInt) -> UInt? {
    var address = start
    while address < end {
      // Words where the bytes make one.
      if address & 7 == 0, end - address >= 8,
        UnsafePointer<UInt>(bitPattern: address).unsafelyUnwrapped.pointee == word
      {
        address += 8
      } else if bytes(address).pointee == byte {
        address += 1
      } else {
        return address
      }
    }
    return nil
  }

  /// The highest address of `[start, end)` that holds something else.
  static func lastOther(from start: UInt, to end: UInt) -> UInt? {
    guard var found = firstOther(from: start, to: end) else { return nil }
    while let next = firstOther(from: found + 1, to: end) { found = next }
    return found
  }
}
