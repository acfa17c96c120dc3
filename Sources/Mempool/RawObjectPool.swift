public import MempoolCore

/// Pieces of raw memory of one size, a count of them kept ready, for any number of threads: the size is known when the program
/// runs.
///
/// ``ObjectPool`` is the same for values, and releases them by itself; here the caller does, and need not know the pool: a piece
/// tells by its address where it belongs.
///
/// **Threads**, **lifetime**, **memory ordering**, **more than the count**: as ``ObjectPool``.
@safe
public final class RawObjectPool: Sendable {
  @usableFromInline let owner: ObjectPoolOwner

  /// Makes a pool with its pieces.
  ///
  /// - Parameters:
  ///   - itemSize: Bytes of a piece, from 1 to 1 MiB.
  ///   - alignment: A power of two, at most 16 KiB. Pieces are aligned to 16 whatever this says.
  ///   - count: Pieces to keep ready, at least 1.
  ///   - pool: As ``ObjectPool/init(count:in:name:fallback:)``.
  ///   - name: As there.
  ///   - fallback: As there.
  /// - Throws: As ``ObjectPool/init(count:in:name:fallback:)``.
  public init(
    itemSize: Int, alignment: Int = 16, count: Int, in pool: MemoryPool = .shared, name: String = "",
    fallback: ObjectPoolFallback = .segment
  ) throws(PoolError) {
    owner = try ObjectPoolOwner(itemSize, alignment, count, pool, name, fallback)
  }

  /// Takes a piece. Its content is whatever was there before.
  ///
  /// - Throws: ``PoolError/outOfMemory``.
  /// - Complexity: As ``ObjectPool/acquire(_:)``.
  @inlinable @inline(__always)
  public func acquire() throws(PoolError) -> UnsafeMutableRawPointer {
    guard let piece = unsafe owner.core.acquire() else { throw .outOfMemory }
    return unsafe piece
  }

  /// Takes a piece, all of its bytes zero.
  public func acquireZeroed() throws(PoolError) -> UnsafeMutableRawPointer {
    guard let piece = unsafe owner.core.acquireZeroed() else { throw .outOfMemory }
    return unsafe piece
  }

  /// Gives a piece back to the pool that it came from, whichever that is. Nothing may use it afterwards.
  ///
  /// - Parameter piece: One that is out, taken by any thread; nil is nothing to do. Anything else is reported and ends the process.
  /// - Complexity: O(1); into a cell that this thread leases without an atomic read-modify-write, otherwise with one.
  @unsafe @inlinable @inline(__always)
  public static func release(_ piece: UnsafeMutableRawPointer?) {
    unsafe ObjectPoolPointer.release(piece, call: "RawObjectPool.release")
  }

  /// What the pool has counted so far.
  public func statistics() -> ObjectPoolStatistics { owner.statistics() }

  /// Gives back what is idle; see ``ObjectPool/sweep()``.
  @discardableResult
  public func sweep() -> Int { unsafe Int(bitPattern: owner.core.sweep()) }
}
