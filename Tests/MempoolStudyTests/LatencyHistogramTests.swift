import Testing

@testable import MempoolStudy

@Suite struct LatencyHistogramTests {
  /// Buckets follow each other without a gap, each value is in its own, and none is wider than 1/64 of what is in it.
  @Test func buckets() {
    var next: UInt64 = 0
    for bucket in 0..<LatencyHistogram.bucketCount {
      let range = LatencyHistogram.range(ofBucket: bucket)
      #expect(range.lowerBound == next)
      #expect(LatencyHistogram.bucket(of: range.lowerBound) == bucket)
      #expect(LatencyHistogram.bucket(of: range.upperBound) == bucket)
      #expect((range.upperBound - range.lowerBound) <= range.lowerBound / 64)
      next = range.upperBound &+ 1
    }
    #expect(next == 0)
  }

  @Test func percentilesOfSmallValuesAreExact() {
    var histogram = LatencyHistogram()
    for value in 1...100 as ClosedRange<UInt64> { histogram.record(value) }
    #expect(histogram.percentile(0.5) == 50)
    #expect(histogram.percentile(0.99) == 99)
    #expect(histogram.percentile(1) == 100)
    #expect(histogram.percentile(0) == 1)
    #expect(histogram.count == 100 && histogram.maximum == 100)
    #expect(LatencyHistogram().percentile(0.5) == 0)
  }

  /// Against the sorted list, in two halves that are merged.
  @Test func percentilesAgainstSorting() {
    var random = SplitMix64(seed: 3)
    var values: [UInt64] = []
    var halves = [LatencyHistogram(), LatencyHistogram()]
    for index in 0..<20_000 {
      let value = random.next() >> (20 + random.below(40))
      values.append(value)
      halves[index % 2].record(value)
    }
    halves[0].merge(halves[1])
    values.sort()
    for part in [0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1] {
      let exact = values[Int((part * Double(values.count)).rounded(.up)) - 1]
      let found = halves[0].percentile(part)
      #expect(found >= exact && found - exact <= exact / 64)
    }
    #expect(halves[0].filled.reduce(0) { $0 + $1.count } == 20_000)
  }
}
