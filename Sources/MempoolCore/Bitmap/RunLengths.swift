/// The run lengths that get a hint tree of their own in an ``AtomicBitmap``: powers of two from 1 to 64.
///
/// A tree costs a bit a cell (and a 63rd more), and one atomic operation whenever a cell gains or loses its last run of
/// that length. `.one` is the classic "full"; `.sixtyFour` means "not empty" and is what whole-cell searches use. A plain
/// value; `[]` means no hints, right for bitmaps of a few cells.
public struct RunLengths: OptionSet, Sendable {
  // Bit k: a tree for runs of 2^k items.
  public let rawValue: UInt

  @inlinable public init(rawValue: UInt) { self.rawValue = rawValue & 0x7f }

  public static var one: RunLengths { RunLengths(rawValue: 1 << 0) }
  public static var two: RunLengths { RunLengths(rawValue: 1 << 1) }
  public static var four: RunLengths { RunLengths(rawValue: 1 << 2) }
  public static var eight: RunLengths { RunLengths(rawValue: 1 << 3) }
  public static var sixteen: RunLengths { RunLengths(rawValue: 1 << 4) }
  public static var thirtyTwo: RunLengths { RunLengths(rawValue: 1 << 5) }
  public static var sixtyFour: RunLengths { RunLengths(rawValue: 1 << 6) }

  /// Trees.
  var count: Int { rawValue.nonzeroBitCount }

  /// The exponent of the largest length that is at most `count`.
  func exponent(atMost count: Int) -> Int? {
    let smaller = rawValue & (~0 >> UInt(UInt(count).leadingZeroBitCount))
    return smaller == 0 ? nil : UInt.bitWidth - 1 - smaller.leadingZeroBitCount
  }

  /// The exponent of the smallest length that is at least `count`: a cell with room for it has room for `count`.
  func exponent(atLeast count: Int) -> Int? {
    let larger = rawValue & (~0 << UInt(UInt.bitWidth - UInt(count - 1).leadingZeroBitCount))
    return larger == 0 ? nil : larger.trailingZeroBitCount
  }

  /// Which tree, counted from the shortest length, has this exponent.
  func position(of exponent: Int) -> Int { (rawValue & ((1 << UInt(exponent)) - 1)).nonzeroBitCount }
}
