public import CMempoolShims

/// This thread's block: reached in one load, at most 256 bytes, never freed while the thread lives.
public typealias ThreadBlock = UnsafeMutablePointer<mp_thread_block>

/// The calling thread's block.
@inlinable @inline(__always)
public func threadBlock() -> ThreadBlock { mp_thread_block_self() }
