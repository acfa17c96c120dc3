import CMempoolShims
import Testing

@testable import MempoolCore

/// A memory pool of its own with one object pool in it, gone with it.
final class TestObjects: @unchecked Sendable {
  let memory: MemoryPoolPointer
  let pool: ObjectPoolPointer
  let size: Int

  init(
    _ size: Int, count: Int, alignment: Int = 16, name: String = "test",
    backing: PoolOptions.Backing = .elastic(reserve: 256 << 20), fallback: ObjectPool.Fallback = .segment,
    isPassThrough: Bool = false
  ) throws {
    var options = PoolOptions()
    options.backing = backing
    options.maxRetries = 0
    memory = try .create(options)
    self.size = size
    var poolOptions = ObjectPool.Options()
    poolOptions.fallback = fallback
    poolOptions.isPassThrough = isPassThrough
    pool = try memory.makeObjectPool(
      itemSize: UInt(size), count: UInt(count), alignment: UInt(alignment), name: name, poolOptions)
  }

  deinit { memory.destroy() }

  func acquire() -> UnsafeMutableRawPointer { pool.acquire()! }
  static func release(_ object: UnsafeMutableRawPointer) { ObjectPoolPointer.release(object) }

  var statistics: ObjectPoolStatistics { pool.statistics() }

  /// Pages of the segment that anybody holds.
  var usedPages: UInt { memory.pointee.first.usedPages.loadRelaxed() }
  /// Without heaps, of which a thread that sweeps all pools gets one.
  var metadataBytes: UInt {
    let heapBytes = (ThreadHeapPointer.recordByteCount + 63) & ~63
    return memory.pointee.first.arena.usedBytes.loadRelaxed() - memory.registry.count * heapBytes
  }

  /// Whether it is one of the prepared objects.
  func isPrepared(_ object: UnsafeMutableRawPointer) -> Bool {
    if case .prepared = ObjectPlace(UInt(bitPattern: object)) { true } else { false }
  }
}
