/// How often which latency was seen: the log-linear buckets of HdrHistogram, with 7 bits of a value kept.
///
/// Values below 128 have a bucket each; above that each power of two is divided into 64, so that a value is known to
/// 1/64 of itself, up to what a word holds. Recording is a shift and an increment, and never allocates. Owned by one thread;
/// merged when that has ended.
package struct LatencyHistogram: Sendable, Equatable {
  // counts[bucket(of: v)]: how many v; their sum is `count`.
  private var counts: [UInt64]
  package private(set) var count: UInt64 = 0
  package private(set) var maximum: UInt64 = 0

  static let halfBits = 6
  static let half = 1 << halfBits
  static let bucketCount = (UInt64.bitWidth - halfBits + 1) << halfBits

  package init() { counts = [UInt64](repeating: 0, count: Self.bucketCount) }

  /// The bucket of a value: ⌊v / 2^e⌋ with e such that it has 7 bits, and e before it.
  @inline(__always)
  static func bucket(of value: UInt64) -> Int {
    let exponent = max(0, UInt64.bitWidth &- halfBits &- 1 &- value.leadingZeroBitCount)
    return exponent &<< halfBits &+ Int(truncatingIfNeeded: value &>> UInt64(truncatingIfNeeded: exponent))
  }

  /// The values of a bucket.
  static func range(ofBucket bucket: Int) -> ClosedRange<UInt64> {
    let exponent = max(0, bucket >> halfBits - 1)
    let lowest = UInt64(bucket - exponent << halfBits) << UInt64(exponent)
    return lowest...lowest + (1 << UInt64(exponent) - 1)
  }

  @inline(__always)
  package mutating func record(_ value: UInt64) {
    counts[Self.bucket(of: value)] &+= 1
    count &+= 1
    if value > maximum { maximum = value }
  }

  package mutating func merge(_ other: LatencyHistogram) {
    for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
    count += other.count
    maximum = max(maximum, other.maximum)
  }

  /// The least value that this part of all, in 0…1, does not exceed, to 1/64 upwards and never above the largest that was
  /// recorded; 0 of nothing.
  package func percentile(_ part: Double) -> UInt64 {
    guard count > 0 else { return 0 }
    let wanted = max(1, UInt64((part * Double(count)).rounded(.up)))
    var seen: UInt64 = 0
    for bucket in counts.indices where counts[bucket] > 0 {
      seen += counts[bucket]
      if seen >= wanted { return min(Self.range(ofBucket: bucket).upperBound, maximum) }
    }
    return maximum
  }

  /// The buckets that hold something: their largest value, and how many.
  package var filled: [(upperBound: UInt64, count: UInt64)] {
    counts.indices.filter { counts[$0] > 0 }.map { (Self.range(ofBucket: $0).upperBound, counts[$0]) }
  }
}
