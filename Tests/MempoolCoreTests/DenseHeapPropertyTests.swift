import Testing

@testable import MempoolCore

@Suite struct DenseHeapPropertyTests {
  private struct Object {
    let address: UInt
    var size: Int
    let pattern: UInt8
  }

  /// Fills all of an object's usable bytes, and says whether they are still what they were.
  private func stamp(_ object: Object, _ heap: DenseHeapPointer) {
    bytes(object.address, Int(heap.usableSize(object.address) ?? 0)).fill(object.pattern)
  }
  private func isIntact(_ object: Object, _ heap: DenseHeapPointer) -> Bool {
    bytes(object.address, Int(heap.usableSize(object.address) ?? 0)).allSatisfy { $0 == object.pattern }
  }

  /// Sizes as programs have them: mostly small, some of each kind, a few at the limits.
  private func size(_ random: inout SplitMix64) -> Int {
    switch random.below(8) {
    case 0: random.below(Int(DenseHeap.maxByteCount) + 1)
    case 1: [0, 1, 4, 7, 8, 15, 16, 3200, Int(DenseHeap.maxByteCount)][random.below(9)]
    case 2, 3: random.below(16)
    default: random.below(300)
    }
  }

  /// Random allocations, frees by the owner and by others, and resizes against an array; phases of growth and of shrinking.
  /// `failEvery`: every nth page is refused, and nothing may be lost by that.
  @Test(arguments: [nil, 2, 3, 7], DenseFit.both)
  func agreesWithAShadowModel(failEvery: Int?, fit: DenseFit) throws {
    let seed = SplitMix64.seed(
      "DenseHeap.agreesWithAShadowModel(failEvery: \(failEvery.map { "\($0)" } ?? "nil"), \(fit))")
    var random = SplitMix64(seed: seed)
    let test = TestDenseHeap(fit, TestPages(failEvery: failEvery))
    let heap = test.heap
    var model: [Object] = []
    for step in 0..<30_000 {
      let context: Comment = "seed \(seed), step \(step)"
      let isGrowing = step / 2500 % 2 == 0
      switch random.below(10) {
      case 0..<(isGrowing ? 6 : 3):
        let size = size(&random)
        let alignment: UInt = [1, 1, 1, 8, 16][random.below(5)]
        let refusals = test.pages.refusals
        guard let address = test.allocate(size, alignment: alignment) else {
          try #require(test.pages.refusals == refusals + 1, context)
          continue
        }
        let object = Object(address: address, size: size, pattern: UInt8(truncatingIfNeeded: random.next()))
        try #require(address % max(alignment, size >= 16 ? 16 : size >= 8 ? 8 : 4) == 0, context)
        try #require(test.usable(address) >= size, context)
        stamp(object, heap)
        model.append(object)
      case 6 where !model.isEmpty, 5 where !model.isEmpty:
        let index = random.below(model.count)
        let usable = test.usable(model[index].address)
        let size = size(&random)
        try #require(isIntact(model[index], heap), context)
        let isOwner = random.below(3) > 0
        switch heap.resize(model[index].address, to: UInt(size), isOwner: isOwner) {
        case .inPlace:
          if !isOwner { try #require(test.usable(model[index].address) == usable, context) }
          try #require(test.usable(model[index].address) >= max(size, usable), context)
          try #require(bytes(model[index].address, usable).allSatisfy { $0 == model[index].pattern }, context)
          model[index].size = size
          stamp(model[index], heap)
        case .mustMove:
          try #require(test.usable(model[index].address) == usable, context)
        case .fault(let fault):
          Issue.record("\(fault): seed \(seed), step \(step)")
        }
      default:
        guard !model.isEmpty else { continue }
        let object = model.swapAndRemove(at: random.below(model.count))
        let claims = test.pages.claims
        try #require(isIntact(object, heap), context)
        let fault = random.below(3) == 0 ? test.freeRemotely(object.address) : test.deallocate(object.address)
        try #require(fault == nil, context)
        try #require(test.pages.claims == claims, context)
        if random.below(200) == 0 { test.collect() }
      }
      if step % 128 == 0 {
        try #require(heap.checkInvariants(), context)
        let statistics = heap.statistics()
        try #require(statistics.liveBlocks == UInt(model.count), context)
        try #require(statistics.pages == UInt(test.pages.pagesOut), context)
        let usable = model.reduce(0) { $0 + test.usable($1.address) }
        try #require(statistics.liveUnits * 4 == UInt(usable + 4 * model.count), context)
        try #require(statistics.liveUnits + statistics.freeUnits == statistics.pages * DensePage.capacity, context)
      }
    }
    for object in model {
      #expect(isIntact(object, heap))
      #expect(test.deallocate(object.address) == nil)
    }
    #expect(heap.checkInvariants())
    test.collect()
    #expect(test.pages.pagesOut <= 1)
    _ = heap.defragment(to: test.pages)
    #expect(heap.statistics() == DenseHeapStatistics(collectedBlocks: heap.statistics().collectedBlocks))
  }
}

extension Array {
  fileprivate mutating func swapAndRemove(at index: Int) -> Element {
    swapAt(index, count - 1)
    return removeLast()
  }
}
