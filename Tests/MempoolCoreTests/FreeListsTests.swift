import Testing

@testable import MempoolCore

/// A page whose free blocks are what a test says: headers without regard to each other, two units apart or more.
private final class Fixture {
  let memory = UnsafeMutableRawPointer.allocate(
    byteCount: Int(DensePage.byteCount), alignment: Int(DensePage.byteCount))
  let heap: DenseHeapPointer = .allocate(capacity: 1)
  let page: DensePagePointer
  var lists: FreeLists { FreeLists(page: page) }

  init() {
    heap.initialize(to: DenseHeap(fit: .lists))
    page = memory.assumingMemoryBound(to: DensePage.self)
    page.start(heap)
    lists.remove(DensePage.firstUnit)
  }

  deinit {
    memory.deallocate()
    heap.deallocate()
  }

  func insert(_ unit: UInt, size: UInt) {
    page.setBlock(unit, .free(size, at: page.address(unit)))
    lists.insert(unit)
  }
}

@Suite struct FreeListsTests {
  @Test("Lists follow each other without a gap, and the highest size has one")
  func everySizeHasAList() {
    var previous = FreeLists.list(0)
    for units in 1...DensePage.endUnit {
      let list = FreeLists.list(units)
      #expect(list == previous || list == previous + 1)
      previous = list
    }
    #expect(FreeLists.list(0) == 0 && FreeLists.list(DensePage.leastListed) > 0)
    #expect(previous == FreeLists.count - 1)
  }

  /// Random insertions, removals and searches against a dictionary that is searched in full.
  @Test func agreesWithAShadowModel() throws {
    let seed = SplitMix64.seed("FreeLists.agreesWithAShadowModel")
    var random = SplitMix64(seed: seed)
    let fixture = Fixture()
    var model: [UInt: UInt] = [:]
    for step in 0..<20_000 {
      let context: Comment = "seed \(seed), step \(step)"
      let unit = DensePage.firstUnit + UInt(random.below(1900)) * (random.below(2) == 0 ? 2 : 1)
      // Sizes are drawn from few, so that equal ones are common, or from all.
      let size = UInt(random.below(random.below(2) == 0 ? 12 : 1000) + 2)
      switch random.below(3) {
      case 0 where model[unit] == nil && model[unit - 1] == nil && model[unit + 1] == nil:
        fixture.insert(unit, size: size)
        model[unit] = size
      case 1:
        guard let victim = model.keys.min(by: { ($0 &* 31 ^ unit) % 97 < ($1 &* 31 ^ unit) % 97 }) else { continue }
        try #require(fixture.lists.contains(victim), context)
        fixture.lists.remove(victim)
        model[victim] = nil
        try #require(!fixture.lists.contains(victim), context)
      default:
        let alignment: UInt = [1, 2, 4][random.below(3)]
        let taken = fixture.lists.takeFit(size, alignmentUnits: alignment)
        if let taken {
          let found = try #require(model[taken], context)
          model[taken] = nil
          try #require(found >= size + DenseRequest.skip(taken, alignment), context)
          // Of a higher list only when none was found below, where not all blocks of a list are looked at.
          let lower = model.filter {
            FreeLists.list($0.value) < FreeLists.list(found) && $0.value >= size + alignment - 1
          }
          let crowded = Dictionary(grouping: lower.values, by: FreeLists.list).allSatisfy { $0.value.count >= 8 }
          try #require(lower.isEmpty || crowded, context)
        } else {
          // A list whose least block fits for certain would have been found.
          let certain = FreeLists.list(size + alignment - 1) + 1
          try #require(!model.values.contains { FreeLists.list($0) >= certain }, context)
        }
      }
      if step % 64 == 0 {
        try #require(fixture.lists.checkInvariants(count: UInt(model.count)), context)
        try #require(fixture.lists.highest == model.values.map(FreeLists.list).max() ?? 0, context)
      }
    }
  }
}
