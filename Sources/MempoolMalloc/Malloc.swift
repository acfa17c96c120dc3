import CMempoolMalloc
import CMempoolShims
import MempoolCore

// The drop-in malloc: the names of libc's allocator, each a thin entry to the shared pool. Any thread may call any of them at
// any time: before constructors have run, in a fork's child, in exit handlers. README.md has the rules that they keep.
//
// Without the trait Interposer they are functions of other names, which tests call beside libc's.
//
// The core sets ENOMEM when it has no memory, on a path that is not inlined.

/// The symbol `malloc`. ISO C. `byteCount` may be 0: the object is distinct and can be freed. NULL and ENOMEM when there is no memory.
#if Interposer
  @c @implementation
#endif
public func mempool_malloc(_ byteCount: Int) -> UnsafeMutableRawPointer? {
  MemoryPoolPointer.shared.allocate(UInt(bitPattern: byteCount), call: "malloc")
}

/// The symbol `free`. ISO C. Keeps errno. NULL is nothing to do; what is not a live object is reported and aborts.
#if Interposer
  @c @implementation
#endif
public func mempool_free(_ pointer: UnsafeMutableRawPointer?) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "free")
}

/// ISO C. NULL and ENOMEM also when `count * byteCount` overflows.
#if Interposer
  @c(calloc)
#endif
public func mempoolCalloc(_ count: UInt, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
  MemoryPoolPointer.shared.allocateZeroed(count: count, byteCount: byteCount, call: "calloc")
}

/// ISO C, and glibc where ISO C leaves it open: 0 bytes free `pointer` and return NULL. After a failure `pointer` is valid.
#if Interposer
  @c(realloc)
#endif
public func mempoolRealloc(
  _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt
) -> UnsafeMutableRawPointer? {
  reallocate(pointer, byteCount, call: "realloc")
}

/// BSD, glibc, POSIX 2024: realloc of `count * byteCount` bytes; NULL and ENOMEM, `pointer` untouched, on overflow.
#if Interposer
  @c(reallocarray)
#endif
public func mempoolReallocarray(
  _ pointer: UnsafeMutableRawPointer?, _ count: UInt, _ byteCount: UInt
) -> UnsafeMutableRawPointer? {
  let (product, overflow) = count.multipliedReportingOverflow(by: byteCount)
  return overflow ? outOfMemory() : reallocate(pointer, product, call: "reallocarray")
}

/// BSD: realloc that frees `pointer` when it fails.
#if Interposer
  @c(reallocf)
#endif
public func mempoolReallocf(
  _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt
) -> UnsafeMutableRawPointer? {
  let result = reallocate(pointer, byteCount, call: "reallocf")
  if result == nil && byteCount != 0 { MemoryPoolPointer.shared.deallocate(pointer, call: "reallocf") }
  return result
}

/// NetBSD: reallocarray of the object that `place` points to, which gets the new one's address; `place` need not be aligned.
/// Returns 0, or ENOMEM, or EOVERFLOW when `count * byteCount` overflows; the object and the pointer to it are as they were
/// then. No elements free the object and leave NULL. Leaves errno alone.
#if Interposer
  @c(reallocarr)
#endif
public func mempoolReallocarr(
  _ place: UnsafeMutableRawPointer, _ count: UInt, _ byteCount: UInt
) -> Int32 {
  let (product, overflow) = count.multipliedReportingOverflow(by: byteCount)
  if overflow { return Int32(MP_EOVERFLOW) }
  let address = place.loadUnaligned(as: UInt.self)
  let saved = mp_errno_get()
  defer { mp_errno_set(saved) }
  let pointer = UnsafeMutableRawPointer(bitPattern: address)
  var result: UnsafeMutableRawPointer?
  if product == 0 {
    MemoryPoolPointer.shared.deallocate(pointer, call: "reallocarr")
  } else {
    result = MemoryPoolPointer.shared.reallocate(pointer, product, call: "reallocarr")
    if result == nil { return Int32(MP_ENOMEM) }
  }
  place.storeBytes(of: UInt(bitPattern: result), as: UInt.self)
  return 0
}

/// A size that overflows is memory that nobody has.
@inline(never)
func outOfMemory() -> UnsafeMutableRawPointer? {
  mp_errno_set(Int32(MP_ENOMEM))
  return nil
}

@inline(__always)
func reallocate(
  _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt, call: StaticString
) -> UnsafeMutableRawPointer? {
  if byteCount == 0 && pointer != nil {
    MemoryPoolPointer.shared.deallocate(pointer, call: call)
    return nil
  }
  return MemoryPoolPointer.shared.reallocate(pointer, byteCount, call: call)
}
