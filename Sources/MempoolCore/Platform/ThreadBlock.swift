public import CMempoolShims

/// This thread's block: reached in one load, at most 256 bytes, never freed while the thread lives.
public typealias ThreadBlock = UnsafeMutablePointer<mp_thread_block>

extension UnsafeMutablePointer where Pointee == mp_thread_block {
  /// The heap that the thread allocates from without more ado, which floor 5 gives a type: its own in the shared pool; or the empty heap, which
  /// sends each allocation to the slow path: before and after it has one, while its allocations are sampled, and where the pool is hardened.
  @inlinable @inline(__always)
  public var heapRecord: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: pointee.heap).unsafelyUnwrapped }

  /// The thread's heap in the shared pool; the empty heap before and after it has one.
  @inlinable @inline(__always)
  public var realHeapRecord: UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: pointee.real_heap).unsafelyUnwrapped
  }
}

/// The calling thread's block.
@inlinable @inline(__always)
public func threadBlock() -> ThreadBlock { mp_thread_block_self() }
