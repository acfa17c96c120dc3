import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Buffer pools: mempool.h says what each does. A handle is the pool's record, in the caller's memory.

@c @implementation public func mp_bufpool_init(
  _ memory: UnsafeMutableRawPointer!, _ size: Int, _ blockSize: Int, _ flags: UInt32
) -> OpaquePointer! {
  let pool =
    flags & ~MP_BUFPOOL_FALLBACK != 0
    ? nil
    : BufferPoolPointer.make(
      in: memory, UInt(bitPattern: size),
      blockSize: blockSize == 0 ? BufferPool.defaultBlockSize : UInt(bitPattern: blockSize),
      fallback: flags & MP_BUFPOOL_FALLBACK != 0 ? .system : nil)
  if pool == nil { mp_errno_set(Int32(MP_EINVAL)) }
  return pool.map { OpaquePointer($0) }
}

@c @implementation public func mp_bufpool_memory(_ blockCount: Int, _ blockSize: Int) -> Int {
  let size = blockSize == 0 ? BufferPool.defaultBlockSize : UInt(bitPattern: blockSize)
  return BufferPoolPointer.byteCount(blockCount: UInt(bitPattern: blockCount), blockSize: size)
    .map { Int(bitPattern: $0) } ?? 0
}

@c @implementation public func mp_bufpool_alloc(_ handle: OpaquePointer!, _ size: Int) -> UnsafeMutableRawPointer! {
  let pool = bufferPool(handle, "mp_bufpool_alloc")
  do throws(BufferPoolError) { return try pool.allocate(UInt(bitPattern: size)) } catch { return failed(error) }
}

@c @implementation public func mp_bufpool_calloc(
  _ handle: OpaquePointer!, _ count: Int, _ size: Int
) -> UnsafeMutableRawPointer! {
  let pool = bufferPool(handle, "mp_bufpool_calloc")
  do throws(BufferPoolError) {
    return try pool.allocateZeroed(count: UInt(bitPattern: count), byteCount: UInt(bitPattern: size))
  } catch { return failed(error) }
}

@c @implementation public func mp_bufpool_memalign(
  _ handle: OpaquePointer!, _ alignment: Int, _ size: Int
) -> UnsafeMutableRawPointer! {
  let pool = bufferPool(handle, "mp_bufpool_memalign")
  let alignment = UInt(bitPattern: alignment)
  guard isPowerOfTwo(alignment) else { return invalidArgument() }
  do throws(BufferPoolError) {
    return try pool.allocate(UInt(bitPattern: size), alignment: alignment)
  } catch { return failed(error) }
}

@c @implementation public func mp_bufpool_realloc(
  _ handle: OpaquePointer!, _ pointer: UnsafeMutableRawPointer!, _ size: Int
) -> UnsafeMutableRawPointer! {
  let pool = bufferPool(handle, "mp_bufpool_realloc")
  do throws(BufferPoolError) {
    return try pool.reallocate(pointer, UInt(bitPattern: size))
  } catch { return failed(error) }
}

@c @implementation public func mp_bufpool_free(_ handle: OpaquePointer!, _ pointer: UnsafeMutableRawPointer!) -> Int32 {
  let pool = bufferPool(handle, "mp_bufpool_free")
  do throws(BufferPoolError) {
    try pool.deallocate(pointer)
    return 0
  } catch {
    mp_errno_set(error.number)
    return -1
  }
}

@c @implementation public func mp_bufpool_drain(_ handle: OpaquePointer!) {
  let pool = bufferPool(handle, "mp_bufpool_drain")
  do throws(BufferPoolError) { try pool.drain() } catch { mp_errno_set(error.number) }
}

@c @implementation public func mp_bufpool_get_size(_ handle: OpaquePointer!, _ pointer: UnsafeRawPointer!) -> Int {
  let pool = bufferPool(handle, "mp_bufpool_get_size")
  do throws(BufferPoolError) {
    return Int(bitPattern: try pool.usableSize(of: pointer))
  } catch {
    mp_errno_set(error.number)
    return 0
  }
}

@c @implementation public func mp_bufpool_owns(_ handle: OpaquePointer!, _ pointer: UnsafeRawPointer!) -> Int32 {
  bufferPool(handle, "mp_bufpool_owns").owns(pointer) ? 1 : 0
}

