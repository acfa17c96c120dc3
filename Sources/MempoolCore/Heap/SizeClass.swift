public import CMempoolShims

/// The sizes of small objects: 8, then steps of 16 up to 128, then eight steps a doubling, up to what is left to runs.
///
/// Above 128 bytes at most 1/9 of an item is unused, above 32 at most a quarter, but for one exception: 33, 34 and 35 bytes take
/// 48, and leave 27 to 31 % unused. That is what alignment to 16 costs: between 32 and 48 there is no multiple of it.
public enum SizeClass {
  /// Classes, from 0.
  @inlinable @inline(__always) public static var count: Int { 48 }
  /// Larger requests are runs: a thread must not hold back items of a page of the system's.
  @inlinable @inline(__always) public static var largest: UInt { 3840 }

  /// The bytes of an item.
  public static func itemSize(_ index: Int) -> UInt {
    if index == 0 { return 8 }
    if index <= 8 { return UInt(index) * 16 }
    let doubling = UInt(index - 9) / 8, step = UInt(index - 9) % 8
    return (128 << doubling) / 8 * (9 + step)
  }

  /// The smallest class whose items hold `byteCount` bytes, at most ``largest``, by the table.
  @inlinable @inline(__always)
  public static func index(_ byteCount: UInt) -> Int {
    Int(mp_class_table_address()[Int((byteCount &+ 7) >> 3)])
  }

  /// The same for items whose every address is a multiple of `alignment`; nil when there is none.
  public static func index(_ byteCount: UInt, alignment: UInt) -> Int? {
    var index = index(byteCount)
    while index < count {
      if itemSize(index) % alignment == 0 { return index }
      index += 1
    }
    return nil
  }

  /// The class whose slabs a class of few objects shares: the next that is a half or a whole above a power of two, if its items are
  /// aligned as well. Up to 128 bytes, itself.
  static func shared(_ index: Int) -> Int {
    if index <= 8 { return index }
    let coarse = min(((index - 9) | 3) + 9, count - 1)
    let size = itemSize(index)
    return itemSize(coarse) & (size & (0 &- size) &- 1) == 0 ? coarse : index
  }
}
