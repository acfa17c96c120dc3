import MempoolCore

/// glibc: bytes that may be used from `pointer` on, at least what was asked for; 0 for NULL.
#if Interposer
  @c(malloc_usable_size)
#endif
public func mempoolUsableSize(_ pointer: UnsafeRawPointer?) -> UInt {
  MemoryPoolPointer.shared.usableSize(of: pointer, call: "malloc_usable_size")
}

/// Darwin's name of malloc_usable_size.
#if Interposer
  @c(malloc_size)
#endif
public func mempoolSize(_ pointer: UnsafeRawPointer?) -> UInt {
  MemoryPoolPointer.shared.usableSize(of: pointer, call: "malloc_size")
}

/// Darwin: what malloc rounds `byteCount` up to.
#if Interposer
  @c(malloc_good_size)
#endif
public func mempoolGoodSize(_ byteCount: UInt) -> UInt {
  MemoryPoolPointer.shared.goodSize(byteCount)
}

/// ISO C 2023: frees what malloc, calloc or realloc gave for `byteCount` bytes. A size that the object cannot have been asked
/// for with is misuse.
#if Interposer
  @c(free_sized)
#endif
public func mempoolFreeSized(_ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt) {
  guard let pointer else { return }
  MemoryPoolPointer.shared.deallocate(pointer, byteCount: byteCount, isExact: true, call: "free_sized")
}

/// ISO C 2023: frees what aligned_alloc gave for `alignment` and `byteCount`; both are checked.
#if Interposer
  @c(free_aligned_sized)
#endif
public func mempoolFreeAlignedSized(
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
#if Interposer
  @c(cfree)
#endif
public func mempoolCfree(_ pointer: UnsafeMutableRawPointer?) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "cfree")
}

/// The counterpart of valloc on old systems: free.
#if Interposer
  @c(vfree)
#endif
public func mempoolVfree(_ pointer: UnsafeMutableRawPointer?) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "vfree")
}
