import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Regions: mempool.h says what each does. A handle is the region's record, in the caller's memory.

@c @implementation public func mp_region_init(_ memory: UnsafeMutableRawPointer!, _ size: Int) -> OpaquePointer! {
  if let region = RegionPointer.make(in: memory, UInt(bitPattern: size)) { return OpaquePointer(region) }
  mp_errno_set(Int32(MP_EINVAL))
  return nil
}

@c @implementation public func mp_region_alloc(_ handle: OpaquePointer!, _ size: Int) -> UnsafeMutableRawPointer! {
  orNoMemory(region(handle, "mp_region_alloc").allocate(UInt(bitPattern: size), alignment: size < 16 ? 8 : 16))
}

@c @implementation public func mp_region_calloc(
  _ handle: OpaquePointer!, _ count: Int, _ size: Int
) -> UnsafeMutableRawPointer! {
  let region = region(handle, "mp_region_calloc")
  let (sum, overflow) = UInt(bitPattern: count).multipliedReportingOverflow(by: UInt(bitPattern: size))
  return orNoMemory(overflow ? nil : region.allocateZeroed(sum, alignment: sum < 16 ? 8 : 16))
}

@c @implementation public func mp_region_memalign(
  _ handle: OpaquePointer!, _ alignment: Int, _ size: Int
) -> UnsafeMutableRawPointer! {
  let region = region(handle, "mp_region_memalign")
  guard isPowerOfTwo(UInt(bitPattern: alignment)) else { return invalidArgument() }
  return orNoMemory(region.allocate(UInt(bitPattern: size), alignment: UInt(bitPattern: alignment)))
}

@c @implementation public func mp_region_mark(_ handle: OpaquePointer!) -> Int {
  Int(bitPattern: region(handle, "mp_region_mark").mark)
}

@c @implementation public func mp_region_reset(_ handle: OpaquePointer!, _ mark: Int) -> Int32 {
  if region(handle, "mp_region_reset").reset(to: UInt(bitPattern: mark)) { return 0 }
  mp_errno_set(Int32(MP_EINVAL))
  return -1
}

@c @implementation public func mp_region_peak(_ handle: OpaquePointer!) -> Int {
  Int(bitPattern: region(handle, "mp_region_peak").peak)
}

@c @implementation public func mp_region_capacity(_ handle: OpaquePointer!) -> Int {
  Int(bitPattern: region(handle, "mp_region_capacity").capacity)
}

@c @implementation public func mp_region_owns(_ handle: OpaquePointer!, _ pointer: UnsafeRawPointer!) -> Int32 {
  region(handle, "mp_region_owns").owns(pointer) ? 1 : 0
}

@c @implementation public func mp_region_allocator(_ handle: OpaquePointer!) -> mp_allocator_t {
  mp_allocator_t(region(handle, "mp_region_allocator").allocator)
}

@inline(__always)
private func region(_ handle: OpaquePointer?, _ call: StaticString) -> RegionPointer {
  if let handle {
    let region = RegionPointer(handle)
    if region.isSealed { return region }
  }
  misuse(call, UInt(bitPattern: handle), "not a region")
}

private func orNoMemory(_ pointer: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if pointer == nil { mp_errno_set(Int32(MP_ENOMEM)) }
  return pointer
}
