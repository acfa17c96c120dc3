#if Interposer
  import MempoolCore

  // glibc's second names. A program that calls them means the malloc of its process, and frees by the plain ones. With these
  // there is no way from inside this library to glibc's own heap.

  @c(__libc_malloc) public func libcMalloc(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
    MemoryPoolPointer.shared.allocate(byteCount, call: "__libc_malloc")
  }

  @c(__libc_free) public func libcFree(_ pointer: UnsafeMutableRawPointer?) {
    MemoryPoolPointer.shared.deallocate(pointer, call: "__libc_free")
  }

  @c(__libc_cfree) public func libcCfree(_ pointer: UnsafeMutableRawPointer?) {
    MemoryPoolPointer.shared.deallocate(pointer, call: "__libc_cfree")
  }

  @c(__libc_calloc) public func libcCalloc(_ count: UInt, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
    MemoryPoolPointer.shared.allocateZeroed(count: count, byteCount: byteCount, call: "__libc_calloc")
  }

  @c(__libc_realloc) public func libcRealloc(
    _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt
  ) -> UnsafeMutableRawPointer? {
    reallocate(pointer, byteCount, call: "__libc_realloc")
  }

  @c(__libc_memalign) public func libcMemalign(_ alignment: UInt, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
    mempoolMemalign(alignment, byteCount)
  }

  @c(__libc_valloc) public func libcValloc(_ byteCount: UInt) -> UnsafeMutableRawPointer? { mempoolValloc(byteCount) }

  @c(__libc_pvalloc) public func libcPvalloc(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
    mempoolPvalloc(byteCount)
  }

  @c(__posix_memalign) public func libcPosixMemalign(
    _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ alignment: UInt, _ byteCount: UInt
  ) -> Int32 {
    mempoolPosixMemalign(result, alignment, byteCount)
  }
#endif
