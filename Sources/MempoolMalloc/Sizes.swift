import MempoolCore

/// glibc: bytes that may be used from `pointer` on, at least what was asked for; 0 for NULL.
@c(malloc_usable_size) public func mempoolUsableSize(_ pointer: UnsafeRawPointer?) -> UInt {
  MemoryPoolPointer.shared.usableSize(of: pointer, call: "malloc_usable_size")
}

/// Darwin's name of malloc_usable_size.
@c(malloc_size) public func mempoolSize(_ pointer: UnsafeRawPointer?) -> UInt {
  MemoryPoolPointer.shared.usableSize(of: pointer, call: "malloc_size")
}

/// Darwin: what malloc rounds `byteCount` up to.
@c(malloc_good_size) public func mempoolGoodSize(_ byteCount: UInt) -> UInt {
  MemoryPoolPointer.shared.goodSize(byteCount)
}

/// ISO C 2023: frees what malloc, calloc or realloc gave for `byteCount` bytes. A size that the object cannot have been asked
/// for with is misuse.
@c(free_sized) public func mempoolFreeSized(_ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt) {
  guard let pointer else { return }
  MemoryPoolPointer.shared.deallocate(pointer, byteCount: byteCount, isExact: true, call: "free_sized")
}

/// ISO C 2023: frees what aligned_alloc gave for `alignment` and `byteCount`; both are checked.
@c(free_aligned_sized) public func mempoolFreeAlignedSized(
  _ pointer: UnsafeMutableRawPointer?, _ alignment: UInt, _ byteCount: UInt
) {
  // aligned_alloc fails for an alignment that it does not take: what it gave then is nothing to do.
  guard let pointer else { return }
  let address = UInt(bitPattern: pointer)
  if !isPowerOfTwo(alignment) || address & (alignment &- 1) != 0 {
    misuse("free_aligned_sized", address, "not of this alignment")
  }
  // An alignment may have taken a much larger object.
  MemoryPoolPointer.shared.deallocate(pointer, byteCount: byteCount, isExact: false, call: "free_aligned_sized")
}

/// SunOS: free.
@c(cfree) public func mempoolCfree(_ pointer: UnsafeMutableRawPointer?) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "cfree")
}

/// The counterpart of valloc on old systems: free.
@c(vfree) public func mempoolVfree(_ pointer: UnsafeMutableRawPointer?) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "vfree")
}
