import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Pools of one's own: mempool.h says what each does. A handle is the pool's record; NULL stands for the shared pool.

@c @implementation public func mp_pool_new(_ options: UnsafePointer<mp_pool_options_t>!) -> OpaquePointer! {
  guard let settings = options == nil ? PoolOptions() : PoolOptions(options.pointee) else {
    mp_errno_set(Int32(MP_EINVAL))
    return nil
  }
  do throws(PoolError) {
    return OpaquePointer(try MemoryPoolPointer.create(settings))
  } catch {
    mp_errno_set(error.number)
    return nil
  }
}

@c @implementation public func mp_pool_destroy(_ handle: OpaquePointer!) {
  if let handle { pool(handle).destroy() }
}

@c @implementation public func mp_pool_malloc(_ handle: OpaquePointer!, _ size: Int) -> UnsafeMutableRawPointer! {
  pool(handle).allocate(UInt(bitPattern: size), call: "mp_pool_malloc")
}

@c @implementation public func mp_pool_calloc(
  _ handle: OpaquePointer!, _ count: Int, _ size: Int
) -> UnsafeMutableRawPointer! {
  pool(handle).allocateZeroed(count: UInt(bitPattern: count), byteCount: UInt(bitPattern: size), call: "mp_pool_calloc")
}

@c @implementation public func mp_pool_memalign(
  _ handle: OpaquePointer!, _ alignment: Int, _ size: Int
) -> UnsafeMutableRawPointer! {
  let alignment = UInt(bitPattern: alignment)
  guard isPowerOfTwo(alignment) else { return invalidArgument() }
  return pool(handle).allocateAligned(UInt(bitPattern: size), alignment: alignment, call: "mp_pool_memalign")
}

@c @implementation public func mp_pool_realloc(
  _ handle: OpaquePointer!, _ pointer: UnsafeMutableRawPointer!, _ size: Int
) -> UnsafeMutableRawPointer! {
  pool(handle).reallocate(pointer, UInt(bitPattern: size), call: "mp_pool_realloc")
}

@c @implementation public func mp_pool_free(_ handle: OpaquePointer!, _ pointer: UnsafeMutableRawPointer!) {
  pool(handle).deallocate(pointer, call: "mp_pool_free")
}

@c @implementation public func mp_pool_get_size(_ handle: OpaquePointer!, _ pointer: UnsafeRawPointer!) -> Int {
  Int(bitPattern: pool(handle).usableSize(of: pointer, call: "mp_pool_get_size"))
}

@c @implementation public func mp_pool_purge(_ handle: OpaquePointer!) -> Int {
  Int(bitPattern: pool(handle).purge())
}

@inline(__always)
func pool(_ handle: OpaquePointer?) -> MemoryPoolPointer {
  handle.map { MemoryPoolPointer($0) } ?? .shared
}

extension PoolOptions {
  /// What a C program asked for; nil when that is no option.
  fileprivate init?(_ options: mp_pool_options_t) {
    self.init()
    switch options.backing {
    case MP_BACKING_ELASTIC:
      backing = .elastic(reserve: options.size)
    case MP_BACKING_FIXED:
      backing = .fixed(
        size: options.size, locked: options.flags & MP_POOL_LOCKED != 0, prefault: options.flags & MP_POOL_PREFAULT != 0
      )
    case MP_BACKING_BUFFER:
      backing = .buffer(start: UInt(bitPattern: options.start), count: options.size)
    case MP_BACKING_PASS_THROUGH:
      backing = .passThrough
    default: return nil
    }
    guard let exhaustion = Exhaustion(rawValue: UInt(options.exhaustion.rawValue)),
      let smallObjects = SmallObjects(rawValue: UInt(options.small_objects.rawValue)),
      let hardening = Hardening(rawValue: UInt(options.flags & MP_POOL_GUARDS) / UInt(MP_POOL_ZEROING)),
      options.size >= 0, options.flags & ~(MP_POOL_LOCKED | MP_POOL_PREFAULT | MP_POOL_GUARDS) == 0
    else { return nil }
    self.exhaustion = exhaustion
    self.smallObjects = smallObjects
    self.hardening = hardening
    maxRetries = Self.number(options.max_retries)
    waitNanoseconds = Self.number(options.wait_ns)
    purgeDelayMilliseconds = Self.number(options.purge_delay_ms)
  }

  // 0: the default. Negative: none.
  private static func number(_ value: Int) -> UInt? {
    value == 0 ? nil : UInt(max(value, 0))
  }
}

extension PoolError {
  var number: Int32 {
    switch self {
    case .outOfMemory: Int32(MP_ENOMEM)
    case .reservationFailed(let errno), .lockFailed(let errno): errno
    case .invalidArgument: Int32(MP_EINVAL)
    }
  }
}
