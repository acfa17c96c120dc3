import Testing

@testable import MempoolCore

/// A pool of its own with one slab cache in it, gone with it.
final class TestCache: @unchecked Sendable {
  let pool: MemoryPoolPointer
  private(set) var cache: SlabCachePointer

  init(
    _ itemSize: Int, alignment: Int = 1, backing: PoolOptions.Backing = .elastic(reserve: 256 << 20)
  ) throws {
    var options = PoolOptions()
    options.backing = backing
    pool = try .create(options)
    cache = try pool.makeCache(itemSize: UInt(itemSize), alignment: UInt(alignment))
  }

  deinit { pool.destroy() }

  func take() -> UnsafeMutableRawPointer { cache.take()! }
  func put(_ item: UnsafeMutableRawPointer) { cache.put(item) }

  var statistics: SlabCacheStatistics { cache.statistics() }
  var itemsPerPage: Int { Int(cache.arrayCapacity) }

  /// Pages of the segment that anybody holds.
  var usedPages: UInt { pool.pointee.first.usedPages.loadRelaxed() }

  /// Destroys the cache and makes another one, likely in the same place.
  func makeAgain(_ itemSize: Int) throws {
    cache.destroy()
    cache = try pool.makeCache(itemSize: UInt(itemSize))
  }
}

/// Fills an item with a pattern that depends on where it is and on `tag`, and says whether it still holds it.
enum ItemPattern {
  static func fill(_ item: UnsafeMutableRawPointer, _ byteCount: Int, _ tag: Int = 0) {
    for i in 0..<byteCount { item.storeBytes(of: byte(item, i, tag), toByteOffset: i, as: UInt8.self) }
  }

  static func isIntact(_ item: UnsafeMutableRawPointer, _ byteCount: Int, _ tag: Int = 0) -> Bool {
    (0..<byteCount).allSatisfy { item.load(fromByteOffset: $0, as: UInt8.self) == byte(item, $0, tag) }
  }

  private static func byte(_ item: UnsafeMutableRawPointer, _ index: Int, _ tag: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: (UInt(bitPattern: item) &+ UInt(index) &+ UInt(tag) &* 31) &* 0x9e37_79b9 >> 13)
  }
}
