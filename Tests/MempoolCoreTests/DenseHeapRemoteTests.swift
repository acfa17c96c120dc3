import Testing

@testable import MempoolCore

/// What threads that do not own a heap do to it, one step after the other; side by side in DenseHeapThreadTests.
@Suite struct DenseHeapRemoteTests {
  @Test("What others have freed is used before another page is taken", arguments: DenseFit.both)
  func collectedBeforeGrowth(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let perPage = Int(DensePage.capacity / 28)
    for _ in 0..<20 {
      let objects = try (0..<2 * perPage).map { _ in try #require(test.allocate(100)) }
      #expect(test.pages.pagesOut <= 2)
      for object in objects { #expect(test.freeRemotely(object) == nil) }
      let statistics = test.heap.statistics()
      #expect(
        statistics.liveBlocks == 0 && statistics.liveUnits == 0 && statistics.waitingBlocks == UInt(objects.count))
      #expect(test.heap.checkInvariants())
    }
    test.collect()
    #expect(test.heap.statistics().waitingBlocks == 0)
    #expect(test.pages.pagesOut == 1)
    #expect(test.heap.checkInvariants())
  }

  @Test("Only who finds a page's list empty pushes it, again after the owner has collected", arguments: DenseFit.both)
  func onlyTheFirstTells(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<6).map { _ in try #require(test.allocate(40)) }
    func isFirst(_ object: UInt) -> Bool {
      guard case .first(let page) = test.heap.freeRemotely(object) else { return false }
      test.heap.push(page)
      return true
    }
    #expect(objects[0..<3].map(isFirst) == [true, false, false])
    test.collect()
    #expect(objects[3..<6].map(isFirst) == [true, false, false])
    #expect(test.heap.checkInvariants())
    test.collect()
    #expect(test.heap.statistics().liveBlocks == 0)
  }

  @Test(
    "T24: who frees second, owner or not, is told so, before and after the owner has collected",
    arguments: DenseFit.both)
  func freedTwice(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<3).map { _ in try #require(test.allocate(40)) }
    #expect(test.freeRemotely(objects[1]) == nil)
    for _ in 0..<2 {
      #expect(test.freeRemotely(objects[1]) == .doubleFree)
      #expect(test.deallocate(objects[1]) == .doubleFree)
      #expect(test.heap.usableSize(objects[1]) == nil)
      #expect(test.heap.resize(objects[1], to: 40, isOwner: false) == .fault(.doubleFree))
      #expect(test.heap.fault(at: objects[1]) == .doubleFree)
      test.collect()
    }
    #expect(test.deallocate(objects[0]) == nil)
    #expect(test.freeRemotely(objects[0]) == .doubleFree)
    #expect(test.heap.checkInvariants())
  }

  @Test("Another thread grows no object into its neighbour", arguments: DenseFit.both)
  func othersDoNotGrow(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let object = try #require(test.allocate(100))
    #expect(test.heap.resize(object, to: 60, isOwner: false) == .inPlace)
    #expect(test.heap.resize(object, to: 30, isOwner: false) == .mustMove)
    #expect(test.heap.resize(object, to: 200, isOwner: false) == .mustMove)
    #expect(test.heap.resize(object, to: 200) == .inPlace)
  }

  @Test("In a forked child what others were freeing is free, how far ever they had come", arguments: DenseFit.both)
  func afterAFork(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    var objects = try (0..<2000).map { try #require(test.allocate($0 % 200)) }
    var random = SplitMix64(seed: SplitMix64.seed("DenseHeapRemoteTests.afterAFork(\(fit))"))
    objects.shuffle(using: &random)
    var kept: [UInt] = []
    for (index, object) in objects.enumerated() {
      guard let (page, unit) = test.heap.place(object) else { continue }
      switch index % 5 {
      case 0: #expect(test.freeRemotely(object) == nil)
      case 1: #expect(page.mark(unit, page.block(unit)))
      case 2:
        #expect(page.mark(unit, page.block(unit)))
        _ = page.tell(unit)
      case 3: #expect(test.deallocate(object) == nil)
      default: kept.append(object)
      }
    }
    test.heap.recoverAfterFork(to: test.pages)
    #expect(test.heap.checkInvariants())
    #expect(test.heap.statistics().liveBlocks == UInt(kept.count))
    for (index, object) in kept.enumerated() {
      #expect((index % 2 == 0 ? test.freeRemotely(object) : test.deallocate(object)) == nil)
    }
    _ = test.heap.defragment(to: test.pages)
    #expect(test.pages.pagesOut == 0)
  }
}