@c @implementation public func mp_bufpool_stats(
  _ handle: OpaquePointer!, _ stats: UnsafeMutablePointer<mp_bufpool_stats_t>!
) {
  let pool = bufferPool(handle, "mp_bufpool_stats")
  var now = BufferPoolStatistics()
  do throws(BufferPoolError) { now = try pool.statistics() } catch { mp_errno_set(error.number) }
  stats.initialize(
    to: mp_bufpool_stats_t(
      objects: Int(bitPattern: now.objects), blocks_used: Int(bitPattern: now.blocksUsed),
      block_count: Int(bitPattern: now.blockCount), block_size: Int(bitPattern: now.blockSize),
      memory_size: Int(bitPattern: now.memorySize), overhead: Int(bitPattern: now.overhead),
      fallbacks: Int(bitPattern: now.fallbacks)))
}

@c @implementation public func mp_bufpool_print(_ handle: OpaquePointer!, _ descriptor: Int32) -> Int32 {
  let pool = bufferPool(handle, "mp_bufpool_print")
  var sink = FileSink(descriptor: descriptor)
  do throws(BufferPoolError) {
    try pool.write(to: &sink)
  } catch {
    mp_errno_set(error.number)
    return -1
  }
  sink.flush()
  return sink.isComplete ? 0 : -1
}

@c @implementation public func mp_bufpool_check(_ handle: OpaquePointer!) -> Int32 {
  bufferPool(handle, "mp_bufpool_check").checkInvariants() ? 0 : -1
}

@c @implementation public func mp_bufpool_set_lock(
  _ handle: OpaquePointer!, _ lock: (@convention(c) (UnsafeMutableRawPointer?) -> Int32)!,
  _ unlock: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ state: UnsafeMutableRawPointer!
) {
  let pool = bufferPool(handle, "mp_bufpool_set_lock")
  guard let lock, let unlock else { return pool.setLock(nil) }
  pool.setLock(LockHook(lock: lock, unlock: unlock, state: state))
}

@c @implementation public func mp_bufpool_set_fallback(
  _ handle: OpaquePointer!, _ fallback: UnsafePointer<mp_allocator_t>!
) -> Int32 {
  let pool = bufferPool(handle, "mp_bufpool_set_fallback")
  let allocator = fallback.map { RawAllocator(resize: $0.pointee.resize, state: $0.pointee.state) }
  guard allocator?.state != UnsafeMutableRawPointer(pool) else {
    mp_errno_set(Int32(MP_EINVAL))
    return -1
  }
  do throws(BufferPoolError) { if try pool.setFallback(allocator) { return 0 } } catch {}
  mp_errno_set(Int32(MP_EBUSY))
  return -1
}

@c @implementation public func mp_bufpool_allocator(_ handle: OpaquePointer!) -> mp_allocator_t {
  mp_allocator_t(bufferPool(handle, "mp_bufpool_allocator").allocator)
}

@c @implementation public func mp_system_allocator() -> mp_allocator_t { mp_allocator_t(.system) }

@c @implementation public func mp_pool_allocator(_ handle: OpaquePointer!) -> mp_allocator_t {
  mp_allocator_t(pool(handle).allocator)
}

extension mp_allocator_t {
  init(_ allocator: RawAllocator) { self.init(resize: allocator.resize, state: allocator.state) }
}

@inline(__always)
private func bufferPool(_ handle: OpaquePointer?, _ call: StaticString) -> BufferPoolPointer {
  if let handle {
    let pool = BufferPoolPointer(handle)
    if pool.isSealed { return pool }
  }
  misuse(call, UInt(bitPattern: handle), "not a buffer pool")
}

private func failed(_ error: BufferPoolError) -> UnsafeMutableRawPointer? {
  mp_errno_set(error.number)
  return nil
}

extension BufferPoolError {
  var number: Int32 {
    switch self {
    case .outOfMemory: Int32(MP_ENOMEM)
    case .lockRefused: Int32(MP_EBUSY)
    case .free, .interior, .foreign: Int32(MP_EINVAL)
    }
  }
}
