import CMempool
import CMempoolHeaders
import Glibc

/// Options of pools, sensible and not: an error with its errno, or a pool that works.
struct OptionsDriver {
  private static let bufferSize = 256 << 10
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: bufferSize, alignment: 64)

  static func run(_ input: Input) throws {
    var input = input
    var options = mp_pool_options_t()
    options.backing = mp_backing_t(UInt32(input.below(8) == 7 ? input.byte() : input.below(4)))
    options.exhaustion = mp_exhaustion_t(UInt32(input.below(8) == 7 ? input.byte() : 2 * input.below(2)))
    options.small_objects = mp_small_objects_t(UInt32(input.below(8) == 7 ? input.byte() : input.below(2)))
    options.flags = UInt32(input.below(8) == 7 ? input.byte() : input.below(2) * 2)
    options.purge_delay_ms = Int(truncatingIfNeeded: input.size())
    options.max_retries = input.below(2) == 0 ? Int(MP_NONE) : input.below(4)
    options.wait_ns = input.below(2) == 0 ? Int(MP_NONE) : input.byte()
    // As much as a test may touch, or more than there can be.
    let size = input.size()
    options.size = Int(truncatingIfNeeded: size <= 8 << 20 ? size : size | 1 << 52)
    if options.backing == MP_BACKING_BUFFER {
      let lead = input.byte()
      options.start = input.below(8) == 7 ? nil : memory + lead
      if options.size > 0 { options.size %= bufferSize - lead + 1 }
    }
    errno = 0
    guard let pool = mp_pool_new(&options) else {
      let isKnown = errno == EINVAL || errno == ENOMEM || errno == EPERM || errno == EAGAIN
      try demand(isKnown, "no pool, and errno \(errno)")
      return try demand(errno != EINVAL || !isSensible(options), "EINVAL for options that a pool can have")
    }
    defer { mp_pool_destroy(pool) }
    try demand(isPossible(options), "a pool of options that none can have")
    var blocks = Blocks()
    for _ in 0..<20 {
      let size = input.size()
      if size > 1 << 20 && size < 1 << 40 { continue }
      guard let block = mp_pool_malloc(pool, Int(bitPattern: size)) else {
        try demand(errno == ENOMEM, "a refusal with errno \(errno)")
        continue
      }
      try blocks.add(block, Int(min(size, 1 << 12)), of: Int(size), alignment: 4)
    }
    while !blocks.isEmpty { mp_pool_free(pool, try blocks.remove(blocks.count - 1).start) }
  }

  // What each field may be; not whether a size is enough.
  private static func isPossible(_ options: mp_pool_options_t) -> Bool {
    options.backing.rawValue <= 3 && options.exhaustion.rawValue <= 2 && options.small_objects.rawValue <= 2
      && options.flags <= 15 && options.size >= 0
  }

  // What must be had, if the system gives it.
  private static func isSensible(_ options: mp_pool_options_t) -> Bool {
    guard isPossible(options) else { return false }
    switch options.backing {
    case MP_BACKING_FIXED: return options.size >= 1 << 20
    case MP_BACKING_BUFFER: return options.start != nil && options.size >= 200 << 10
    default: return true
    }
  }
}
