import Foundation
import Testing

@testable import MempoolCore

@Suite struct DenseHeapMisuseTests {
  @Test("T24: double frees in a dense heap are found, also after blocks were joined", arguments: DenseFit.both)
  func doubleFreesAreFoundAlsoAfterJoining(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<100).map { try #require(test.allocate($0 * 5)) }
    var random = SplitMix64(seed: SplitMix64.seed("doubleFreesAreFoundAlsoAfterJoining"))
    var freed: [UInt] = []
    for object in objects.dropLast().shuffled(using: &random) {
      #expect(test.deallocate(object) == nil)
      freed.append(object)
      for old in freed {
        #expect(test.deallocate(old) == .doubleFree)
        #expect(test.freeRemotely(old) == .doubleFree)
        #expect(test.heap.resize(old, to: 8) == .fault(.doubleFree))
        #expect(test.heap.usableSize(old) == nil)
      }
    }
    #expect(test.heap.checkInvariants())
  }

  @Test(arguments: DenseFit.both)
  func pointersThatStartNoBlockAreRefused(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let seed = SplitMix64.seed("pointersThatStartNoBlockAreRefused")
    var random = SplitMix64(seed: seed)
    var starts: Set<UInt> = []
    while test.pages.pagesOut <= 1 {
      let object = try #require(test.allocate(random.below(400)))
      starts.insert(object)
      for byte in bytes(object, test.usable(object)).indices {
        bytes(object, test.usable(object))[byte] = UInt8(truncatingIfNeeded: random.next())
      }
    }
    let before = test.heap.statistics()
    let page = DensePagePointer.unchecked(of: try #require(starts.min()))
    let first = UInt(bitPattern: page)
    for address in first..<first + DensePage.byteCount where !starts.contains(address) {
      let fault = test.deallocate(address)
      #expect(test.freeRemotely(address) == fault, "seed \(seed)")
      // The page's tail may be free.
      #expect(fault == .notABlock || fault == .doubleFree, "seed \(seed)")
    }
    for start in starts where DensePagePointer.unchecked(of: start) == page {
      for offset in 1..<UInt(test.usable(start)) { #expect(test.deallocate(start + offset) == .notABlock) }
    }
    #expect(test.heap.statistics() == before)
    #expect(test.heap.checkInvariants())
    for start in starts { #expect(test.deallocate(start) == nil) }
  }

  @Test(
    "T13, T14: memory that is no page of a dense heap is told from one: foreign pointers, and items of a slab",
    arguments: DenseFit.both)
  func foreignPages(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let count = Int(DensePage.byteCount)
    for byte: UInt8 in [0, 0xff, 0x41] {
      let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: count)
      defer { memory.deallocate() }
      memory.initializeMemory(as: UInt8.self, repeating: byte, count: count)
      let address = UInt(bitPattern: memory) + 1024
      #expect(DenseHeapPointer.owner(of: address) == nil)
      #expect(test.deallocate(address) == .notABlock)
      #expect(test.freeRemotely(address) == .notABlock)
      #expect(test.heap.resize(address, to: 1) == .fault(.notABlock))
    }
  }

  /// One byte beyond the end of a block, every value: the block behind it, or its neighbours, notice. Of blocks too large to rest.
  /// One of them may say what another thread's free says: then it is that block that was freed, and nobody else's matter.
  @Test(arguments: 0..<4, DenseFit.both)
  func overwrittenHeadersAreFound(byte: UInt, fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<4).map { _ in try #require(test.allocate(300)) }
    // What lies in them and behind them: nothing that by chance looks like the header that a wrong size leads to.
    let behind = try #require(test.allocate(4000))
    for object in objects + [behind] { bytes(object, test.usable(object)).fill(0) }
    #expect(test.deallocate(behind) == nil)
    let place = objects[1] + UInt(test.usable(objects[1])) + byte
    #expect(place - byte == objects[2] - 4)
    let right = bytes(place, 1)[0]
    for value in UInt8.min...UInt8.max where value != right {
      bytes(place, 1)[0] = value
      if isMarked(objects[2]) {
        #expect(test.deallocate(objects[2]) == .doubleFree)
        #expect(test.freeRemotely(objects[2]) == .doubleFree)
        continue
      }
      #expect(test.deallocate(objects[2]) != nil, "\(right) became \(value)")
      #expect(test.deallocate(objects[1]) == .overwritten, "\(right) became \(value)")
      #expect(test.deallocate(objects[3]) == .overwritten, "\(right) became \(value)")
      #expect(!test.heap.checkInvariants())
    }
    bytes(place, 1)[0] = right
    #expect(test.heap.checkInvariants())
    for object in objects { #expect(test.deallocate(object) == nil) }
  }

  /// Whether an object's header is the one that a thread that does not own it leaves when it frees it.
  private func isMarked(_ object: UInt) -> Bool {
    let page = DensePagePointer.unchecked(of: object), unit = (object - UInt(bitPattern: page)) / 4 - 1
    let block = page.block(unit)
    return block.isFreed && block.size == 76 && block.isValid(at: object - 4)
  }

  @Test(arguments: DenseFit.both)
  func overflowsOfManyBytesAreFound(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let objects = try (0..<200).map { try #require(test.allocate(16 + $0 % 100)) }
    for index in stride(from: 1, to: 198, by: 4) {
      let end = objects[index] + UInt(test.usable(objects[index]))
      bytes(end, 12).fill(0x41)
      #expect(test.deallocate(objects[index]) == .overwritten)
      #expect(test.deallocate(objects[index + 1]) == .overwritten)
    }
  }

  @Test(arguments: DenseFit.both)
  func aPageHeaderOverwrittenMakesItsPointersForeign(fit: DenseFit) throws {
    let test = TestDenseHeap(fit)
    let object = try #require(test.allocate(10))
    let page = UInt(bitPattern: DensePagePointer.unchecked(of: object))
    for offset in 8..<UInt(24) {  // the seal, and whose page it is
      bytes(page + offset, 1)[0] ^= 0x5a
      #expect(test.deallocate(object) == .notABlock)
      #expect(test.freeRemotely(object) == .notABlock)
      bytes(page + offset, 1)[0] ^= 0x5a
    }
    #expect(test.deallocate(object) == nil)
  }

  #if os(Linux)
    @Test func aWriteAfterAFreeIsReportedWhenTheBlockIsNextLookedAt() async throws {
      // What an exit test runs captures nothing.
      let lists = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        writeAfterAFree(.lists)
      }
      let tree = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        writeAfterAFree(.tree)
      }
      for result in [lists, tree] {
        let text = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
        #expect(text.contains("mempool: dense heap(0x") && text.contains("): free block overwritten\n"))
      }
    }

    @Test func aWriteAfterAFreeByAnotherThreadIsReportedWhenTheOwnerCollects() async throws {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let test = TestDenseHeap(.lists)
        let objects = (0..<3).map { _ in test.allocate(100)! }
        test.freeRemotely(objects[1])
        bytes(objects[1], 8).fill(0x41)
        test.collect()
      }
      let text = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
      #expect(text.contains("mempool: dense heap(0x") && text.contains("): free block overwritten\n"))
    }

    @Test func anOverflowIsReportedAtTheLatestWhenTheOwnerCollects() async throws {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let test = TestDenseHeap(.lists)
        let objects = (0..<3).map { _ in test.allocate(100)! }
        test.freeRemotely(objects[1])
        bytes(objects[0] + UInt(test.usable(objects[0])), 4).fill(0)
        test.collect()
      }
      let text = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
      #expect(text.contains("mempool: dense heap(0x") && text.contains("overwritten\n"))
    }
  #endif
}

#if os(Linux)
  private func writeAfterAFree(_ fit: DenseFit) {
    let test = TestDenseHeap(fit)
    let objects = (0..<3).map { _ in test.allocate(300)! }
    _ = test.deallocate(objects[1])
    bytes(objects[1], 8).fill(0x41)
    _ = test.allocate(290)
  }
#endif
