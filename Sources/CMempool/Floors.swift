import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Fragments and the heap of small objects, by the originals' names: mempool.h says what each does.

@c @implementation public func mp_frag_alloc(_ size: Int, _ flags: Int16) -> UnsafeMutableRawPointer! {
  guard size != 0, Int32(flags) >= FRAG_COMMON, Int32(flags) <= FRAG_HEAP else { return invalidArgument() }
  return MemoryPoolPointer.shared.allocateFragments(UInt(bitPattern: size), call: "mp_frag_alloc")
}

@c @implementation public func mp_frag_free(_ pointer: UnsafeMutableRawPointer!) {
  MemoryPoolPointer.shared.deallocateFragments(pointer, call: "mp_frag_free")
}

@c @implementation public func mp_heap_alloc(_ size: Int) -> UnsafeMutableRawPointer! {
  guard UInt(bitPattern: size) <= UInt(MP_HEAP_MAX) else { return invalidArgument() }
  return MemoryPoolPointer.shared.allocate(UInt(bitPattern: size), call: "mp_heap_alloc")
}

@c @implementation public func mp_heap_free(_ pointer: UnsafeMutableRawPointer!) {
  MemoryPoolPointer.shared.deallocateSmall(pointer, call: "mp_heap_free")
}

/// EINVAL, for the functions that do not abort.
@inline(never)
func invalidArgument() -> UnsafeMutableRawPointer? {
  mp_errno_set(Int32(MP_EINVAL))
  return nil
}
