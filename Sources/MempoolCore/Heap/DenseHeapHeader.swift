/// The 4-byte header in front of each block of a dense heap's page.
///
/// It lies within reach of an overflow, so it is believed only if its check fits its content and its place, and if both
/// neighbours agree with it. A plain value; whoever reads or writes one in a page holds the heap's mutex.
struct DenseHeader: Equatable {
  // word == size | previousSize << 12 | isAllocated << 24 | check << 25, where check == check(of the lower 25 bits, place)
  private(set) var word: UInt32

  /// What is found at a place, true or not.
  init(unchecked word: UInt32) { self.word = word }

  /// Sizes in units, header included. A `previousSize` of 0: the page begins here; a `size` of 0: it ends here.
  init(size: UInt, previousSize: UInt, isAllocated: Bool, place: UInt) {
    let content = UInt32(truncatingIfNeeded: size | previousSize << 12 | (isAllocated ? 1 << 24 : 0))
    word = content | Self.check(of: content, place) << 25
  }

  var size: UInt { UInt(word & 0xfff) }
  var previousSize: UInt { UInt(word >> 12 & 0xfff) }
  var isAllocated: Bool { word >> 24 & 1 == 1 }

  /// Whether this is a header that was written for `place`, its address. One in 128 arbitrary words passes.
  func isValid(at place: UInt) -> Bool { word >> 25 == Self.check(of: word & 0x1ff_ffff, place) && word != 0 }

  func with(previousSize: UInt, place: UInt) -> DenseHeader {
    DenseHeader(size: size, previousSize: previousSize, isAllocated: isAllocated, place: place)
  }

  /// Multiplicative hashing, odd multipliers from the golden ratio and from MurmurHash3's mixer: the top bits depend on all.
  private static func check(of content: UInt32, _ place: UInt) -> UInt32 {
    let place = UInt32(truncatingIfNeeded: place >> 2 ^ place >> 32)
    let mixed = (content &* 0x9e37_79b1) ^ (place &* 0x85eb_ca6b)
    return ((mixed ^ mixed >> 15) &* 0xc2b2_ae35) >> 25
  }
}
