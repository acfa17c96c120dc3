public import CMempoolShims

/// The sizes of objects in slabs: small ones of 8, then steps of 16 up to 128, then eight steps a doubling, up to 3840; and medium ones of 4 to
/// 32 KiB, four steps a doubling, which only plain pools that can grow keep in slabs. All else is left to runs.
///
/// Above 128 bytes at most 1/9 of an item is unused, above 32 at most a quarter, but for one exception: 33, 34 and 35 bytes take
/// 48, and leave 27 to 31 % unused. That is what alignment to 16 costs: between 32 and 48 there is no multiple of it. Of a medium item at most a
/// fifth is unused.
public enum SizeClass {
  /// Classes, from 0; the medium ones after the small ones.
  @inlinable @inline(__always) public static var count: Int { 61 }
  @inlinable @inline(__always) public static var smallCount: Int { 48 }
  /// The largest small item.
  @inlinable @inline(__always) public static var largest: UInt { 3840 }
  /// The largest medium item. Larger requests are runs.
  @inlinable @inline(__always) public static var largestMedium: UInt { 32 << 10 }

  /// The bytes of an item.
  public static func itemSize(_ index: Int) -> UInt {
    if index == 0 { return 8 }
    if index <= 8 { return UInt(index) * 16 }
    if index >= smallCount { return (1024 << UInt((index - smallCount) / 4)) * UInt(4 + (index - smallCount) % 4) }
    let doubling = UInt(index - 9) / 8, step = UInt(index - 9) % 8
    return (128 << doubling) / 8 * (9 + step)
  }

  /// The smallest small class whose items hold `byteCount` bytes, at most ``largest``, by the table.
  @inlinable @inline(__always)
  public static func index(_ byteCount: UInt) -> Int {
    Int(mp_class_table_address()[Int((byteCount &+ 7) >> 3)])
  }

  /// The smallest medium class whose items hold `byteCount` bytes, above ``largest`` and at most ``largestMedium``.
  @inline(__always)
  static func medium(_ byteCount: UInt) -> Int {
    let last = byteCount &- 1, doubling = UInt.bitWidth - 1 - last.leadingZeroBitCount
    // (last >> (doubling - 2)) is the quarter of the doubling, 4 to 7.
    return 4 &* doubling &+ Int(last &>> UInt(doubling &- 2)) &+ smallCount &- 51
  }

  /// The same as ``index(_:)`` for items whose every address is a multiple of `alignment`; nil when there is none.
  public static func index(_ byteCount: UInt, alignment: UInt) -> Int? {
    var index = index(byteCount)
    while index < smallCount {
      if itemSize(index) % alignment == 0 { return index }
      index += 1
    }
    return nil
  }

  /// The class whose slabs a class of few objects shares: the next that is a half or a whole above a power of two, if its items are
  /// aligned as well. Up to 128 bytes, and of medium ones, itself.
  static func shared(_ index: Int) -> Int {
    if index <= 8 || index >= smallCount { return index }
    let coarse = min(((index - 9) | 3) + 9, smallCount - 1)
    let size = itemSize(index)
    return itemSize(coarse) & (size & (0 &- size) &- 1) == 0 ? coarse : index
  }
}
