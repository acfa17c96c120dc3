import Foundation
import Mempool
import Testing

@Suite struct RawSlabCacheTests {
  @Test(arguments: [(1, 1), (3, 1), (24, 8), (100, 64), (4096, 4096), (1 << 20, 16)])
  func piecesAreAlignedAndTheCallers(itemSize: Int, alignment: Int) throws {
    let cache = try RawSlabCache(itemSize: itemSize, alignment: alignment, name: "raw")
    #expect(cache.itemStride % alignment == 0 && cache.itemStride >= itemSize)
    let pieces = try (0..<20).map { _ in try cache.allocate() }
    for (number, piece) in pieces.enumerated() {
      #expect(Int(bitPattern: piece) % alignment == 0)
      #expect(cache.owns(piece))
      memset(piece, Int32(number + 1), itemSize)
    }
    for (number, piece) in pieces.enumerated() {
      #expect(UnsafeRawBufferPointer(start: piece, count: itemSize).allSatisfy { $0 == UInt8(number + 1) })
      cache.deallocate(piece)
    }
    cache.deallocate(nil)
    #expect(cache.statistics().liveItems == 0)
    #expect(cache.statistics().itemSize == itemSize && cache.statistics().itemStride == cache.itemStride)
  }

  @Test func arraysAreNeighbours() throws {
    let cache = try RawSlabCache(itemSize: 20, alignment: 4)
    for count in [1, 2, 31, 32, 33, 63, 64, 65, 128, cache.arrayCapacity] {
      let first = try cache.allocateArray(count)
      let second = try cache.allocateArray(count)
      memset(first, 1, count * 20)
      memset(second, 2, count * 20)
      #expect(UnsafeRawBufferPointer(start: first, count: count * 20).allSatisfy { $0 == 1 }, "\(count) pieces")
      #expect(cache.statistics().liveItems == 2 * count)
      cache.deallocateArray(first, count)
      cache.deallocateArray(second, count)
    }
    #expect(cache.statistics().liveItems == 0)
    for count in [0, -1, cache.arrayCapacity + 1] {
      #expect(throws: PoolError.invalidArgument) { try cache.allocateArray(count) }
    }
  }

  @Test func whatNoCacheCanHaveIsAnError() {
    for (itemSize, alignment) in [(0, 1), (-1, 1), (8, 0), (8, 3), (8, -8), (1 << 21, 1), (8, 1 << 20)] {
      #expect(throws: PoolError.invalidArgument) { try RawSlabCache(itemSize: itemSize, alignment: alignment) }
    }
  }
}
