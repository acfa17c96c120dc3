/// A row of bits in memory that somebody else owns, a bit a block, searched a word at a time.
///
/// Not for several threads at once. Bits from `count` to the end of the last word are clear, and stay so.
struct BlockBits {
  let words: UnsafeMutablePointer<UInt>
  let count: UInt

  static var wordBits: UInt { UInt(UInt.bitWidth) }

  static func wordCount(_ count: UInt) -> UInt { count / wordBits + (count % wordBits == 0 ? 0 : 1) }

  func isSet(_ index: UInt) -> Bool { words[Int(index / Self.wordBits)] >> (index % Self.wordBits) & 1 == 1 }

  func clearAll() { words.update(repeating: 0, count: Int(Self.wordCount(count))) }

  @inline(__always)
  func set(_ start: UInt, _ length: UInt) { forEachWord(start, length) { words[$0] |= $1 } }

  @inline(__always)
  func clear(_ start: UInt, _ length: UInt) { forEachWord(start, length) { words[$0] &= ~$1 } }

  /// The first bit of `start..<end` that is set; `end` when none is.
  @inline(__always)
  func firstSet(_ start: UInt, _ end: UInt) -> UInt { search(start, end, flip: 0) }

  /// The first bit of `start..<end` that is clear; `end` when none is.
  @inline(__always)
  func firstClear(_ start: UInt, _ end: UInt) -> UInt { search(start, end, flip: ~0) }

  func setCount() -> UInt {
    var sum = 0
    for index in 0..<Int(Self.wordCount(count)) { sum += words[index].nonzeroBitCount }
    return UInt(sum)
  }

  @inline(__always)
  private func search(_ start: UInt, _ end: UInt, flip: UInt) -> UInt {
    guard start < end else { return end }
    var word = start / Self.wordBits
    // What lies before the start does not count.
    var bits = (words[Int(word)] ^ flip) & (~0 << (start % Self.wordBits))
    while bits == 0 {
      word += 1
      guard word * Self.wordBits < end else { return end }
      bits = words[Int(word)] ^ flip
    }
    return min(word * Self.wordBits + UInt(bits.trailingZeroBitCount), end)
  }

  @inline(__always)
  private func forEachWord(_ start: UInt, _ length: UInt, _ body: (Int, UInt) -> Void) {
    var start = start, left = length
    while left > 0 {
      let shift = start % Self.wordBits
      let here = min(left, Self.wordBits - shift)
      body(Int(start / Self.wordBits), (~0 >> (Self.wordBits - here)) << shift)
      start += here
      left -= here
    }
  }
}
