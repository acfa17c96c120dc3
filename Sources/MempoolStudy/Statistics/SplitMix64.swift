/// A small generator whose sequence depends on nothing but its seed, so that a run can be repeated.
package struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  /// Below `bound`, which is small against 2^64: what is not even about it is not seen. No division.
  @inline(__always)
  package mutating func below(_ bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }

  /// In 0..<1.
  @inline(__always)
  package mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}
