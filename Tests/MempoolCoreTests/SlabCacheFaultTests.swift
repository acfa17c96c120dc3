import CMempoolShims
import Testing

@testable import MempoolCore

/// Slab caches when the system refuses memory. The switch that makes it refuse is the process's: the test runs in one of its own.
@Suite struct SlabCacheFaultTests {
  @Test func everyNthCallFails() async {
    await #expect(processExitsWith: .success) {
      do {
        for n in UInt(1)...30 { try SlabCacheFaultTests.use(failingEvery: n) }
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  /// A cache made and used while every nth call fails: nil or an error is all that comes of it, and afterwards it works.
  private static func use(failingEvery n: UInt) throws {
    let test = try TestPool(.crowded)
    let pool = test.pool
    var random = SplitMix64(seed: SplitMix64.seed("everyNthCallFails, every \(n)"))
    mp_system_fail_every(n)
    defer { mp_system_fail_every(0) }
    for itemSize in [24, 1000, 20_000, 300_000] as [UInt] {
      var made: SlabCachePointer?
      for _ in 0..<20 where made == nil {
        do throws(PoolError) {
          made = try pool.makeCache(itemSize: itemSize)
        } catch {
          try demand(error == .outOfMemory, "every \(n)th call: \(error)")
        }
      }
      mp_system_fail_every(made == nil ? 0 : n)
      let cache = try made ?? pool.makeCache(itemSize: itemSize)
      mp_system_fail_every(n)
      var live: [(item: UnsafeMutableRawPointer, count: UInt, tag: UInt64)] = []
      func take(_ count: UInt) -> Bool {
        guard let item = count == 1 ? cache.take() : cache.takeArray(count) else { return false }
        live.append((item, count, random.next()))
        Pattern.fill(item, Int(itemSize), live.last!.tag)
        return true
      }
      func put(_ index: Int) throws {
        let block = live.remove(at: index)
        try demand(Pattern.isIntact(block.item, Int(itemSize), block.tag), "an item was written to")
        if block.count == 1 { cache.put(block.item) } else { cache.putArray(block.item, block.count) }
      }
      for _ in 0..<300 {
        switch random.below(8) {
        case 0...3: _ = take(1)
        case 4: _ = take(min(3, cache.arrayCapacity))
        case 5: cache.shrink()
        default: if !live.isEmpty { try put(random.below(live.count)) }
        }
      }
      mp_system_fail_every(0)
      try demand(cache.checkInvariants(), "every \(n)th call: broken")
      for _ in 0..<50 { try demand(take(1), "every \(n)th call: refused afterwards") }
      try demand(cache.statistics().liveItems == live.reduce(0) { $0 + $1.count }, "a wrong count of items")
      while !live.isEmpty { try put(live.count - 1) }
      cache.shrink()
      try demand(cache.statistics().pageCount == 0 && cache.destroyIfUnused(), "every \(n)th call: pages stayed")
      mp_system_fail_every(n)
    }
    mp_system_fail_every(0)
    try demand(pool.checkInvariants(), "every \(n)th call: broken")
  }
}
