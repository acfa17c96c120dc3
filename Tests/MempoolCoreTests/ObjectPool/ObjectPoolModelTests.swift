import Foundation
import Testing

@testable import MempoolCore

/// Random operations by one thread against a plain model: which objects are out, what they hold, and every figure.
@Suite struct ObjectPoolModelTests {
  struct Model {
    let test: TestObjects
    let count: Int
    var random: SplitMix64
    var live: [(object: UnsafeMutableRawPointer, tag: Int, isPrepared: Bool)] = []
    var hot = 0, maxHot = 0, allocations = 0, misses = 0, maxFallback = 0, step = 0

    mutating func acquire() throws {
      let isZeroed = random.below(3) == 0
      let object = try #require(isZeroed ? test.pool.acquireZeroed() : test.pool.acquire())
      let isPrepared = test.isPrepared(object)
      try demand(
        isPrepared == (hot < count), "step \(step): \(hot) of \(count) out, and the next is prepared: \(isPrepared)")
      try demand(UInt(bitPattern: object) % 16 == 0, "step \(step): not aligned")
      try demand(!live.contains { $0.object == object }, "step \(step): out already")
      if isZeroed {
        let bytes = UnsafeRawBufferPointer(start: object, count: test.size)
        try demand(bytes.allSatisfy { $0 == 0 }, "step \(step): not zeroed")
      }
      ItemPattern.fill(object, test.size, step)
      live.append((object, step, isPrepared))
      allocations += 1
      if isPrepared {
        hot += 1
        maxHot = max(maxHot, hot)
      } else {
        misses += 1
        maxFallback = max(maxFallback, live.count - hot)
      }
    }

    mutating func release(_ index: Int) throws {
      live.swapAt(index, live.count - 1)
      let (object, tag, isPrepared) = live.removeLast()
      try demand(ItemPattern.isIntact(object, test.size, tag), "step \(step): content changed")
      TestObjects.release(object)
      if isPrepared { hot -= 1 }
    }

    func check() throws {
      let seen = test.statistics
      try demand(seen.hot == UInt(hot) && seen.cold == UInt(count - hot), "step \(step): hot \(seen.hot), not \(hot)")
      try demand(seen.maxHot == UInt(maxHot), "step \(step): max_hot \(seen.maxHot), not \(maxHot)")
      try demand(
        seen.allocations == UInt(allocations), "step \(step): allocations \(seen.allocations), not \(allocations)")
      try demand(seen.misses == UInt(misses), "step \(step): misses \(seen.misses), not \(misses)")
      try demand(seen.fallback == UInt(live.count - hot), "step \(step): fallback \(seen.fallback)")
      try demand(
        seen.maxFallback == UInt(maxFallback), "step \(step): max_fallback \(seen.maxFallback), not \(maxFallback)")
      try demand(test.pool.objectsOut() == UInt(live.count), "step \(step): a wrong count of objects out")
      try demand(test.pool.checkInvariants(), "step \(step): broken")
    }
  }

  @Test(arguments: [(1, 3), (16, 64), (40, 100), (100, 700), (700, 30), (3000, 50), (20_000, 9)], [0, 1, 2])
  func figuresAreExact(_ shape: (size: Int, count: Int), _ kind: Int) throws {
    let seed = SplitMix64.seed("figuresAreExact(\(shape), \(kind))")
    let test = try TestObjects(
      shape.size, count: shape.count, fallback: kind == 1 ? .system : .segment, isPassThrough: kind == 2)
    var model = Model(test: test, count: kind == 2 ? 0 : shape.count, random: SplitMix64(seed: seed))
    var goal = 0
    for step in 0..<6000 {
      model.step = step
      if step % 200 == 0 { goal = model.random.below(shape.count * 3 / 2 + 3) }
      if model.random.below(2 * goal + 1) > model.live.count {
        try model.acquire()
      } else if !model.live.isEmpty {
        try model.release(model.random.below(model.live.count))
      }
      if model.random.below(500) == 0 { test.pool.sweep() }
      if step % 50 == 0 { try model.check() }
    }
    while !model.live.isEmpty { try model.release(model.live.count - 1) }
    try model.check()
    #expect(test.memory.checkInvariants())
  }
}
