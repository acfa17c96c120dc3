import Testing

@testable import MempoolCore

@Suite struct DenseHeapTests {
  // MARK: What the original got wrong

  @Test("T8: no growth of a dense heap over 10^5 reallocs that change nothing", arguments: DenseFit.both)
  func resizeDoesNotGrow(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let object = try #require(test.allocate(100))
    let before = test.heap.statistics()
    for round in 0..<100_000 { #expect(test.heap.resize(object, to: UInt(100 - round % 40)) == .inPlace) }
    #expect(test.heap.statistics() == before)
    #expect(test.pages.claims == 1)
  }

  @Test(
    "T9: the usable size leaves the header out: every usable byte can be written without touching neighbours",
    arguments: DenseFit.both)
  func usableSize(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    var objects: [(address: UInt, count: Int)] = []
    for size in Array(0...300) + Array(stride(from: 301, through: 3200, by: 37)) {
      let address = try #require(test.allocate(size))
      let usable = test.usable(address)
      #expect(usable >= max(size, 1))
      bytes(address, usable).fill(UInt8(truncatingIfNeeded: objects.count))
      objects.append((address, usable))
    }
    for (index, object) in objects.enumerated() {
      #expect(bytes(object.address, object.count).allSatisfy { $0 == UInt8(truncatingIfNeeded: index) })
    }
    #expect(test.heap.checkInvariants())
    for object in objects { #expect(test.deallocate(object.address) == nil) }
    #expect(test.heap.checkInvariants())
  }

  @Test(
    "T10: results of a dense heap are aligned to 16, to 8 or 4 below, for every size and in any company",
    arguments: DenseFit.both)
  func alignment(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    for size in 0...Int(DenseHeap.maxByteCount) {
      let address = try #require(test.allocate(size))
      #expect(address % (size >= 16 ? 16 : size >= 8 ? 8 : 4) == 0, "\(size)")
      // A small one between two, so that the next begins at any distance from a boundary.
      let between = try #require(test.allocate(size % 16))
      #expect(between % (size % 16 >= 8 ? 8 : 4) == 0)
      if size % 3 == 0 { #expect(test.deallocate(address) == nil) }
    }
    for alignment: UInt in [1, 2, 4, 8, 16] {
      for size in 0..<100 {
        let address = try #require(test.allocate(size, alignment: alignment))
        #expect(address % alignment == 0)
      }
    }
    #expect(test.heap.checkInvariants())
    #expect(test.allocate(8, alignment: 32) == nil)
  }

  @Test(
    "T11: k objects use ceil(k / perPage) pages: the newest page is not passed over",
    arguments: [1, 4, 5, 8, 12, 13, 16, 24, 28, 29, 100, 256, 800, 1000, 3200, 4044], DenseFit.both)
  func pageCount(size: Int, fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let units = try #require(DenseRequest(UInt(size))).units
    let perPage = Int(DensePage.capacity / units)
    var objects: [UInt] = []
    for count in 1...(3 * perPage + 1) {
      objects.append(try #require(test.allocate(size)))
      #expect(test.pages.pagesOut == (count + perPage - 1) / perPage, "\(count) objects of \(size) bytes")
    }
    // Holes are used before new pages.
    for index in stride(from: 0, to: objects.count, by: 3) {
      #expect(test.deallocate(objects[index]) == nil)
    }
    let claims = test.pages.claims
    for _ in stride(from: 0, to: objects.count, by: 3) { _ = try #require(test.allocate(size)) }
    #expect(test.pages.claims == claims)
    #expect(test.heap.checkInvariants())
  }

  @Test("T12: results of zero size of a dense heap are distinct and can be freed", arguments: DenseFit.both)
  func zeroSize(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<1000).map { _ in try #require(test.allocate(0)) }
    #expect(Set(objects).count == 1000)
    for object in objects {
      #expect(test.usable(object) >= 1)
      bytes(object, 1).fill(1)
    }
    for object in objects { #expect(test.deallocate(object) == nil) }
    #expect(test.heap.statistics().liveBlocks == 0)
    #expect(test.heap.checkInvariants())
  }

  @Test("T15: exhaustion of a dense heap is a value, and what is there stays usable", arguments: DenseFit.both)
  func exhaustion(fit: DenseFit) throws {
    let test = TestDenseHeap(fit, TestPages(limit: 2))
    var objects: [UInt] = []
    while let object = test.allocate(100) { objects.append(object) }
    #expect(objects.count == 2 * Int(DensePage.capacity / 28))
    #expect(test.heap.checkInvariants())
    #expect(test.deallocate(objects[0]) == nil)
    #expect(test.allocate(100) == objects[0])
    #expect(test.allocate(Int(DenseHeap.maxByteCount) + 1) == nil)
    #expect(test.heap.allocate(.max, from: test.pages) == nil)
  }

  @Test("T16: free never claims a page, and a page goes while nobody can reach it", arguments: DenseFit.both)
  func freeDoesNotAllocate(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    for _ in 0..<5 {
      var objects = try (0..<2000).map { try #require(test.allocate($0 % 500)) }
      var random = SplitMix64(seed: 7)
      objects.shuffle(using: &random)
      let claims = test.pages.claims
      for object in objects { #expect(test.deallocate(object) == nil) }
      #expect(test.pages.claims == claims)
      #expect(test.pages.pagesOut == 1, "one empty page is kept, the others went at once")
      #expect(test.heap.checkInvariants())
    }
  }

  @Test("T16: defragment gives the last empty page back, and allocates nothing", arguments: DenseFit.both)
  func defragment(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let first = try #require(test.allocate(3000))
    let others = try (0..<20).map { _ in try #require(test.allocate(3000)) }
    #expect(test.heap.defragment(to: test.pages) == 0)
    for other in others { #expect(test.deallocate(other) == nil) }
    #expect(test.pages.pagesOut == 2)
    let claims = test.pages.claims
    #expect(test.heap.defragment(to: test.pages) == 1)
    #expect(test.pages.claims == claims && test.pages.pagesOut == 1)
    #expect(test.heap.checkInvariants())
    #expect(test.deallocate(first) == nil)
    #expect(test.heap.defragment(to: test.pages) == 1)
    #expect(test.heap.statistics() == DenseHeapStatistics())
    #expect(test.allocate(1) != nil)
  }

  @Test("Whatever the order of frees, a page ends as one block again", arguments: DenseFit.both)
  func coalescing(fit: DenseFit) throws {
    for order in 0..<6 {
      let test = TestDenseHeap(fit)
      var objects = try (0..<60).map { try #require(test.allocate($0 * 7 % 200)) }
      if order == 1 { objects.reverse() }
      if order > 1 {
        var random = SplitMix64(seed: UInt64(order))
        objects.shuffle(using: &random)
      }
      for object in objects {
        #expect(test.deallocate(object) == nil)
        #expect(test.heap.checkInvariants())
      }
      test.rouseAll()
      #expect(test.heap.checkInvariants())
      #expect(test.largestRun == DensePage.capacity)
    }
  }

  // MARK: Resizing

  @Test(arguments: DenseFit.both)
  func resizeGrowsIntoAFreeNeighbourOnly(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let first = try #require(test.allocate(300))
    let second = try #require(test.allocate(300))
    let third = try #require(test.allocate(300))
    bytes(first, 300).fill(1)
    bytes(third, 300).fill(3)
    #expect(test.heap.resize(first, to: 600) == .mustMove)
    #expect(test.deallocate(second) == nil)
    #expect(test.heap.resize(first, to: 600) == .inPlace)
    #expect(test.usable(first) >= 600)
    #expect(bytes(first, 300).allSatisfy { $0 == 1 })
    bytes(first, test.usable(first)).fill(1)
    #expect(bytes(third, 300).allSatisfy { $0 == 3 })
    #expect(test.heap.checkInvariants())
    #expect(test.heap.resize(first, to: UInt(DenseHeap.maxByteCount) + 1) == .mustMove)
    #expect(test.heap.resize(third, to: 3200) == .inPlace, "the rest of the page is free")
    #expect(test.heap.checkInvariants())
  }

  @Test(arguments: DenseFit.both)
  func resizeNeverKeepsAnObjectThatWouldUseLessThanHalf(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let object = try #require(test.allocate(1000))
    let usable = UInt(test.usable(object))
    #expect(test.heap.resize(object, to: usable / 2) == .inPlace)
    #expect(test.usable(object) == Int(usable))
    #expect(test.heap.resize(object, to: usable / 2 - 1) == .mustMove)
    // But where a smaller block does not exist, moving would gain nothing.
    let least = try #require(test.allocate(4))
    #expect(test.heap.resize(least, to: 0) == .inPlace)
  }

  @Test("What grows keeps the alignment of its new size, or has to move", arguments: 0..<16, DenseFit.both)
  func resizeKeepsAlignment(size: Int, fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    for _ in 0..<8 {
      let object = try #require(test.allocate(size))
      for larger: UInt in [8, 16, 20] where test.heap.resize(object, to: larger) == .inPlace {
        #expect(object % (larger >= 16 ? 16 : 8) == 0)
        #expect(test.usable(object) >= Int(larger))
      }
    }
    #expect(test.heap.checkInvariants())
  }

  // MARK: Pages

  /// Pages with one, two, … objects each, and many alike: each is where a search finds it, and none is taken before those are full.
  @Test("Of a thousand pages with holes all are filled before another is taken", arguments: DenseFit.both)
  func holesOfManyPages(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    var objects: [UInt] = []
    while test.pages.pagesOut <= 1000 { objects.append(try #require(test.allocate(1000))) }
    var freed = 0
    for (index, object) in objects.enumerated() where index % 3 != index / 100 % 3 && freed < objects.count / 2 {
      #expect(test.deallocate(object) == nil)
      freed += 1
    }
    #expect(test.heap.checkInvariants())
    let claims = test.pages.claims
    for _ in 0..<freed { _ = try #require(test.allocate(1000)) }
    #expect(test.pages.claims == claims)
    #expect(test.heap.checkInvariants())
  }

  @Test(arguments: DenseFit.both)
  func ownerIsFoundFromAnyPointerIntoAPage(fit: DenseFit) throws {
    let (one, two) = (TestDenseHeap(fit), TestDenseHeap(fit))
    let (a, b) = (try #require(one.allocate(1000)), try #require(two.allocate(1000)))
    for offset: UInt in [0, 1, 999] {
      #expect(DenseHeapPointer.owner(of: a + offset) == one.heap)
      #expect(DenseHeapPointer.owner(of: b + offset) == two.heap)
    }
    #expect(one.deallocate(b) == .notABlock)
    #expect(two.deallocate(b) == nil)
  }
}
