import Foundation
import Testing

@testable import MempoolCore

/// Blocks that the owner freed last, and that wait as they are for the next request of their size.
@Suite struct DenseHeapRestingTests {
  @Test("What was freed last is what the next request of its size gets, and no other does", arguments: DenseFit.both)
  func lastInFirstOut(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<100).map { _ in try #require(test.allocate(100)) }
    for object in [objects[10], objects[20], objects[30]] { #expect(test.deallocate(object) == nil) }
    #expect(test.heap.checkInvariants())
    #expect(test.heap.statistics().liveBlocks == 97)
    let other = try #require(test.allocate(60))
    #expect(![objects[10], objects[20], objects[30]].contains(other))
    for object in [objects[30], objects[20], objects[10]] { #expect(test.allocate(100) == object) }
    #expect(test.heap.checkInvariants())
  }

  @Test("Freed twice is found while a block rests, whoever does it", arguments: DenseFit.both)
  func freedTwice(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<100).map { _ in try #require(test.allocate(100)) }
    #expect(test.deallocate(objects[50]) == nil)
    #expect(test.deallocate(objects[50]) == .doubleFree)
    #expect(test.freeRemotely(objects[50]) == .doubleFree)
    #expect(test.heap.usableSize(objects[50]) == nil)
    #expect(test.heap.checkInvariants())
  }

  @Test("Before another page is taken, what rests serves requests of any size", arguments: DenseFit.both)
  func beforeAPage(fit: DenseFit) throws {
    let test = TestDenseHeap(fit, TestPages(limit: 1))
    let objects = try (0..<80).map { _ in try #require(test.allocate(100)) }
    // Four that lie side by side make room for one of four times the size.
    for index in 20..<24 { #expect(test.deallocate(objects[index]) == nil) }
    #expect(test.heap.rests.loadRelaxed() >> 32 == 4)
    while test.allocate(400) != nil {}
    #expect(test.heap.rests.loadRelaxed() == 0)
    #expect(test.largestRun < 104)
    #expect(test.heap.checkInvariants())
  }

  @Test("What rests holds back few pages, and one when everything is freed", arguments: DenseFit.both)
  func fewPagesAreHeldBack(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    var random = SplitMix64(seed: SplitMix64.seed("fewPagesAreHeldBack(\(fit))"))
    var objects = try (0..<20_000).map { _ in try #require(test.allocate(random.below(250))) }
    objects.shuffle(using: &random)
    for (index, object) in objects.enumerated() {
      #expect(test.deallocate(object) == nil)
      let rests = test.heap.rests.loadRelaxed() >> 32
      #expect(rests * 8 <= UInt(objects.count - index) + rests || test.pages.pagesOut <= 4)
    }
    #expect(test.pages.pagesOut == 1)
    #expect(test.heap.checkInvariants())
  }

  @Test("In a heap of few pages everything may rest while something is out", arguments: DenseFit.both)
  func allOfAFewPages(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    var objects: [UInt] = []
    while test.pages.pagesOut < 4 { objects.append(try #require(test.allocate(12))) }
    let last = objects.removeLast()
    for object in objects { #expect(test.deallocate(object) == nil) }
    #expect(test.heap.rests.loadRelaxed() >> 32 == UInt(objects.count))
    #expect(test.heap.checkInvariants())
    for object in objects.reversed() { #expect(test.allocate(12) == object) }
    #expect(test.heap.rests.loadRelaxed() == 0)
    for object in objects + [last] { #expect(test.deallocate(object) == nil) }
    #expect(test.pages.pagesOut == 1)
    #expect(test.heap.checkInvariants())
  }

  @Test("Each size from 0 to the largest gets a block that rests only when it is long enough", arguments: DenseFit.both)
  func longEnough(fit: DenseFit) throws {
    let pool = try TestPool(fit == .tree ? .denseTree : .dense)
    for byteCount in UInt(0)...400 {
      let object = try #require(pool.pool.allocate(byteCount))
      #expect(pool.pool.usableSize(of: object) >= byteCount)
      #expect(byteCount < 16 || UInt(bitPattern: object) % 16 == 0)
      // All sizes so far rest now, and the next one is not to get any of them but its own.
      pool.pool.deallocate(object)
      #expect(pool.pool.checkInvariants())
    }
  }

  /// One byte beyond the end of a block that may rest, every value: whoever is freed notices what is wrong with its own header, and where
  /// one of its neighbours says something else of it; of the rest, the heap says at the latest when it joins blocks.
  @Test(arguments: 0..<4, DenseFit.both)
  func overwrittenHeadersAreFound(byte: UInt, fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<4).map { _ in try #require(test.allocate(100)) }
    for object in objects { bytes(object, test.usable(object)).fill(0) }
    let place = objects[1] + UInt(test.usable(objects[1])) + byte
    let right = bytes(place, 1)[0]
    for value in UInt8.min...UInt8.max where value != right {
      bytes(place, 1)[0] = value
      #expect(test.deallocate(objects[2]) != nil, "\(right) became \(value)")
      if byte < 2 { #expect(test.deallocate(objects[1]) == .overwritten, "\(right) became \(value)") }
      #expect(!test.heap.checkInvariants())
    }
    bytes(place, 1)[0] = right
    #expect(test.heap.checkInvariants())
  }

  #if os(Linux)
    @Test func aWriteToABlockThatRestsIsReported() async throws {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let test = TestDenseHeap(.lists)
        let objects = (0..<100).map { _ in test.allocate(100)! }
        _ = test.deallocate(objects[50])
        bytes(objects[50], 8).fill(0x41)
        _ = test.allocate(100)
      }
      let text = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
      #expect(text.contains("mempool: dense heap(0x") && text.contains("): free block overwritten\n"))
    }

    @Test func aHeaderOverwrittenBesideABlockThatRestsIsReportedWhenItIsJoined() async throws {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let test = TestDenseHeap(.lists)
        let objects = (0..<100).map { _ in test.allocate(100)! }
        bytes(objects[49] - 4, 2).fill(0)
        if test.deallocate(objects[50]) != nil { return }
        test.rouseAll()
      }
      let text = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
      #expect(text.contains("mempool: dense heap(0x") && text.contains("): block header overwritten\n"))
    }
  #endif
}
