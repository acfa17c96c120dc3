import CMempool
import CMempoolHeaders
import Glibc
import MempoolCore

/// Sequences of the calls on a buffer pool in memory of any size and place, with a fallback or none, with a lock or none, and of wrong
/// pointers and refused locks in between.
struct BufferPoolDriver {
  private static let most = 8192
  private static let fence = 64
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: most + 2 * fence, alignment: 64)
  private static nonisolated(unsafe) let below: UnsafeMutableRawPointer = .allocate(byteCount: 2 * most, alignment: 16)

  // Of the pool's lock: how often it is held, and whether nobody gets it.
  private static nonisolated(unsafe) var held = 0
  private static nonisolated(unsafe) var isRefused = false

  private let pool: OpaquePointer
  private let blockSize: Int
  private let hasFallback: Bool
  private let hasLock: Bool
  private var input: Input
  private var blocks = Blocks()

  static func run(_ input: Input) throws {
    var input = input
    let blockSize = [8, 1, 2, 6, 16, 24, 64, 100, 0, 3][input.below(10)], lead = input.below(fence / 2)
    let size = min(Int(input.byte()) << 5 | input.below(32), most)
    memory.initializeMemory(as: UInt8.self, repeating: 0xa5, count: most + 2 * fence)
    let start = memory + fence + lead
    errno = 0
    let handle = mp_bufpool_init(start, size, blockSize, 0)
    let record = MemoryLayout<UInt>.size * 24 + 15
    try demand(handle != nil || errno == EINVAL, "no pool, and no reason")
    try demand(handle != nil || size <= record + max(blockSize, 1), "no pool in \(size) bytes, blocks of \(blockSize)")
    if let handle {
      // A small pool to fall back on, which runs out, too.
      let hasFallback = input.below(3) == 0
      let lower = mp_bufpool_init(below, input.below(2) == 0 ? 2 * most : 600, 16, 0)
      if hasFallback {
        var allocator = mp_bufpool_allocator(lower)
        try demand(mp_bufpool_set_fallback(handle, &allocator) == 0, "no fallback")
      }
      if lead & 1 != 0 { setLock(handle) }
      var driver = BufferPoolDriver(
        pool: handle, blockSize: blockSize == 0 ? 8 : blockSize, hasFallback: hasFallback, hasLock: lead & 1 != 0,
        input: input)
      try driver.perform()
      try demand(held == 0, "the lock is held \(held) times")
      try demand(mp_bufpool_check(lower) == 0, "the fallback is broken")
      var stats = mp_bufpool_stats_t()
      mp_bufpool_stats(lower, &stats)
      try demand(stats.objects == 0, "the fallback did not get all back")
    }
    let isIntact = { (part: Range<Int>) in part.allSatisfy { memory.load(fromByteOffset: $0, as: UInt8.self) == 0xa5 } }
    try demand(isIntact(0..<fence + lead), "wrote before the caller's memory")
    try demand(isIntact(fence + lead + size..<most + 2 * fence), "wrote behind the caller's memory")
  }

  private init(pool: OpaquePointer, blockSize: Int, hasFallback: Bool, hasLock: Bool, input: Input) {
    (self.pool, self.blockSize, self.hasFallback, self.hasLock, self.input) = (
      pool, blockSize, hasFallback, hasLock, input
    )
  }

  private static func setLock(_ pool: OpaquePointer) {
    (held, isRefused) = (0, false)
    let lock: @convention(c) (UnsafeMutableRawPointer?) -> Int32 = { _ in
      if BufferPoolDriver.isRefused { return 1 }
      BufferPoolDriver.held += 1
      return 0
    }
    mp_bufpool_set_lock(pool, lock, { _ in BufferPoolDriver.held -= 1 }, nil)
  }

  private var statistics: mp_bufpool_stats_t {
    var stats = mp_bufpool_stats_t()
    mp_bufpool_stats(pool, &stats)
    return stats
  }

  private mutating func perform() throws {
    while !input.isEmpty, blocks.count < 200 {
      try one()
      let stats = statistics, inBlocks = blocks.live.count { mp_bufpool_owns(pool, $0.start) != 0 }
      try demand(stats.objects == inBlocks && stats.blocks_used <= stats.block_count, "a wrong count")
      try demand(stats.overhead <= 208 + (stats.block_count + 3) / 4, "too much bookkeeping")
    }
    try demand(mp_bufpool_check(pool) == 0, "broken")
    if input.below(2) == 0 {
      while !blocks.isEmpty { try free(blocks.count - 1) }
      try demand(statistics.blocks_used == 0, "blocks stayed")
    }
    mp_bufpool_drain(pool)
    let last = mp_bufpool_alloc(pool, statistics.block_count * blockSize)
    try demand(last != nil && mp_bufpool_owns(pool, last) != 0, "an empty pool is not whole")
    try demand(mp_bufpool_check(pool) == 0, "broken")
    mp_bufpool_drain(pool)
  }

  private mutating func one() throws {
    switch input.below(12) {
    case 0...3:
      let size = size()
      errno = 0
      let pointer = input.below(4) == 0 ? mp_bufpool_calloc(pool, 1, size) : mp_bufpool_alloc(pool, size)
      guard let pointer else { return try demand(errno == ENOMEM, "no memory, and no reason") }
      try add(pointer, size)
    case 4:
      let alignment = 1 << input.below(8), size = size()
      guard let pointer = mp_bufpool_memalign(pool, alignment, size) else { return }
      try demand(Int(bitPattern: pointer) % alignment == 0, "\(pointer) is not aligned to \(alignment)")
      try add(pointer, size)
    case 5...7:
      guard !blocks.isEmpty else { return }
      let index = input.below(blocks.count), block = blocks.live[index], size = max(size(), 1)
      guard let pointer = mp_bufpool_realloc(pool, block.start, size) else {
        return try demand(blocks.isIntact(block, at: block.start, block.written), "a failure wrote")
      }
      try demand(blocks.isIntact(block, at: pointer, size), "lost content")
      blocks.forget(index)
      try add(pointer, size)
    case 8:
      // A wrong pointer: nothing may come of it.
      let offset = input.below(256)
      let wrong = blocks.isEmpty ? Self.memory + offset : blocks.live[input.below(blocks.count)].start + offset
      guard !blocks.live.contains(where: { $0.start == wrong }) else { return }
      errno = 0
      try demand(mp_bufpool_free(pool, wrong) == -1 && errno == EINVAL, "freed \(wrong)")
      try demand(mp_bufpool_realloc(pool, wrong, 5) == nil, "resized \(wrong)")
    case 9:
      switch input.below(8) {
      case 0:
        mp_bufpool_drain(pool)
        while !blocks.isEmpty { blocks.forget(0) }
      case 1 where hasLock: try refused()
      default: try freeAny()
      }
    default: try freeAny()
    }
  }

  private mutating func freeAny() throws {
    if !blocks.isEmpty { try free(input.below(blocks.count)) }
  }

  /// Each call fails with EBUSY, and changes nothing.
  private mutating func refused() throws {
    let before = statistics, size = min(size(), 4096)
    let live = blocks.isEmpty ? nil : blocks.live[input.below(blocks.count)]
    Self.isRefused = true
    errno = 0
    let fails: Bool
    switch input.below(7) {
    case 0: fails = mp_bufpool_alloc(pool, size) == nil
    case 1: fails = mp_bufpool_calloc(pool, 1, size) == nil
    case 2: fails = mp_bufpool_memalign(pool, 64, size) == nil
    case 3: fails = mp_bufpool_realloc(pool, live?.start, size) == nil
    case 4: fails = mp_bufpool_free(pool, live?.start ?? Self.memory) == -1
    case 5: fails = mp_bufpool_get_size(pool, live?.start ?? Self.memory) == 0
    default:
      mp_bufpool_drain(pool)
      fails = true
    }
    Self.isRefused = false
    try demand(fails && errno == EBUSY, "a call without the lock: errno \(errno)")
    let after = statistics
    try demand(
      after.objects == before.objects && after.blocks_used == before.blocks_used,
      "a call without the lock changed counts")
    if let live { try demand(blocks.isIntact(live, at: live.start, live.written), "a call without the lock wrote") }
  }

  private mutating func size() -> Int {
    switch input.below(8) {
    case 0: Int(bitPattern: input.size())
    case 1: input.byte() * 8
    default: input.below(4 * blockSize + 1)
    }
  }

  private mutating func add(_ pointer: UnsafeMutableRawPointer, _ size: Int) throws {
    let usable = mp_bufpool_get_size(pool, pointer)
    try demand(usable >= size, "\(size) bytes at \(pointer) are \(usable)")
    try demand(mp_bufpool_owns(pool, pointer) != 0 || hasFallback, "\(pointer) comes from nowhere")
    let natural = min(16, blockSize & -blockSize)
    try blocks.add(pointer, usable, of: usable, alignment: UInt(natural))
  }

  private mutating func free(_ index: Int) throws {
    let block = try blocks.remove(index)
    try demand(mp_bufpool_free(pool, block.start) == 0, "could not free \(block.start)")
    try demand(mp_bufpool_free(pool, block.start) == -1, "freed \(block.start) twice")
  }
}
