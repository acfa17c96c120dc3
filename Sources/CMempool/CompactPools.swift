import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Compact pools: mempool.h says what each does. An mp_compact_t is the pool's record.

@c @implementation public func mp_compact_new(_ flags: UInt32) -> OpaquePointer! {
  var options = mp_compact_options_t()
  options.flags = flags
  return mp_compact_new_in(nil, &options)
}

@c @implementation public func mp_compact_new_in(
  _ memory: OpaquePointer!, _ options: UnsafePointer<mp_compact_options_t>!
) -> OpaquePointer! {
  guard let settings = options == nil ? CompactOptions() : CompactOptions(options.pointee) else {
    mp_errno_set(Int32(MP_EINVAL))
    return nil
  }
  do throws(PoolError) {
    return OpaquePointer(try CompactPoolPointer.create(settings, in: pool(memory)))
  } catch {
    mp_errno_set(error.number)
    return nil
  }
}

@c @implementation public func mp_compact_attach(_ descriptor: Int32) -> OpaquePointer! {
  do throws(PoolError) {
    return OpaquePointer(try CompactPoolPointer.attach(descriptor))
  } catch {
    mp_errno_set(error.number)
    return nil
  }
}

@c @implementation public func mp_compact_destroy(_ pool: OpaquePointer!) {
  if let pool { CompactPoolPointer(pool).destroy(call: "mp_compact_destroy") }
}

@c @implementation public func mp_compact_alloc(
  _ pool: OpaquePointer!, _ size: Int, _ flags: UInt32, _ handle: UnsafeMutablePointer<mp_handle_t>!
) -> Int32 {
  handle.pointee = mp_handle_t()
  guard flags & ~MP_COMPACT_NOGROW == 0 else {
    mp_errno_set(Int32(MP_EINVAL))
    return -1
  }
  let made = compactPool(pool, "mp_compact_alloc").allocate(
    UInt(bitPattern: size), grows: flags & MP_COMPACT_NOGROW == 0)
  guard let made else { return -1 }
  handle.pointee = mp_handle_t(page: made.page, offset: made.offset)
  return 0
}

@c @implementation public func mp_compact_free(_ pool: OpaquePointer!, _ handle: mp_handle_t) -> Int32 {
  let pool = compactPool(pool, "mp_compact_free"), handle = CompactHandle(handle)
  do throws(CompactFault) {
    try pool.tryFree(handle)
    return 0
  } catch {
    // The handle is right, and the pool is not.
    if error == .overwritten || error == .mapped { pool.report("mp_compact_free", handle, error.text(.free)) }
    mp_errno_set(Int32(MP_EINVAL))
    return -1
  }
}

@c @implementation public func mp_compact_size(_ pool: OpaquePointer!, _ handle: mp_handle_t) -> Int {
  Int(bitPattern: compactPool(pool, "mp_compact_size").size(CompactHandle(handle), call: "mp_compact_size"))
}

@c @implementation public func mp_compact_map(_ pool: OpaquePointer!, _ handle: mp_handle_t) -> UnsafeMutableRawPointer!
{
  compactPool(pool, "mp_compact_map").map(CompactHandle(handle), call: "mp_compact_map")?.start
}

@c @implementation public func mp_compact_unmap(_ pool: OpaquePointer!, _ handle: mp_handle_t) {
  compactPool(pool, "mp_compact_unmap").unmap(CompactHandle(handle), call: "mp_compact_unmap")
}

@c @implementation public func mp_compact_total_bytes(_ pool: OpaquePointer!) -> Int {
  Int(bitPattern: compactPool(pool, "mp_compact_total_bytes").totalBytes)
}

@c @implementation public func mp_compact_trim(_ pool: OpaquePointer!) -> Int {
  Int(bitPattern: compactPool(pool, "mp_compact_trim").trim())
}

@c @implementation public func mp_compact_pack(_ pool: OpaquePointer!) -> Int {
  Int(bitPattern: compactPool(pool, "mp_compact_pack").compact())
}

@c @implementation public func mp_compact_descriptor(_ pool: OpaquePointer!) -> Int32 {
  if let descriptor = compactPool(pool, "mp_compact_descriptor").descriptor { return descriptor }
  mp_errno_set(Int32(MP_EINVAL))
  return -1
}

@c @implementation public func mp_compact_stats(
  _ pool: OpaquePointer!, _ stats: UnsafeMutablePointer<mp_compact_stats_t>!
) {
  let now = compactPool(pool, "mp_compact_stats").statistics()
  stats.pointee = mp_compact_stats_t(
    live_objects: UInt64(now.liveObjects), live_bytes: UInt64(now.liveBytes), block_bytes: UInt64(now.blockBytes),
    total_bytes: UInt64(now.totalBytes), peak_bytes: UInt64(now.peakBytes), idle_bytes: UInt64(now.idleBytes),
    metadata_bytes: UInt64(now.metadataBytes), mapped_bytes: UInt64(now.mappedBytes), map_calls: UInt64(now.mapCalls),
    refusals: UInt64(now.refusals), moved_bytes: UInt64(now.movedBytes))
}

@inline(__always)
private func compactPool(_ handle: OpaquePointer?, _ call: StaticString) -> CompactPoolPointer {
  if let handle { return CompactPoolPointer(handle) }
  misuse(call, 0, "no compact pool")
}

extension CompactHandle {
  fileprivate init(_ handle: mp_handle_t) { self.init(page: handle.page, offset: handle.offset) }
}

extension CompactOptions {
  /// What a C program asked for; nil when that is no option.
  fileprivate init?(_ options: mp_compact_options_t) {
    self.init()
    let known =
      MP_COMPACT_FILE | MP_COMPACT_MOVABLE | MP_COMPACT_ALIGN8 | MP_COMPACT_ALIGN16 | MP_COMPACT_REFUSE_LIVE
    guard options.flags & ~known == 0 else { return nil }
    func has(_ flag: UInt32) -> Bool { options.flags & flag != 0 }
    if has(MP_COMPACT_FILE) { backing = .file(window: UInt(bitPattern: options.window)) }
    isMovable = has(MP_COMPACT_MOVABLE)
    alignment = has(MP_COMPACT_ALIGN16) ? 16 : has(MP_COMPACT_ALIGN8) ? 8 : 4
    refusesLiveObjects = has(MP_COMPACT_REFUSE_LIVE)
    shardCount = UInt(options.shards)
    byteLimit = UInt(bitPattern: options.limit)
    reservePages = options.reserve_pages == 0 ? nil : UInt(max(options.reserve_pages, 0))
  }
}
