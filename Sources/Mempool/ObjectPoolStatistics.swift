internal import MempoolCore

/// What an ``ObjectPool`` or a ``RawObjectPool`` has counted, taken while threads run.
public struct ObjectPoolStatistics: Sendable, Equatable {
  /// What the pool was called.
  public let name: String
  /// Bytes of one object, as asked for.
  public let itemSize: Int
  /// Bytes from one place to the next.
  public let itemStride: Int
  /// Places kept ready; 0 for a pool that passes through.
  public let count: Int
  /// Places that are taken.
  public let hot: Int
  /// Places that are not, whether anybody may have them or a thread holds them ready for itself.
  public let cold: Int
  /// The most that were taken at a time: exact for one thread, with several as far as it was seen.
  public let maxHot: Int
  /// Objects acquired, wherever they came from: cumulative.
  public let allocations: Int
  /// Of these, the ones without a place: cumulative.
  public let misses: Int
  /// Of those, out now.
  public let fallback: Int
  /// The most of those that were out at a time.
  public let maxFallback: Int
  /// Bytes of the places' pages.
  public let pageBytes: Int
  /// Bytes of the pool's records.
  public let metadataBytes: Int
  /// Threads that use the pool.
  public let threads: Int
  /// Times that it was swept: cumulative.
  public let sweeps: Int

  init(_ name: String, _ core: MempoolCore.ObjectPoolStatistics) {
    self.name = name
    itemSize = Int(truncatingIfNeeded: core.itemSize)
    itemStride = Int(truncatingIfNeeded: core.stride)
    count = Int(truncatingIfNeeded: core.count)
    hot = Int(truncatingIfNeeded: core.hot)
    cold = Int(truncatingIfNeeded: core.cold)
    maxHot = Int(truncatingIfNeeded: core.maxHot)
    allocations = Int(truncatingIfNeeded: core.allocations)
    misses = Int(truncatingIfNeeded: core.misses)
    fallback = Int(truncatingIfNeeded: core.fallback)
    maxFallback = Int(truncatingIfNeeded: core.maxFallback)
    pageBytes = Int(truncatingIfNeeded: core.pageBytes)
    metadataBytes = Int(truncatingIfNeeded: core.metadataBytes)
    threads = Int(truncatingIfNeeded: core.threads)
    sweeps = Int(truncatingIfNeeded: core.sweeps)
  }
}

/// All object pools of the process: what they have counted, and sweeping them.
public enum ObjectPoolList {
  /// The statistics of every pool, the newest first.
  public static func statistics() -> [ObjectPoolStatistics] {
    var all: [ObjectPoolStatistics] = []
    unsafe ObjectPools.forEach { pool in
      unsafe all.append(ObjectPoolStatistics(String(cString: pool.name), pool.statistics()))
    }
    return all
  }

  /// The same as text for people, a pool a paragraph.
  public static var text: String { written(.text) }

  /// The same as one JSON object on one line, with the keys of docs/object-pools.md.
  public static var json: String { written(.json) }

  private static func written(_ format: StatisticsFormat) -> String {
    var sink = StringSink()
    unsafe ObjectPools.write(format, to: &sink)
    return sink.text
  }

  /// Sweeps all pools; see ``ObjectPool/sweep()``.
  @discardableResult
  public static func sweep() -> Int { Int(bitPattern: ObjectPools.sweep()) }

  /// Has a thread sweep all pools every so often, gently: what was needed since it last looked stays. Nil, as at the start: no such
  /// thread; when this returns it has ended.
  ///
  /// - Throws: ``PoolError/outOfMemory`` when no thread can be started, ``PoolError/invalidArgument`` for no time at all.
  public static func sweep(every period: Duration?) throws(PoolError) {
    guard let period else {
      _ = ObjectPools.sweep(every: 0)
      return
    }
    guard period > .zero else { throw .invalidArgument }
    let milliseconds = min((period / .milliseconds(1)).rounded(.up), 86_400_000)
    guard ObjectPools.sweep(every: UInt(milliseconds)) else { throw .outOfMemory }
  }
}
