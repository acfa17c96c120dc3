import Mempool

/// The Swift face, with numbers that are negative, overflow or are no powers of two in between: what it must refuse it refuses with
/// `invalidArgument`, and all else is as in C.
struct SwiftFaceDriver {
  private static let bufferSize = 256 << 10
  private static nonisolated(unsafe) let memory = UnsafeMutableRawBufferPointer.allocate(
    byteCount: bufferSize, alignment: 64)

  private struct Wide {
    var words: (UInt64, UInt64, UInt64) = (0, 0, 0)
  }

  private let pool: MemoryPool
  private var input: Input
  private var blocks = Blocks()

  static func run(_ input: Input) throws {
    var input = input
    guard let pool = try makePool(&input) else { return }
    var driver = SwiftFaceDriver(pool: pool, input: input)
    while !driver.input.isEmpty, driver.blocks.count < 200 { try driver.one() }
    while !driver.blocks.isEmpty { pool.deallocate(try driver.blocks.remove(0).start) }
    try demand(pool.statistics().allocatedBytes == 0, "not all came back")
  }

  private init(pool: MemoryPool, input: Input) { (self.pool, self.input) = (pool, input) }

  /// Nil where it must be `invalidArgument` and is; other refusals are nil, too.
  private static func attempt<Made: ~Copyable>(
    _ isPossible: Bool, _ what: @autoclosure () -> String, _ make: () throws(PoolError) -> Made
  ) throws -> Made? {
    var refusal: PoolError?
    do throws(PoolError) {
      let made = try make()
      if isPossible { return made }
    } catch { refusal = error }
    let isRight = (refusal == .invalidArgument) == !isPossible
    try demand(isRight, "\(what()): \(refusal?.description ?? "was had")")
    return nil
  }

  // Most often what can be.
  private static func number(_ input: inout Input) -> Int {
    switch input.below(8) {
    case 0: -1 - input.byte()
    case 1: Int(bitPattern: input.size())
    default: input.byte()
    }
  }

  private static func makePool(_ input: inout Input) throws -> MemoryPool? {
    let kind = input.byte(), retries = input.below(4) == 0 ? number(&input) : 0
    let wait = Duration.nanoseconds(input.below(4) == 0 ? number(&input) : 0)
    let delay = Duration.seconds(input.below(4) == 0 ? number(&input) : 1)
    var options = PoolOptions(
      smallObjects: kind & 4 != 0 ? .dense : .classes, hardening: [.off, .off, .zeroing, .canaries][kind >> 4 & 3],
      maxRetries: retries, waitTime: wait, purgeDelay: delay)
    // As many milliseconds as the engine counts.
    let isPossible = retries >= 0 && wait >= .zero && delay >= .zero && delay / .milliseconds(1) < 0x1p62
    switch kind & 3 {
    case 0:
      return try attempt(isPossible, "a pool in a buffer") { () throws(PoolError) in try MemoryPool(in: memory, options)
      }
    case 1:
      options.backing = .fixed(byteCount: bufferSize, prefaulted: false)
      return try attempt(isPossible, "a fixed pool") { () throws(PoolError) in try MemoryPool(options) }
    case 2:
      let reserve = input.below(4) == 0 ? number(&input) : 0
      options.backing = .elastic(reserve: reserve)
      return try attempt(isPossible && reserve >= 0, "a reserve of \(reserve)") { () throws(PoolError) in
        try MemoryPool(options)
      }
    default:
      options.backing = .fixed(byteCount: -input.byte())
      return try attempt(false, "a fixed pool of nothing") { () throws(PoolError) in try MemoryPool(options) }
    }
  }

  private mutating func one() throws {
    let (size, other) = (Self.number(&input), input.below(4) == 0 ? Self.number(&input) : 1 << input.below(12))
    let isAlignment = other > 0 && other.nonzeroBitCount == 1
    let pool = pool
    // What can be had and takes too long to look at.
    if size > 4 << 20, size < 1 << 48 { return }
    switch input.below(12) {
    case 0, 1, 2:
      let block = try Self.attempt(size >= 0 && isAlignment, "\(size) bytes, aligned to \(other)") {
        () throws(PoolError) in try pool.allocate(byteCount: size, alignment: other)
      }
      try keep(block, size, alignment: other)
    case 3:
      let block = try Self.attempt(size >= 0, "\(size) bytes") { () throws(PoolError) in
        try pool.allocateZeroed(byteCount: size)
      }
      if let block {
        let bytes = UnsafeRawBufferPointer(start: block, count: size)
        try demand(bytes.allSatisfy { $0 == 0 }, "\(size) bytes are not zero")
      }
      try keep(block, size, alignment: 1)
    case 4:
      let (total, overflow) = size.multipliedReportingOverflow(by: MemoryLayout<Wide>.stride)
      let elements = try Self.attempt(size >= 0 && !overflow, "\(size) elements") { () throws(PoolError) in
        try pool.allocate(Wide.self, count: size)
      }
      if let elements { try demand(elements.count == size, "\(elements.count) elements of \(size)") }
      try keep(elements.map { UnsafeMutableRawPointer($0.baseAddress!) }, total, alignment: 8)
    case 5, 6: try resize(to: size)
    case 7: pool.purge()
    case 8: try tryCaches(size, other)
    case 9: try tryFamilies(size, other)
    default:
      if !blocks.isEmpty { pool.deallocate(try blocks.remove(input.below(blocks.count)).start) }
    }
  }

