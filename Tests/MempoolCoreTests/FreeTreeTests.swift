import Testing

@testable import MempoolCore

/// A page whose free blocks are what a test says: headers without regard to each other, two units apart or more.
private final class Fixture {
  let memory = UnsafeMutableRawPointer.allocate(
    byteCount: Int(DensePage.byteCount), alignment: Int(DensePage.byteCount))
  let heap: DenseHeapPointer = .allocate(capacity: 1)
  let page: DensePagePointer
  var tree: FreeTree { FreeTree(page: page) }

  init() {
    heap.initialize(to: DenseHeap(fit: .tree))
    page = memory.assumingMemoryBound(to: DensePage.self)
    page.start(heap)
    precondition(tree.remove(DensePage.firstUnit))
  }

  deinit {
    memory.deallocate()
    heap.deallocate()
  }

  func insert(_ unit: UInt, size: UInt) {
    page.setBlock(unit, .free(size, at: page.address(unit)))
    tree.insert(unit)
  }
}

/// Where the nth block of a test lies: every fourth unit, or every second and so at all distances from a boundary.
private func unit(_ index: Int, step: UInt = 4) -> UInt { DensePage.firstUnit + UInt(index) * step }

@Suite struct FreeTreeTests {
  @Test("The free tree stays shallow under sorted insertion", arguments: [10, 100, 1000])
  func sortedInsertionDepth(count: Int) {
    let orders: [(String, (Int) -> UInt)] = [
      ("rising sizes", { UInt($0) + 2 }),
      ("falling sizes", { UInt(count - $0) + 2 }),
      ("equal sizes", { _ in 7 }),
      ("saw", { UInt($0 % 10) * 100 + 2 }),
      ("powers of two", { 1 << UInt($0 % 11 + 1) }),
    ]
    for (name, size) in orders {
      let fixture = Fixture()
      for index in 0..<count { fixture.insert(unit(index), size: size(index)) }
      #expect(fixture.tree.depth() <= min(25, UInt(count)), "\(name)")
      #expect(fixture.tree.checkInvariants(count: UInt(count)), "\(name)")
      // And backwards out again, each found.
      for index in (0..<count).reversed() { #expect(fixture.tree.remove(unit(index))) }
      #expect(fixture.tree.depth() == 0)
    }
  }

  @Test func linearizeVisitsByRisingSize() {
    let fixture = Fixture()
    var random = SplitMix64(seed: SplitMix64.seed("linearizeVisitsByRisingSize"))
    var sizes: [UInt] = []
    for index in 0..<500 {
      sizes.append(UInt(random.below(300) + 2))
      fixture.insert(unit(index), size: sizes[index])
    }
    var visited: [UInt] = []
    fixture.tree.linearize { _, size in visited.append(size) }
    #expect(visited == sizes.sorted())
    #expect(fixture.tree.largest == sizes.max())
  }

  @Test func anEmptyTreeHasNothing() {
    let fixture = Fixture()
    fixture.insert(unit(3), size: 9)
    #expect(!fixture.tree.contains(unit(2)))
    #expect(fixture.tree.takeBestFit(10) == nil)
    #expect(fixture.tree.takeBestFit(9) == unit(3))
    #expect(!fixture.tree.contains(unit(3)))
    #expect(fixture.tree.takeBestFit(2) == nil)
    #expect(fixture.tree.largest == 0)
    #expect(fixture.tree.checkInvariants(count: 0))
  }

  /// Random insertions, removals and best fits against a dictionary that is searched in full.
  @Test func agreesWithAShadowModel() throws {
    let seed = SplitMix64.seed("FreeTree.agreesWithAShadowModel")
    var random = SplitMix64(seed: seed)
    let fixture = Fixture()
    var model: [UInt: UInt] = [:]
    var deepest: UInt = 0
    for step in 0..<20_000 {
      let unit = unit(random.below(1900), step: random.below(2) == 0 ? 2 : 1)
      // Sizes are drawn from few, so that equal ones are common, or from all.
      let size = UInt(random.below(random.below(2) == 0 ? 12 : 2000) + 2)
      switch random.below(3) {
      case 0 where model[unit] == nil && model[unit - 1] == nil && model[unit + 1] == nil:
        fixture.insert(unit, size: size)
        model[unit] = size
      case 1:
        let victim = model.keys.min { ($0 &* 31 ^ unit) % 97 < ($1 &* 31 ^ unit) % 97 } ?? unit
        #expect(fixture.tree.contains(victim) == (model[victim] != nil))
        #expect(fixture.tree.remove(victim) == (model.removeValue(forKey: victim) != nil))
      default:
        let alignment: UInt = [1, 2, 4][random.below(3)]
        let fits = model.filter { $0.value >= size + ~$0.key % alignment }
        let best = fits.min { ($0.value, ~$0.key % 4, $0.key) < ($1.value, ~$1.key % 4, $1.key) }
        try #require(
          fixture.tree.takeBestFit(size, alignmentUnits: alignment) == best?.key, "seed \(seed), step \(step)")
        if let best { model[best.key] = nil }
      }
      if step % 64 == 0 {
        try #require(fixture.tree.checkInvariants(count: UInt(model.count)), "seed \(seed), step \(step)")
        try #require(fixture.tree.largest == model.values.max() ?? 0, "seed \(seed), step \(step)")
        deepest = max(deepest, fixture.tree.depth())
      }
    }
    #expect(deepest <= 25)
  }

  @Test func thePageRecordEndsBeforeTheFirstBlock() {
    #expect(MemoryLayout<DensePage>.size <= Int(DensePage.firstUnit * DensePage.unitBytes))
    #expect(DensePage.firstUnit % 4 == 3 && DensePage.endUnit % 4 == 3)
  }
}
