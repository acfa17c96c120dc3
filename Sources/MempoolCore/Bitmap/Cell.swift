/// Pure functions on the value of one cell: a word of which each bit says whether one of 64 items is taken.
///
/// Nothing here touches memory; what was loaded is what is answered for. Every function is a few instructions.
public enum Cell {
  /// Every item taken; or, by exchange, the cell in somebody's hands.
  @inlinable @inline(__always)
  public static var busy: UInt { ~0 }

  /// Items in a cell.
  @inlinable @inline(__always)
  public static var itemCount: Int { UInt.bitWidth }

  @inlinable @inline(__always)
  static var indexShift: Int { UInt.bitWidth.trailingZeroBitCount }

  /// Cells that hold `itemCount` items.
  @inlinable @inline(__always)
  public static func count(forItems itemCount: Int) -> Int { (itemCount &+ Cell.itemCount &- 1) >> indexShift }

  /// The bits of a run of `count` items, in 1…64, from `bit` on. A full word overflows nothing.
  @inlinable @inline(__always)
  public static func mask(_ count: Int, at bit: Int) -> UInt {
    (~0 &>> UInt(truncatingIfNeeded: UInt.bitWidth &- count)) &<< UInt(truncatingIfNeeded: bit)
  }

  /// The bits that stand for no item when the cell has only `count` of them: none when `count` is 64 or more, all when 0
  /// or less.
  @inlinable @inline(__always)
  public static func surplus(beyond count: Int) -> UInt {
    count >= UInt.bitWidth ? 0 : count <= 0 ? ~0 : ~0 &<< UInt(truncatingIfNeeded: count)
  }

  /// A word whose bit i is set when a free run of `count` items, in 1…64, begins at item i.
  ///
  /// Each step doubles the length looked for: the bits of `starts` know of `length` free items; and-ing them with themselves,
  /// moved by at most `length`, makes them know of twice as many. Zeros move in at the top, so no run crosses the end.
  @inlinable @inline(__always)
  static func starts(of count: Int, in cell: UInt) -> UInt {
    var starts = ~cell
    var length = 1
    while length < count {
      let step = min(length, count &- length)
      starts &= starts &>> UInt(truncatingIfNeeded: step)
      length &+= step
    }
    return starts
  }

  /// The first item of the first free run of `count` items; nil when there is none, and when `count` is not in 1…64.
  @inlinable @inline(__always)
  public static func findRun(of count: Int, in cell: UInt) -> Int? {
    guard count >= 1, count <= UInt.bitWidth else { return nil }
    let starts = starts(of: count, in: cell)
    return starts == 0 ? nil : starts.trailingZeroBitCount
  }

  /// The lengths 2^k of which there is a free run: bit k, for k in 0…6.
  @inlinable @inline(__always)
  static func runLengths(in cell: UInt) -> UInt {
    var starts = ~cell
    var lengths: UInt = starts != 0 ? 1 : 0
    for exponent: UInt in 0..<6 {
      starts &= starts &>> (1 &<< exponent)
      if starts != 0 { lengths |= 2 &<< exponent }
    }
    return lengths
  }

  /// Whether there is a free run of `count` items.
  @inlinable @inline(__always)
  public static func hasRun(of count: Int, in cell: UInt) -> Bool { findRun(of: count, in: cell) != nil }
}
