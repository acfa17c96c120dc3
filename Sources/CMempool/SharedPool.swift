import CMempoolHeaders
import CMempoolShims
import MempoolCore

// The shared pool's entries of mempool.h: its comments say what they do, and the compiler compares their signatures with it.
// Nil becomes NULL here and nowhere else; errno is ENOMEM by then, the core has set it.

@c @implementation public func mempool_init() -> Int32 {
  // The first allocation starts the pool, or fails with the system's errno.
  guard let pointer = MemoryPoolPointer.shared.allocate(0, call: "mempool_init") else { return -1 }
  MemoryPoolPointer.shared.deallocate(pointer, call: "mempool_init")
  return 0
}

@c @implementation public func mempool_fini() {
  MemoryPoolPointer.shared.finish(call: "mempool_fini")
}

@c @implementation public func mp_malloc(_ size: Int) -> UnsafeMutableRawPointer! {
  MemoryPoolPointer.shared.allocateOrAbort(UInt(bitPattern: size), call: "mp_malloc")
}

@c @implementation public func mp_try_malloc(_ size: Int) -> UnsafeMutableRawPointer! {
  MemoryPoolPointer.shared.allocate(UInt(bitPattern: size), call: "mp_try_malloc")
}

@c @implementation public func mp_calloc(_ count: Int, _ size: Int) -> UnsafeMutableRawPointer! {
  let count = UInt(bitPattern: count), byteCount = UInt(bitPattern: size)
  if count.multipliedReportingOverflow(by: byteCount).overflow { overflow("mp_calloc", count, byteCount) }
  let pointer = MemoryPoolPointer.shared.allocateZeroed(count: count, byteCount: byteCount, call: "mp_calloc")
  return orAbort(pointer, "mp_calloc", Int(bitPattern: count &* byteCount))
}

@c @implementation public func mp_memalign(_ alignment: Int, _ size: Int) -> UnsafeMutableRawPointer! {
  let alignment = UInt(bitPattern: alignment), byteCount = UInt(bitPattern: size)
  if !isPowerOfTwo(alignment) { fatal("mp_memalign", byteCount: alignment, "not a power of two") }
  let pointer = MemoryPoolPointer.shared.allocateAligned(byteCount, alignment: alignment, call: "mp_memalign")
  return orAbort(pointer, "mp_memalign", size)
}

@c @implementation public func mp_realloc(
  _ pointer: UnsafeMutableRawPointer!, _ size: Int
) -> UnsafeMutableRawPointer! {
  orAbort(MemoryPoolPointer.shared.reallocate(pointer, UInt(bitPattern: size), call: "mp_realloc"), "mp_realloc", size)
}

@c @implementation public func mp_free(_ pointer: UnsafeMutableRawPointer!) {
  MemoryPoolPointer.shared.deallocate(pointer, call: "mp_free")
}

@c @implementation public func mp_get_size(_ pointer: UnsafeRawPointer!) -> Int {
  Int(bitPattern: MemoryPoolPointer.shared.usableSize(of: pointer, call: "mp_get_size"))
}

@inline(__always)
func isPowerOfTwo(_ alignment: UInt) -> Bool { alignment != 0 && alignment & (alignment &- 1) == 0 }

/// The pointer, or one line and SIGABRT.
@inline(__always)
func orAbort(_ pointer: UnsafeMutableRawPointer?, _ call: StaticString, _ size: Int) -> UnsafeMutableRawPointer {
  if let pointer { return pointer }
  outOfMemory(call, size)
}

@inline(never)
private func outOfMemory(_ call: StaticString, _ size: Int) -> Never {
  fatal(call, byteCount: UInt(bitPattern: size), "out of memory")
}

@inline(never)
private func overflow(_ call: StaticString, _ count: UInt, _ byteCount: UInt) -> Never {
  var line = ReportLine()
  line.append(call)
  line.append("(")
  line.append(decimal: count)
  line.append(", ")
  line.append(decimal: byteCount)
  line.append("): the size overflows")
  line.write()
  mp_abort()
}
