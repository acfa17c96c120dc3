import CMempoolShims
import MempoolCore

/// glibc: bytes that may be used from `pointer` on, at least what was asked for; 0 for NULL.
@c(malloc_usable_size) public func mempoolUsableSize(_ pointer: UnsafeRawPointer?) -> UInt {
  MemoryPoolPointer.shared.usableSize(of: pointer, call: "malloc_usable_size")
}

/// Darwin's name of malloc_usable_size.
@c(malloc_size) public func mempoolSize(_ pointer: UnsafeRawPointer?) -> UInt {
  MemoryPoolPointer.shared.usableSize(of: pointer, call: "malloc_size")
}

/// ISO C 2023: frees what malloc, calloc or realloc gave for `byteCount` bytes. A size that the object cannot have been asked
/// for with is misuse.
@c(free_sized) public func mempoolFreeSized(_ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt) {
  freeSized(pointer, byteCount, call: "free_sized")
}

/// ISO C 2023: frees what aligned_alloc gave for `alignment` and `byteCount`; both are checked.
@c(free_aligned_sized) public func mempoolFreeAlignedSized(
  _ pointer: UnsafeMutableRawPointer?, _ alignment: UInt, _ byteCount: UInt
) {
  let address = UInt(bitPattern: pointer)
  if !isPowerOfTwo(alignment) || address & (alignment &- 1) != 0 {
    misuse("free_aligned_sized", address, "not of this alignment")
  }
  freeSized(pointer, byteCount, call: "free_aligned_sized")
}

/// Cfree of old libraries: free.
@c(cfree) public func mempoolCfree(_ pointer: UnsafeMutableRawPointer?) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "cfree")
}

/// The counterpart of valloc on old systems: free.
@c(vfree) public func mempoolVfree(_ pointer: UnsafeMutableRawPointer?) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "vfree")
}

@inline(__always)
private func freeSized(_ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt, call: StaticString) {
  guard let pointer else { return }
  // What was asked for is not kept, only rounded up; realloc keeps an object in place down to half of that.
  if byteCount > MemoryPoolPointer.shared.usableSize(of: pointer, call: call) {
    misuse(call, UInt(bitPattern: pointer), "larger than the object")
  }
  MemoryPoolPointer.shared.deallocate(pointer, call: call)
}
