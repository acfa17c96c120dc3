internal import MempoolCore

/// A complete allocator inside memory that the caller brings: on the stack, static, shared, of a device.
///
/// Its bookkeeping, at most 208 bytes and 2 bits a block, lies in that memory, too. It asks no operating system and takes no
/// other memory, unless it is given an allocator to fall back on. So it bounds what a part of a program may use, to the byte, and
/// shows what that part does when memory runs out.
///
/// ```swift
/// var memory = InlineArray<4096, UInt8>(repeating: 0)
/// try withUnsafeMutableBytes(of: &memory) { bytes in
///   let pool = try BufferPool(in: bytes, blockSize: 16)
///   let line = try pool.allocate(byteCount: 80)
///   pool.deallocate(line)
/// }
/// ```
///
/// An object is as many neighbouring blocks as it needs, the lowest that are free. It is aligned to the largest power of two
/// that divides the block size, at most 16.
///
/// **Lifetime.** A pool is a handle: copies of it are the same pool. There is nothing to destroy; ``drain()`` gives back what
/// came from the fallback. The memory must outlive the pool and stay where it is.
///
/// **Threads.** One at a time, unless the pool has a lock, which each call holds, also while the fallback is called.
///
/// **Misuse.** Giving back what does not start a live object ends the process with one line that says why. Nothing is
/// dereferenced before it is known to be the pool's.
@safe
public struct BufferPool {
  let core: BufferPoolPointer

  /// Makes a pool.
  ///
  /// - Parameters:
  ///   - memory: Memory that outlives the pool and that nobody else touches meanwhile. Only the bookkeeping is written to.
  ///   - blockSize: What sizes are rounded up to, at least 1. Small blocks waste less on rounding, and cost more bits.
  ///   - fallback: Where memory comes from when no blocks have room; it is counted, and given back by ``drain()``.
  ///   - lock: What each call holds.
  /// - Throws: ``PoolError/invalidArgument`` when there is no room for one block.
  /// - Complexity: O(blocks / 64).
  @unsafe
  public init(
    in memory: UnsafeMutableRawBufferPointer, blockSize: Int = 8, fallback: RawAllocator? = nil, lock: LockHook? = nil
  ) throws(PoolError) {
    guard blockSize > 0,
      let core = unsafe BufferPoolPointer.make(
        in: memory.baseAddress, UInt(memory.count), blockSize: UInt(blockSize), fallback: fallback?.core,
        lock: lock?.core)
    else { throw .invalidArgument }
    unsafe self.core = unsafe core
  }

  /// The bytes that suffice for so many blocks, wherever they begin; nil when nobody has so many.
  public static func byteCount(forBlocks blockCount: Int, blockSize: Int = 8) -> Int? {
    guard blockCount > 0, blockSize > 0 else { return nil }
    return unsafe BufferPoolPointer.byteCount(blockCount: UInt(blockCount), blockSize: UInt(blockSize)).map { Int($0) }
  }
}

/// Nor is the memory that it lies in: who has given it a lock says so with `nonisolated(unsafe)`.
@available(*, unavailable)
extension BufferPool: Sendable {}

extension BufferPool: Equatable {
  /// Whether both are handles of the same pool.
  public static func == (left: BufferPool, right: BufferPool) -> Bool { unsafe left.core == right.core }
}

extension BufferPool {
  /// Takes `byteCount` bytes. Their content is whatever was there before.
  ///
  /// - Parameters:
  ///   - byteCount: The size; 0 gives a distinct object of one block.
  ///   - alignment: A power of two.
  /// - Throws: ``PoolError/outOfMemory`` when neither the blocks nor the fallback have room, ``PoolError/lockRefused``, or
  ///   ``PoolError/invalidArgument`` when `byteCount` is negative or `alignment` is not a power of two.
  /// - Complexity: O(1) for objects of one block in order; O(blocks / 64) at worst.
  public func allocate(byteCount: Int, alignment: Int = 1) throws(PoolError) -> UnsafeMutableRawPointer {
    guard byteCount >= 0, MemoryPool.isAlignment(alignment) else { throw .invalidArgument }
    do throws(BufferPoolError) {
      return try unsafe core.allocate(UInt(byteCount), alignment: UInt(alignment))
    } catch { throw PoolError(error) }
  }

