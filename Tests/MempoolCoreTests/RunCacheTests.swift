import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

@Suite struct RunCacheTests {
  @Test func sizesWasteAtMostAnEighth() {
    var seen: [Int] = []
    for fragments in UInt(1)...300 {
      let size = RunSize.rounded(fragments)
      #expect(size >= fragments && size <= fragments + fragments / 8, "\(fragments)")
      #expect(RunSize.rounded(size) == size, "\(fragments)")
      if fragments < RunSize.least || fragments > RunSize.most {
        #expect(size == fragments && RunSize.index(fragments) == nil, "\(fragments)")
      } else {
        let index = RunSize.index(size)
        #expect(index != nil && (size == fragments) == (RunSize.index(fragments) != nil), "\(fragments)")
        if let index, seen.last != index { seen.append(index) }
      }
    }
    #expect(seen == Array(0..<RunSize.count))
  }

  /// What a thread frees it gets again, down to the last of its size; and no more is kept than the bound says.
  @Test func keepsWhatWasFreed() throws {
    let test = try TestPool(.fixed)
    let pool = test.pool
    for byteCount in [UInt(4_000), 5_000, 16_000, 17_000, 32_768] {
      let pointers = try (0..<2).map { _ in try #require(pool.allocate(byteCount)) }
      for pointer in pointers { pool.deallocate(pointer) }
      let again = try (0..<2).map { _ in try #require(pool.allocate(byteCount)) }
      #expect(again == Array(pointers.reversed()), "\(byteCount)")
      for pointer in again { pool.deallocate(pointer) }
    }
    let heap = try #require(pool.threadHeap())
    #expect(heap.cachedRunBytes.loadRelaxed() > RunCache.largestTotal / 2)
    pool.purge()
    #expect(heap.cachedRunBytes.loadRelaxed() == 0)
    #expect(pool.statistics().allocatedBytes == 0 && pool.checkInvariants())
  }

  @Test func isBoundedWhateverIsFreed() throws {
    var random = SplitMix64(seed: SplitMix64.seed("isBoundedWhateverIsFreed"))
    let test = try TestPool(.fixed)
    let pool = test.pool, heap = try #require(pool.threadHeap())
    var live: [(pointer: UnsafeMutableRawPointer, byteCount: Int)] = []
    for step in 0..<20_000 {
      if random.below(2) == 0, live.count < 300 {
        let byteCount = 3_841 + random.below(32 << 10)
        let pointer = try #require(pool.allocate(UInt(byteCount)))
        Pattern.fill(pointer, byteCount, UInt64(byteCount))
        live.append((pointer, byteCount))
      } else if !live.isEmpty {
        let block = live.remove(at: random.below(live.count))
        try demand(Pattern.isIntact(block.pointer, block.byteCount, UInt64(block.byteCount)), "step \(step): content")
        pool.deallocate(block.pointer)
        let bytes = heap.cachedRunBytes.loadRelaxed()
        try demand(bytes <= RunCache.largestTotal, "step \(step): \(bytes) bytes kept")
      }
      if step % 5_000 == 0 { try demand(pool.checkInvariants(), "step \(step)") }
    }
    for block in live { pool.deallocate(block.pointer) }
    #expect(pool.statistics().allocatedBytes == 0)
    pool.purge()
    #expect(pool.segments.newest?.usedPages.loadRelaxed() ?? 0 < 20 && pool.checkInvariants())
  }

  @Test("A second free of a kept run is found", arguments: [5_000, 16_384, 30_000])
  func secondFree(byteCount: Int) async {
    // An exit test takes no arguments from outside.
    let result =
      switch byteCount {
      case 5_000:
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) { try freeTwice(5_000) }
      case 16_384:
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) { try freeTwice(16_384) }
      default:
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) { try freeTwice(30_000) }
      }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(text.contains("double free"), "\(text)")
  }
}

private func freeTwice(_ byteCount: UInt) throws {
  let pool = try TestPool(.fixed).keptPool
  let pointer = pool.allocate(byteCount)
  pool.deallocate(pointer)
  pool.deallocate(pointer)
}
