public import CMempoolShims

/// This thread's block: reached in one load, at most 256 bytes, never freed while the thread lives.
public typealias ThreadBlock = UnsafeMutablePointer<mp_thread_block>

extension UnsafeMutablePointer where Pointee == mp_thread_block {
  /// The thread's heap in the shared pool, which floor 5 gives a type; the empty heap before and after it has one, and always
  /// where the shared pool is hardened.
  @inlinable @inline(__always)
  public var heapRecord: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: pointee.heap).unsafelyUnwrapped }

  /// The thread's heap in the shared pool, hardened or not. Only while it has one.
  var ownHeapRecord: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: pointee.own).unsafelyUnwrapped }
}

/// The calling thread's block.
@inlinable @inline(__always)
public func threadBlock() -> ThreadBlock { mp_thread_block_self() }
