/// Contents that tell blocks apart: each word holds a number of its own block's.
enum Pattern {
  /// Long blocks are written at both ends and once a page, so that they cost no more than short ones.
  private static let whole = 16384
  private static let edge = 512

  private static func visit(_ byteCount: Int, _ body: (Int) -> Bool) -> Bool {
    if byteCount <= whole {
      for offset in 0..<byteCount where !body(offset) { return false }
      return true
    }
    for offset in 0..<edge where !body(offset) { return false }
    for offset in stride(from: edge, to: byteCount - edge, by: 4096) where !body(offset) { return false }
    for offset in byteCount - edge..<byteCount where !body(offset) { return false }
    return true
  }

  private static func byte(_ tag: UInt64, _ offset: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: (tag &+ UInt64(truncatingIfNeeded: offset)) &* 0x9e37_79b9_7f4a_7c15 >> 56)
  }

  static func fill(_ pointer: UnsafeMutableRawPointer, _ byteCount: Int, _ tag: UInt64) {
    _ = visit(byteCount) {
      pointer.storeBytes(of: byte(tag, $0), toByteOffset: $0, as: UInt8.self)
      return true
    }
  }

  /// Whether the first `byteCount` bytes of a block that was filled with `filledCount` still hold what it was filled with.
  static func isIntact(_ pointer: UnsafeRawPointer, _ byteCount: Int, filled filledCount: Int, _ tag: UInt64) -> Bool {
    visit(filledCount) {
      $0 >= byteCount || pointer.loadUnaligned(fromByteOffset: $0, as: UInt8.self) == byte(tag, $0)
    }
  }

  static func isIntact(_ pointer: UnsafeRawPointer, _ byteCount: Int, _ tag: UInt64) -> Bool {
    isIntact(pointer, byteCount, filled: byteCount, tag)
  }

  /// Whether all bytes are zero; all of them are looked at.
  static func isZero(_ pointer: UnsafeRawPointer, _ byteCount: Int) -> Bool {
    var rest = byteCount
    var at = pointer
    while rest >= 8 {
      if at.loadUnaligned(as: UInt64.self) != 0 { return false }
      at += 8
      rest -= 8
    }
    while rest > 0 {
      if at.load(as: UInt8.self) != 0 { return false }
      at += 1
      rest -= 1
    }
    return true
  }
}
