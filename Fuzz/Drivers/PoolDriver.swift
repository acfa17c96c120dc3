import CMempool
import CMempoolHeaders
import Glibc
import MempoolCore

/// Sequences of all calls of mempool.h that allocate, resize or free, on one pool, of any level of hardening.
struct PoolDriver {
  private static let bufferSize = 512 << 10
  private static let fence = 64
  // The caller's memory of pools that live in one, which they may find full of anything.
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: bufferSize + 2 * fence, alignment: 4096)

  private let pool: OpaquePointer?
  private let kind: Fuzz
  private let level: Int
  private var input: Input
  private var blocks = Blocks()

  // Whether it has as much as anybody asks for.
  private var isUnbounded: Bool { kind != .poolInBuffer && kind != .densePool && kind != .fixedPool }

  // Whether what is small is hardened, too.
  private var hardensSmall: Bool { level > 0 && kind != .densePool }

  static func run(_ input: Input, _ kind: Fuzz, level: Int) throws {
    var input = input
    var options = mp_pool_options_t()
    options.flags = [0, MP_POOL_ZEROING, MP_POOL_CANARIES, MP_POOL_GUARDS][level]
    options.max_retries = Int(MP_NONE)
    options.size = bufferSize
    // Of all others it takes longer than all the rest.
    let isSmall = kind == .poolInBuffer || kind == .densePool || kind == .fixedPool
    let isThorough = input.below(8) == 0 || isSmall
    switch kind {
    case .poolInBuffer, .densePool:
      let lead = input.below(fence)
      if kind == .densePool { options.small_objects = lead % 2 == 0 ? MP_SMALL_DENSE : MP_SMALL_DENSE_TREE }
      // Between these it may hold anything: what the last pool left.
      memory.initializeMemory(as: UInt8.self, repeating: 0xa5, count: fence)
      (memory + bufferSize).initializeMemory(as: UInt8.self, repeating: 0xa5, count: 2 * fence)
      options.backing = MP_BACKING_BUFFER
      options.start = memory + lead
    case .fixedPool: options.backing = MP_BACKING_FIXED
    case .fallbackPool:
      options.backing = MP_BACKING_FIXED
      options.exhaustion = MP_EXHAUSTION_SYSTEM
    case .passThroughPool: options.backing = MP_BACKING_PASS_THROUGH
    default: options.backing = MP_BACKING_ELASTIC
    }
    var pool: OpaquePointer?
    if kind != .sharedPool {
      pool = mp_pool_new(&options)
      try demand(pool != nil, "no pool")
    }
    var driver = PoolDriver(pool: pool, kind: kind, level: level, input: input)
    try driver.perform()
    let handle = pool.map { MemoryPoolPointer($0) } ?? .shared
    try demand(handle.statistics().allocatedBytes == 0 || kind == .sharedPool, "not all came back")
    try demand(!isThorough || handle.checkInvariants(), "broken")
    mp_pool_destroy(pool)
    guard kind == .poolInBuffer || kind == .densePool else { return }
    let start = UnsafeMutableRawPointer(options.start!), end = memory + bufferSize + 2 * fence
    for byte in UnsafeRawBufferPointer(start: memory, count: start - memory) {
      try demand(byte == 0xa5, "wrote before the caller's memory")
    }
    for byte in UnsafeRawBufferPointer(start: start + bufferSize, count: end - (start + bufferSize)) {
      try demand(byte == 0xa5, "wrote behind the caller's memory")
    }
  }

  private init(pool: OpaquePointer?, kind: Fuzz, level: Int, input: Input) {
    self.pool = pool
    self.kind = kind
    self.level = level
    self.input = input
  }

  private mutating func perform() throws {
    while !input.isEmpty, blocks.count < 300 { try one() }
    while !blocks.isEmpty { try free(blocks.count - 1) }
    // Whatever happened, an empty pool has room for this.
    let last = mp_pool_malloc(pool, 100)
    try demand(last != nil, "an empty pool is full")
    mp_pool_free(pool, last)
  }

  private mutating func one() throws {
    errno = 77
    switch input.below(16) {
    case 0...4:
      let size = input.size()
      let block = mp_pool_malloc(pool, Int(bitPattern: size))
      if let block, hardensSmall {
        let bytes = UnsafeRawBufferPointer(start: block, count: Int(min(size, 1 << 14)))
        try demand(bytes.allSatisfy { $0 == 0 }, "a hardened pool's malloc is not zero")
      }
      try keep(block, size)
    case 5:
      let count = UInt(input.byte()), size = input.size()
      let (total, overflow) = count.multipliedReportingOverflow(by: size)
      // What can be had and takes too long to look at.
      if isUnbounded, total > 2 << 20, total < 1 << 40 { return }
      let block = mp_pool_calloc(pool, Int(count), Int(bitPattern: size))
      if overflow { return try demand(block == nil && errno == ENOMEM, "calloc of more than there can be") }
      if let block {
        let bytes = UnsafeRawBufferPointer(start: block, count: Int(total))
        try demand(bytes.allSatisfy { $0 == 0 }, "calloc is not zero")
      }
      try keep(block, total)
    case 6:
      let alignment = input.below(4) == 0 ? input.size() : 1 << UInt(input.below(15)), size = input.size()
      let block = mp_pool_memalign(pool, Int(bitPattern: alignment), Int(bitPattern: size))
      if alignment.nonzeroBitCount != 1 { return try demand(block == nil && errno == EINVAL, "an odd alignment") }
      try keep(block, size, alignment: alignment)
    case 7, 8, 9: try resize()
    case 10: try demand(errno == 77 && mp_pool_get_size(pool, nil) == 0, "NULL has a size")
    case 11:
      mp_pool_free(pool, nil)
      _ = mp_pool_purge(pool)
    case 12: try floors()
    default:
      if !blocks.isEmpty { try free(input.below(blocks.count)) }
    }
  }

  private mutating func keep(
    _ block: UnsafeMutableRawPointer?, _ size: UInt, alignment: UInt = 1, kind blockKind: Int = 0
  ) throws {
    guard let block else {
      try demand(errno == ENOMEM, "\(size) bytes refused, errno \(errno)")
      // Nobody asked for much, and there is as good as nothing live.
      return try demand(!blocks.isEmpty || size > 60_000 || alignment > 4096, "\(size) bytes refused by an empty pool")
    }
    let usable = UInt(mp_pool_get_size(pool, block))
    try demand(usable >= size, "\(usable) usable bytes of \(size)")
    if hardensSmall { try demand(usable == size, "\(usable) usable bytes of \(size), in a hardened pool") }
    let least: UInt = size >= 16 ? 16 : size >= 8 ? 8 : 4
    // Writing to all of a large block costs more than it finds.
    let written = usable <= 1 << 14 || input.below(16) == 0 ? usable : 1 << 14
    try blocks.add(block, Int(written), of: Int(usable), alignment: max(alignment, least), kind: blockKind)
  }

  private mutating func resize() throws {
    guard !blocks.isEmpty else { return }
    let index = input.below(blocks.count), size = input.size()
    let old = blocks.live[index]
    guard let block = mp_pool_realloc(pool, old.start, Int(bitPattern: size)) else {
      let isIntact = blocks.isIntact(old, at: old.start, old.written)
      return try demand(errno == ENOMEM && isIntact, "a refusal changed something")
    }
    try demand(blocks.isIntact(old, at: block, Int(min(size, UInt(old.written)))), "realloc to \(size) lost content")
    blocks.forget(index)
    try keep(block, size)
  }

  private mutating func free(_ index: Int) throws {
    let block = try blocks.remove(index)
    errno = 77
    switch block.kind {
    case 1: mp_frag_free(block.start)
    case 2: mp_heap_free(block.start)
    default:
      // Of a dense heap some by a thread that does not own it.
      if kind == .densePool, index % 4 == 3 {
        try demand(Elsewhere.free(block.start, in: pool), "no thread")
      } else {
        mp_pool_free(pool, block.start)
      }
    }
    try demand(errno == 77, "a free changed errno")
  }

  // The two floors are the shared pool's.
  private mutating func floors() throws {
    guard kind == .sharedPool else { return }
    let size = input.size()
    if input.below(2) == 0 {
      let flags = Int16(input.below(4))
      let block = mp_frag_alloc(Int(bitPattern: size), flags)
      if size == 0 || flags > 2 { return try demand(block == nil && errno == EINVAL, "a fragment of nothing") }
      try keep(block, size, alignment: 256, kind: 1)
    } else {
      let block = mp_heap_alloc(Int(bitPattern: size))
      if size > UInt(MP_HEAP_MAX) { return try demand(block == nil && errno == EINVAL, "too large for the heap") }
      try keep(block, size, kind: 2)
    }
  }
}