  private mutating func keep(_ block: UnsafeMutableRawPointer?, _ size: Int, alignment: Int) throws {
    guard let block else { return }
    let usable = pool.usableSize(of: block)
    try demand(usable >= size && pool.owns(block), "\(usable) usable bytes of \(size)")
    let least = size >= 16 ? 16 : size >= 8 ? 8 : 4
    try blocks.add(block, min(usable, 1 << 13), of: usable, alignment: UInt(max(alignment, least)))
  }

  private mutating func resize(to size: Int) throws {
    guard !blocks.isEmpty else { return }
    let index = input.below(blocks.count), old = blocks.live[index], pool = pool
    let block = try Self.attempt(size >= 0, "\(size) bytes") { () throws(PoolError) in
      try pool.reallocate(old.start, byteCount: size)
    }
    guard let block else {
      return try demand(blocks.isIntact(old, at: old.start, old.written), "a refusal changed something")
    }
    try demand(blocks.isIntact(old, at: block, min(size, old.written)), "resizing to \(size) lost content")
    blocks.forget(index)
    try keep(block, size, alignment: 1)
  }

  // A cache, an item and an array of it, and all of it back.
  private mutating func tryCaches(_ size: Int, _ alignment: Int) throws {
    let pool = pool, count = Self.number(&input)
    let isPossible =
      size > 0 && size <= 1 << 20 && alignment > 0 && alignment.nonzeroBitCount == 1 && alignment <= 16384
    let cache = try Self.attempt(isPossible, "a cache of \(size) bytes, aligned to \(alignment)") {
      () throws(PoolError) in try RawSlabCache(itemSize: size, alignment: alignment, in: pool)
    }
    guard let cache else { return }
    let capacity = cache.arrayCapacity
    let items = try Self.attempt(count > 0 && count <= capacity, "an array of \(count) of \(capacity)") {
      () throws(PoolError) in try cache.allocateArray(count)
    }
    if let items {
      try keep(items, count, in: cache, size, alignment)
      cache.deallocateArray(items, count)
    }
    let item = try Self.attempt(true, "an item") { () throws(PoolError) in try cache.allocate() }
    if let item { try keep(item, 1, in: cache, size, alignment) }
    cache.deallocate(item)
    cache.shrink()
    try demand(cache.statistics().liveItems == 0, "items stayed")
  }

  private func keep(
    _ items: UnsafeMutableRawPointer, _ count: Int, in cache: RawSlabCache, _ size: Int, _ alignment: Int
  ) throws {
    let owns = cache.owns(items), byteCount = min((count - 1) * cache.itemStride + size, 1 << 13)
    try demand(owns, "does not know its item")
    // Not beside what else is live.
    var all = blocks
    try all.add(items, byteCount, of: byteCount, alignment: UInt(alignment))
  }

  // What lies in a piece of this pool, and what takes numbers only.
  private mutating func tryFamilies(_ size: Int, _ other: Int) throws {
    let pool = pool, third = Self.number(&input)
    if let bytes = BufferPool.byteCount(forBlocks: size, blockSize: other) {
      try demand(size > 0 && other > 0 && bytes > size, "\(size) blocks of \(other) bytes in \(bytes)")
    }
    guard let start = try? pool.allocate(byteCount: 2048) else { return }
    defer { pool.deallocate(start) }
    let bytes = UnsafeMutableRawBufferPointer(start: start, count: 2048)
    let isAlignment = third > 0 && third.nonzeroBitCount == 1
    // A block of 1024 bytes has room behind the records.
    if let region = try? Region(in: bytes) {
      _ = try Self.attempt(size >= 0 && isAlignment, "\(size) bytes of a region, aligned to \(third)") {
        () throws(PoolError) in try region.allocateZeroed(byteCount: size, alignment: third)
      }
      region.reset()
    }
    // Of sizes in between it is the records that say.
    if other > 1024, other <= 2048 { return }
    let small = try Self.attempt(other > 0 && other <= 1024, "a buffer pool, blocks of \(other)") {
      () throws(PoolError) in try BufferPool(in: bytes, blockSize: other)
    }
    if let small {
      let object = try Self.attempt(size >= 0 && isAlignment, "\(size) bytes, aligned to \(third)") {
        () throws(PoolError) in try small.allocate(byteCount: size, alignment: third)
      }
      _ = try Self.attempt(size > 0, "\(size) bytes") { () throws(PoolError) in
        try small.reallocate(object, byteCount: size)
      }
    }
    try tryHandles(size, other, third)
  }

  private mutating func tryHandles(_ size: Int, _ other: Int, _ third: Int) throws {
    // The numbers of a book that no page can have are the engine's to refuse: BookDriver.
    if size < 1 || third < 1 {
      try demand((try? Book(pieceSize: size, piecesPerPage: third)) == nil, "a book of \(size) bytes, \(third) a page")
    }
    let reserve = Self.number(&input)
    let isPossible = (1...64).contains(other) && third > 0 && third <= 16 << 30 && reserve >= 0
    let compact = try Self.attempt(isPossible, "\(other) shards, \(third) bytes, a reserve of \(reserve)") {
      () throws(PoolError) in
      try CompactPool(CompactPoolOptions(reservePages: reserve, shardCount: other, byteLimit: third))
    }
    guard let compact else { return }
    // The limit, in whole regions, may be less than what is asked for.
    let isSmall = size > 0 && size < 60_000
    if isSmall || size < 1 {
      let handle = try Self.attempt(isSmall, "an object of \(size) bytes") { () throws(PoolError) in
        try compact.allocate(byteCount: size)
      }
      if let handle {
        try demand(compact.byteCount(of: handle) == size, "another size than \(size)")
        compact.free(handle)
      }
    }
    try demand(compact.statistics().liveObjects == 0, "objects stayed")
  }
}
