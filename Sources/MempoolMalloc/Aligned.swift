import CMempoolShims
import MempoolCore

/// ISO C. NULL and EINVAL unless `alignment` is a power of two; `byteCount` need not be a multiple of it (DR 460).
#if Interposer
  @c(aligned_alloc)
#endif
public func mempoolAlignedAlloc(_ alignment: UInt, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
  allocateAligned(alignment, byteCount, call: "aligned_alloc")
}

/// SunOS, glibc: as aligned_alloc. glibc rounds other alignments up to a power of two; here they are NULL and EINVAL.
#if Interposer
  @c(memalign)
#endif
public func mempoolMemalign(_ alignment: UInt, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
  allocateAligned(alignment, byteCount, call: "memalign")
}

/// POSIX. Returns 0, EINVAL or ENOMEM; when not 0, `*result` is as it was. Leaves errno alone.
#if Interposer
  @c(posix_memalign)
#endif
public func mempoolPosixMemalign(
  _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ alignment: UInt, _ byteCount: UInt
) -> Int32 {
  guard isPowerOfTwo(alignment), alignment >= UInt(MemoryLayout<UInt>.size) else { return Int32(MP_EINVAL) }
  let saved = mp_errno_get()
  let pointer = MemoryPoolPointer.shared.allocateAligned(byteCount, alignment: alignment, call: "posix_memalign")
  guard let pointer else {
    mp_errno_set(saved)
    return Int32(MP_ENOMEM)
  }
  result.pointee = pointer
  return 0
}

/// BSD: aligned to the system's page.
#if Interposer
  @c(valloc)
#endif
public func mempoolValloc(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
  allocateAligned(UInt(mp_system_page_size()), byteCount, call: "valloc")
}

/// glibc: aligned to the system's page and rounded up to whole ones, at least one; ENOMEM when rounding overflows.
#if Interposer
  @c(pvalloc)
#endif
public func mempoolPvalloc(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
  let page = UInt(mp_system_page_size())
  let (sum, overflow) = max(byteCount, 1).addingReportingOverflow(page - 1)
  return overflow ? outOfMemory() : allocateAligned(page, sum & ~(page - 1), call: "pvalloc")
}

@inline(__always)
func isPowerOfTwo(_ alignment: UInt) -> Bool { alignment != 0 && alignment & (alignment &- 1) == 0 }

@inline(__always)
private func allocateAligned(
  _ alignment: UInt, _ byteCount: UInt, call: StaticString
) -> UnsafeMutableRawPointer? {
  guard isPowerOfTwo(alignment) else { return invalidAlignment() }
  return MemoryPoolPointer.shared.allocateAligned(byteCount, alignment: alignment, call: call)
}

@inline(never)
private func invalidAlignment() -> UnsafeMutableRawPointer? {
  mp_errno_set(Int32(MP_EINVAL))
  return nil
}
