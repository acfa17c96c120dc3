internal import MempoolCore

/// Memory that the caller brings, given out from its beginning to its end, and taken back only by going back to a mark.
///
/// The cheapest allocator that there is: an addition. For what lives as long as a step of work does: a line, a request, a frame.
///
/// ```swift
/// let region = try Region(in: bytes)
/// for request in requests {
///   let mark = region.mark
///   try answer(request, using: region)
///   region.reset(to: mark)
/// }
/// ```
///
/// **Lifetime.** A region is a handle: copies of it are the same region. The memory must outlive it and stay where it is; the
/// record takes at most 63 bytes of it. **Threads.** One at a time.
@safe
public struct Region {
  let core: RegionPointer

  /// Makes a region.
  ///
  /// - Parameter memory: Memory that outlives the region and that nobody else touches meanwhile.
  /// - Throws: ``PoolError/invalidArgument`` when not one byte would be left.
  @unsafe
  public init(in memory: UnsafeMutableRawBufferPointer) throws(PoolError) {
    guard let core = unsafe RegionPointer.make(in: memory.baseAddress, UInt(memory.count)) else {
      throw .invalidArgument
    }
    unsafe self.core = unsafe core
  }

  /// Takes `byteCount` bytes. Their content is whatever was there before.
  ///
  /// - Parameters:
  ///   - byteCount: The size; 0 gives a distinct object of one byte.
  ///   - alignment: A power of two; 1 skips nothing.
  /// - Throws: ``PoolError/outOfMemory``, or ``PoolError/invalidArgument`` when `byteCount` is negative or `alignment` is not a
  ///   power of two.
  /// - Complexity: O(1).
  public func allocate(byteCount: Int, alignment: Int = 16) throws(PoolError) -> UnsafeMutableRawPointer {
    guard byteCount >= 0, MemoryPool.isAlignment(alignment) else { throw .invalidArgument }
    guard let bytes = unsafe core.allocate(UInt(byteCount), alignment: UInt(alignment)) else { throw .outOfMemory }
    return unsafe bytes
  }

  /// Takes `byteCount` bytes, all zero.
  public func allocateZeroed(byteCount: Int, alignment: Int = 16) throws(PoolError) -> UnsafeMutableRawPointer {
    let bytes = try unsafe allocate(byteCount: byteCount, alignment: alignment)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    return unsafe bytes
  }

  /// Where the region is now: the bytes in use, what alignment skipped included.
  public var mark: Int { unsafe Int(core.mark) }

  /// The bytes that were in use at most.
  public var peak: Int { unsafe Int(core.peak) }

  /// The bytes that there are.
  public var capacity: Int { unsafe Int(core.capacity) }

  /// Takes back everything that was taken since ``mark`` was this. Nothing may use it afterwards.
  ///
  /// - Parameter mark: At most what it is now; by default the beginning. Anything else is reported and ends the process.
  @unsafe
  public func reset(to mark: Int = 0) {
    guard mark >= 0, unsafe core.reset(to: UInt(mark)) else {
      unsafe misuse("Region.reset", UInt(bitPattern: core), "a mark ahead of now")
    }
  }

  /// Whether an address lies in what is in use.
  public func owns(_ pointer: UnsafeRawPointer?) -> Bool { unsafe core.owns(pointer) }

  /// The region as an allocator for others: what they give back stays until a reset.
  public var allocator: RawAllocator { unsafe RawAllocator(core.allocator) }
}

/// It is for one thread at a time.
@available(*, unavailable)
extension Region: Sendable {}
