public import MempoolCore

/// A store of equal pieces of raw memory, for any number of threads, of a size that is known when the program runs.
///
/// ``SlabCache`` is the same for values, and gives them back by itself; here the caller does, and may take several
/// neighbouring pieces at once.
///
/// **Threads**, **memory ordering**: as ``SlabCache``. **Lifetime**: all pieces must have been given back when the last reference
/// to the cache goes; otherwise the process ends with one line that says how many were not.
@safe
public final class RawSlabCache: Sendable {
  // Sendable: the record is made for any thread; the pointer never changes.
  @usableFromInline
  nonisolated(unsafe) let core: SlabCachePointer
  private let pool: MemoryPool
  /// Bytes from one piece of an array to the next: the item's size, rounded up to the alignment.
  public let itemStride: Int

  /// Makes an empty cache. It takes its first memory with its first piece.
  ///
  /// - Parameters:
  ///   - itemSize: Bytes of a piece, from 1 to 1 MiB.
  ///   - alignment: A power of two, at most 16 KiB. The size is rounded up to it.
  ///   - pool: Where its memory comes from; kept alive by the cache. Not one that passes through.
  ///   - name: For reports; the first 31 bytes are kept.
  /// - Throws: ``PoolError/outOfMemory``, or ``PoolError/invalidArgument`` for a size or alignment that no cache can have.
  public init(
    itemSize: Int, alignment: Int = 1, in pool: MemoryPool = .shared, name: String = ""
  ) throws(PoolError) {
    self.pool = pool
    unsafe core = try pool.makeCache(itemSize, alignment, name)
    itemStride = (itemSize + alignment - 1) & ~(alignment - 1)
  }

  deinit { unsafe core.destroy(call: "RawSlabCache.deinit") }

  /// Takes a piece. Its content is whatever was there before.
  ///
  /// - Throws: ``PoolError/outOfMemory`` when the pool is exhausted.
  /// - Complexity: As ``SlabCache/make(_:)``.
  ///
  /// Memory ordering: acquires what the last user of the piece released by giving it back.
  @inlinable @inline(__always)
  public func allocate() throws(PoolError) -> UnsafeMutableRawPointer {
    guard let piece = unsafe core.take() else { throw .outOfMemory }
    return unsafe piece
  }

  /// Gives a piece back. Nothing may use it afterwards.
  ///
  /// - Parameter piece: One of this cache that is out, taken by any thread; nil is nothing to do. Anything else is reported and ends
  ///   the process.
  /// - Complexity: O(1); into a cell that this thread leases without an atomic read-modify-write, otherwise with one.
  ///
  /// Memory ordering: releases what this thread wrote to whoever takes the piece next.
  @unsafe @inlinable @inline(__always)
  public func deallocate(_ piece: UnsafeMutableRawPointer?) {
    unsafe core.put(piece, call: "RawSlabCache.deallocate")
  }

  /// Takes neighbouring pieces, the start of each ``itemStride`` bytes after the one before.
  ///
  /// - Parameter count: From 1 to ``arrayCapacity``.
  /// - Throws: ``PoolError/invalidArgument`` for another count, ``PoolError/outOfMemory`` when the pool is exhausted.
  /// - Complexity: As ``SlabCache/make(_:)``, but for more than 64 pieces a look at every page at worst.
  public func allocateArray(_ count: Int) throws(PoolError) -> UnsafeMutableRawPointer {
    guard count >= 1, count <= arrayCapacity else { throw .invalidArgument }
    guard let pieces = unsafe core.takeArray(UInt(bitPattern: count)) else { throw .outOfMemory }
    return unsafe pieces
  }

  /// Gives back what ``allocateArray(_:)`` returned.
  ///
  /// - Parameters:
  ///   - pieces: What it returned; nil is nothing to do.
  ///   - count: As many as were taken.
  @unsafe
  public func deallocateArray(_ pieces: UnsafeMutableRawPointer?, _ count: Int) {
    unsafe core.putArray(pieces, UInt(bitPattern: count), call: "RawSlabCache.deallocateArray")
  }

  /// The most pieces that ``allocateArray(_:)`` gives at once.
  public var arrayCapacity: Int { unsafe Int(bitPattern: core.arrayCapacity) }

  /// Whether `pointer` points into memory of this cache. Says nothing on whether it is a live piece. Never dereferences it.
  ///
  /// - Complexity: O(1).
  public func owns(_ pointer: UnsafeRawPointer) -> Bool { unsafe core.owns(pointer) }

  /// Gives pages without a live piece back to the pool; see ``SlabCache/shrink()``.
  ///
  /// - Returns: The bytes given back.
  @discardableResult
  public func shrink() -> Int { unsafe Int(bitPattern: core.shrink()) }

  /// What the cache has counted so far.
  ///
  /// - Complexity: O(pages), under the read lock of their list.
  public func statistics() -> CacheStatistics { unsafe CacheStatistics(core.statistics()) }
}
