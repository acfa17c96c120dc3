import CMempoolShims

extension UnsafeMutablePointer where Pointee == GuardRegion {
  // A thread counts its allocations down to the next one that is sampled. Counts are random, so that no period of a program's own
  // keeps a call out of the sample.

  /// What a thread counts from one sample to the next: 1…2n - 1, each as likely, so that one allocation in n is sampled.
  var gap: UInt { 1 + draw(below: 2 * interval.loadRelaxed() - 1) }

  /// What it counts to its first. As if it had allocated for ever: the lower of two different numbers in 1…2n. So every
  /// allocation is as likely to be sampled, also the first of threads that make a few and end.
  var firstGap: UInt {
    let most = 2 * interval.loadRelaxed()
    let one = draw(below: most)
    var other = draw(below: most - 1)
    if other >= one { other += 1 }
    return 1 + min(one, other)
  }

  /// A random number below `bound`: SplitMix64, whose state is a count.
  private func draw(below bound: UInt) -> UInt {
    var z = pointee.seed &+ draws.fetchAddRelaxed(1) &* 0x9e37_79b9_7f4a_7c15
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return (z ^ z >> 31).multipliedFullWidth(by: bound).high
  }
}