  /// Takes `byteCount` bytes, all zero.
  public func allocateZeroed(byteCount: Int, alignment: Int = 1) throws(PoolError) -> UnsafeMutableRawPointer {
    let bytes = try unsafe allocate(byteCount: byteCount, alignment: alignment)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    return unsafe bytes
  }

  /// Makes an object hold `byteCount` bytes, and keeps its beginning.
  ///
  /// It stays in place when it shrinks, and when the blocks behind it are free; otherwise it moves, also by less than its length, so
  /// that memory for two copies is not needed.
  ///
  /// - Parameters:
  ///   - bytes: A live object; nil allocates. Anything else is reported and ends the process.
  ///   - byteCount: The new size, at least 1.
  /// - Throws: As ``allocate(byteCount:alignment:)``; the object is as it was then.
  @unsafe
  public func reallocate(
    _ bytes: UnsafeMutableRawPointer?, byteCount: Int
  ) throws(PoolError) -> UnsafeMutableRawPointer {
    guard byteCount > 0 else { throw .invalidArgument }
    do throws(BufferPoolError) {
      guard let moved = try unsafe core.reallocate(bytes, UInt(byteCount)) else { throw .outOfMemory }
      return unsafe moved
    } catch {
      unsafe endIfMisuse("BufferPool.reallocate", bytes, error, .use)
      throw PoolError(error)
    }
  }

  /// Takes an object back. Nothing may use it afterwards.
  ///
  /// - Parameter bytes: A live object; nil is nothing to do. Anything else, and a lock that is refused, is reported and ends the
  ///   process.
  @unsafe
  public func deallocate(_ bytes: UnsafeMutableRawPointer?) {
    do throws(BufferPoolError) {
      try unsafe core.deallocate(bytes)
    } catch { unsafe end("BufferPool.deallocate", bytes, error, .free) }
  }

  /// Takes back all objects, also those from the fallback, and zeroes the blocks.
  ///
  /// - Complexity: O(memory).
  public func drain() {
    do throws(BufferPoolError) { try unsafe core.drain() } catch {
      unsafe end("BufferPool.drain", UnsafeRawPointer(core), error, .free)
    }
  }

  /// The bytes that an object may use: at least what was asked for.
  ///
  /// - Parameter bytes: A live object; nil has none. Anything else is reported and ends the process.
  @unsafe
  public func usableSize(of bytes: UnsafeRawPointer?) -> Int {
    do throws(BufferPoolError) {
      return try unsafe Int(core.usableSize(of: bytes))
    } catch { unsafe end("BufferPool.usableSize", bytes, error, .use) }
  }

  /// Whether an address lies in the pool's blocks, in an object or not. What came from the fallback is elsewhere.
  public func owns(_ pointer: UnsafeRawPointer?) -> Bool { unsafe core.owns(pointer) }

  /// The pool as an allocator for others.
  public var allocator: RawAllocator { unsafe RawAllocator(core.allocator) }

  /// What the pool holds and has counted.
  ///
  /// - Complexity: O(blocks / 64).
  public func statistics() throws(PoolError) -> BufferPoolStatistics {
    do throws(BufferPoolError) {
      return BufferPoolStatistics(try unsafe core.statistics())
    } catch { throw PoolError(error) }
  }

  /// The figures, and a map of the blocks: `#` where an object begins, `-` where it goes on, `.` for a free one.
  public func map() throws(PoolError) -> String {
    var sink = StringSink()
    do throws(BufferPoolError) { try unsafe core.write(to: &sink) } catch { throw PoolError(error) }
    return sink.text
  }

  @unsafe
  private func endIfMisuse(
    _ call: StaticString, _ bytes: UnsafeRawPointer?, _ error: BufferPoolError, _ purpose: Purpose
  ) {
    if error != .outOfMemory && error != .lockRefused { unsafe end(call, bytes, error, purpose) }
  }

  @unsafe
  private func end(
    _ call: StaticString, _ bytes: UnsafeRawPointer?, _ error: BufferPoolError, _ purpose: Purpose
  ) -> Never {
    misuse(call, UInt(bitPattern: bytes), error.text(purpose))
  }
}

extension PoolError {
  init(_ core: BufferPoolError) {
    switch core {
    case .outOfMemory: self = .outOfMemory
    case .lockRefused: self = .lockRefused
    case .free, .interior, .foreign: self = .invalidArgument
    }
  }
}
