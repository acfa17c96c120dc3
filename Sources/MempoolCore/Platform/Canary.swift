/// The bytes behind an object, from the one after what was asked for to the end of what it got: a pattern that nobody knows who
/// does not know the pool's secret, another one for each object, without a zero byte, as the end of a string is what
/// is most often written one byte too far.
///
/// Of a large object only the first bytes: an overflow begins there.
struct Canary {
  let start: UInt
  let end: UInt
  // Whether another object may begin at `end`.
  private let hasNext: Bool
  private let pattern: UInt

  /// Of a large object.
  static var most: UInt { 256 }

  /// What shows in the bytes.
  enum Damage {
    case behindTheEnd
    /// Only at the far end, where what lies behind begins.
    case beforeTheNext
  }

  /// Of an object of `byteCount` bytes at `address`, up to the `usedByteCount`th.
  init(_ address: UInt, _ byteCount: UInt, usedByteCount: UInt, hasNext: Bool, secret: UInt) {
    start = address + byteCount
    end = address + usedByteCount
    self.hasNext = hasNext
    pattern = Hardening.scramble(secret, address) | 0x0101_0101_0101_0101
  }

  @inline(__always)
  private func byte(_ address: UInt) -> UInt8 { UInt8(truncatingIfNeeded: pattern &>> ((address & 7) &* 8)) }

  @inline(__always)
  private func bytes(_ address: UInt) -> UnsafeMutablePointer<UInt8> {
    UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  @inline(__always)
  private func words(_ address: UInt) -> UnsafeMutablePointer<UInt> {
    UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  // Bytes up to a word, then words: `end` is a multiple of 8.

  func write() {
    var next = start
    while next & 7 != 0, next < end {
      bytes(next).pointee = byte(next)
      next &+= 1
    }
    while next < end {
      words(next).pointee = pattern
      next &+= 8
    }
  }

  /// What of it is not as it was written; nil: all is.
  var damage: Damage? {
    var next = start
    while next & 7 != 0, next < end, bytes(next).pointee == byte(next) { next &+= 1 }
    if next & 7 == 0 {
      while next < end, words(next).pointee == pattern { next &+= 8 }
    }
    return next < end ? kind(from: next) : nil
  }

  // `first` is where the first byte that is not as it was lies, or the word that it is in.
  private func kind(from first: UInt) -> Damage {
    var next = first
    while bytes(next).pointee == byte(next) { next &+= 1 }
    // Behind a first byte that is whole, and up to the last one.
    return hasNext && next > start && bytes(end - 1).pointee != byte(end - 1) ? .beforeTheNext : .behindTheEnd
  }
}
