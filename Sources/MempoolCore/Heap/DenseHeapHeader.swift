/// The 4-byte header in front of each block of a dense heap's page: what the block is, and how long the one before it is.
///
/// It lies within reach of an overflow, so it is believed only if its checks fit its content and its place, and if both neighbours agree
/// with it. A plain value of two halves, each read and written as one: while a block is out, its owner changes only ``before``, and
/// another thread only ``block``.
struct DenseHeader: Equatable {
  let block: DenseBlock
  let before: DenseBefore

  var size: UInt { block.size }
  var previousSize: UInt { before.size }
  var isAllocated: Bool { block.isAllocated }

  /// Whether this is a header that was written for `place`, its address. One in 128 arbitrary words passes.
  @inline(__always)
  func isValid(at place: UInt) -> Bool { block.isValid(at: place) && before.isValid(at: place) }
}

/// What a block is: its size, and whether it is out.
struct DenseBlock: Equatable {
  // Free: size | check << 12. Out: size | check << 10 | isFreed << 14 | 1 << 15. A block that is out is no longer than a quarter of a page.
  private(set) var word: UInt16

  /// What is found at a place, true or not.
  init(unchecked word: UInt16) { self.word = word }

  /// `size` in units, header included; 0, and out: the page ends here.
  @inline(__always) static func free(_ size: UInt, at place: UInt) -> DenseBlock {
    DenseBlock(content: UInt16(size), place)
  }
  @inline(__always) static func out(_ size: UInt, at place: UInt) -> DenseBlock {
    DenseBlock(content: UInt16(size) | outBit, place)
  }
  /// Given back, and not yet joined with what is free beside it.
  @inline(__always)
  static func freed(_ size: UInt, at place: UInt) -> DenseBlock {
    DenseBlock(content: UInt16(size) | outBit | freedBit, place)
  }

  @inline(__always)
  private init(content: UInt16, _ place: UInt) {
    let check = Self.check(of: content, place)
    word = content | (content & Self.outBit != 0 ? check & 15 << 10 : check & 7 << 12)
  }

  private static var outBit: UInt16 { 1 << 15 }
  private static var freedBit: UInt16 { 1 << 14 }
  /// Units of the largest block that can be out.
  static var largest: UInt { 1023 }

  /// Whether it is out, or was, and has not been joined with its neighbours since.
  var isAllocated: Bool { word & Self.outBit != 0 }
  var isFreed: Bool { word & (Self.outBit | Self.freedBit) == Self.outBit | Self.freedBit }
  /// Whether it is an object of the program's.
  var isOut: Bool { word & (Self.outBit | Self.freedBit) == Self.outBit }
  var size: UInt { UInt(isAllocated ? word & 0x3ff : word & 0xfff) }

  @inline(__always)
  func isValid(at place: UInt) -> Bool {
    isAllocated || size > 0
      ? DenseBlock(content: word & (isAllocated ? 0xc3ff : 0xfff), place).word == word : false
  }

  @inline(__always)
  private static func check(of content: UInt16, _ place: UInt) -> UInt16 {
    UInt16(truncatingIfNeeded: DenseCheck.of(UInt32(content), place) >> 28)
  }
}

/// The size of the block before, in units; 0: the page begins here.
struct DenseBefore: Equatable {
  // size | check << 12
  private(set) var word: UInt16

  init(unchecked word: UInt16) { self.word = word }

  @inline(__always)
  init(_ size: UInt, at place: UInt) {
    let check = DenseCheck.of(UInt32(truncatingIfNeeded: size) | 1 << 16, place) >> 28
    word = UInt16(truncatingIfNeeded: size | UInt(check) << 12)
  }

  var size: UInt { UInt(word & 0xfff) }

  @inline(__always)
  func isValid(at place: UInt) -> Bool { DenseBefore(size, at: place) == self }
}

/// Multiplicative hashing, odd multipliers from the golden ratio and from MurmurHash3's mixer: the top bits depend on all.
enum DenseCheck {
  @inline(__always)
  static func of(_ content: UInt32, _ place: UInt) -> UInt32 {
    let place = UInt32(truncatingIfNeeded: place >> 2 ^ place >> 32)
    return (content ^ place &* 0x85eb_ca6b) &* 0x9e37_79b1
  }
}
