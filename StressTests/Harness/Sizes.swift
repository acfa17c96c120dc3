/// The sizes that scenarios ask for. Each is one that a ``Parcel`` can carry.
enum Sizes {
  /// What most programs ask for most of the time.
  static func small(_ random: inout SplitMix64) -> Int { random.within(1...512) }

  /// Up to what the thread heaps serve, powers of two and their neighbours more often than others.
  static func medium(_ random: inout SplitMix64) -> Int {
    random.oneIn(2) ? nearPowerOfTwo(&random, 1...13) : random.within(1...8192)
  }

  /// Everything: zero, small, runs of pages, and now and then a span of its own.
  static func any(_ random: inout SplitMix64) -> Int {
    switch random.below(256) {
    case 0: 0
    case 1...160: small(&random)
    case 161...230: medium(&random)
    case 231...250: random.within(8192...32767)
    case 251...254: random.within(8...64) * Parcel.largeUnit
    default: random.within(256...640) * Parcel.largeUnit
    }
  }

  /// `2^n - 1`, `2^n` or `2^n + 1`: where size classes begin and end.
  static func nearPowerOfTwo(_ random: inout SplitMix64, _ exponents: ClosedRange<Int>) -> Int {
    max(1, (1 << random.within(exponents)) + random.within(-1...1))
  }
}
