import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Object pools: mempool.h says what each does. A handle is the pool's record.

@c @implementation public func mp_objpool_new(
  _ size: Int, _ count: Int, _ name: UnsafePointer<CChar>!
) -> OpaquePointer! {
  mp_objpool_new_with(size, count, name, 0)
}

@c @implementation public func mp_objpool_new_with(
  _ size: Int, _ count: Int, _ name: UnsafePointer<CChar>!, _ flags: UInt32
) -> OpaquePointer! {
  let known = UInt32(MP_OBJPOOL_SYSTEM | MP_OBJPOOL_PASS_THROUGH)
  guard size != 0, count != 0, flags & ~known == 0 else {
    mp_errno_set(Int32(MP_EINVAL))
    return nil
  }
  var options = ObjectPool.Options()
  if flags & UInt32(MP_OBJPOOL_SYSTEM) != 0 { options.fallback = .system }
  options.isPassThrough = flags & UInt32(MP_OBJPOOL_PASS_THROUGH) != 0
  do throws(PoolError) {
    return OpaquePointer(
      try MemoryPoolPointer.shared.makeObjectPool(
        itemSize: UInt(bitPattern: size), count: UInt(bitPattern: count), name: name, options))
  } catch {
    mp_errno_set(error.number)
    return nil
  }
}

@c @implementation public func mp_objpool_get(_ handle: OpaquePointer!) -> UnsafeMutableRawPointer! {
  ObjectPoolPointer(handle.unsafelyUnwrapped).acquire()
}

@c @implementation public func mp_objpool_get0(_ handle: OpaquePointer!) -> UnsafeMutableRawPointer! {
  ObjectPoolPointer(handle.unsafelyUnwrapped).acquireZeroed()
}

@c @implementation public func mp_objpool_put(_ object: UnsafeMutableRawPointer!) {
  ObjectPoolPointer.release(object, call: "mp_objpool_put")
}

@c @implementation public func mp_objpool_destroy(_ handle: OpaquePointer!) -> Int32 {
  guard let handle else { return 0 }
  if objectPool(handle, "mp_objpool_destroy").destroy() { return 0 }
  mp_errno_set(Int32(MP_EBUSY))
  return -1
}

@c @implementation public func mp_objpool_abandon(_ handle: OpaquePointer!) {
  if let handle { objectPool(handle, "mp_objpool_abandon").orphan() }
}

@c @implementation public func mp_objpool_stats(
  _ handle: OpaquePointer!, _ stats: UnsafeMutablePointer<mp_objpool_stats_t>!
) {
  let pool = objectPool(handle, "mp_objpool_stats")
  let statistics = pool.statistics()
  stats.pointee = mp_objpool_stats_t(
    name: pool.name, item_size: Int(statistics.itemSize), hot: UInt64(statistics.hot), cold: UInt64(statistics.cold),
    max_hot: UInt64(statistics.maxHot), allocations: UInt64(statistics.allocations), misses: UInt64(statistics.misses),
    fallback: UInt64(statistics.fallback), max_fallback: UInt64(statistics.maxFallback))
}

@c @implementation public func mp_objpool_sweep(_ handle: OpaquePointer!) {
  if let handle { _ = objectPool(handle, "mp_objpool_sweep").sweep() } else { _ = ObjectPools.sweep() }
}

@c @implementation public func mp_objpool_sweep_every(_ milliseconds: UInt32) -> Int32 {
  if ObjectPools.sweep(every: UInt(milliseconds)) { return 0 }
  mp_errno_set(Int32(MP_EAGAIN))
  return -1
}

@c @implementation public func mp_objpool_named(_ name: UnsafePointer<CChar>!) -> OpaquePointer! {
  ObjectPools.named(name).map { OpaquePointer($0) }
}

@c @implementation public func mp_objpool_print(
  _ name: UnsafePointer<CChar>!, _ descriptor: Int32, _ json: Int32
) -> Int32 {
  ObjectPools.write(json == 0 ? .text : .json, named: name, to: descriptor) ? 0 : -1
}

// Of the list: what is none of it is not looked at.
private func objectPool(_ handle: OpaquePointer?, _ call: StaticString) -> ObjectPoolPointer {
  if let handle, ObjectPools.hasPool(ObjectPoolPointer(handle)) { return ObjectPoolPointer(handle) }
  misuse(call, UInt(bitPattern: handle), "no object pool: destroyed or abandoned, or never made")
}
