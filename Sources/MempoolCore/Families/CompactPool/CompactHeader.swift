import CMempoolShims

/// The 4 bytes in front of each block of a compact pool's region.
///
/// They lie within reach of an overflow, so a block is believed only if both neighbours agree with it. 0 is no header: what a block was
/// is wiped out when it becomes part of another. Written under the shard's lock, by relaxed stores, as who maps an object reads its
/// header without.
struct CompactHeader: Equatable {
  // word == size | previousUnits << 16 | state << 30
  let word: UInt32

  enum State {
    static var none: UInt32 { 0 }
    static var free: UInt32 { 1 }
    static var allocated: UInt32 { 2 }
    /// Of an object with pages of its own, whose size stands at the region's start.
    static var run: UInt32 { 3 }
  }

  init(unchecked word: UInt32) { self.word = word }

  /// A free block of `units` units, header included; `previousUnits` 0: the region begins here.
  init(freeUnits units: UInt, previousUnits: UInt) {
    word = UInt32(truncatingIfNeeded: units | previousUnits << 16) | State.free << 30
  }

  /// A live object of exactly `byteCount` bytes.
  init(byteCount: UInt, previousUnits: UInt) {
    word = UInt32(truncatingIfNeeded: byteCount | previousUnits << 16) | State.allocated << 30
  }

  static var run: CompactHeader { CompactHeader(unchecked: State.run << 30) }
  static var none: CompactHeader { CompactHeader(unchecked: 0) }

  /// Bytes of an object, units of a free block.
  var size: UInt { UInt(word & 0xffff) }
  var previousUnits: UInt { UInt(word >> 16 & 0x3fff) }
  var state: UInt32 { word >> 30 }
  var isFree: Bool { state == State.free }
  var isAllocated: Bool { state == State.allocated }

  func with(previousUnits: UInt) -> CompactHeader {
    CompactHeader(unchecked: word & ~(0x3fff << 16) | UInt32(truncatingIfNeeded: previousUnits << 16))
  }
}

/// A block's number: its region's, and the unit of its header.
struct CompactBlock: Equatable {
  let number: UInt32

  init(_ number: UInt32) { self.number = number }

  init(region: UInt, unit: UInt) { number = UInt32(truncatingIfNeeded: region << CompactRegion.unitShift | unit) }

  var region: UInt { UInt(number >> UInt32(CompactRegion.unitShift)) }
  var unit: UInt { UInt(number) & (CompactRegion.unitCount - 1) }
}
