import MempoolCore

/// Slab caches of any item size in a small pool: items, arrays, shrinking, caches made and destroyed.
struct CacheDriver {
  private let pool: MemoryPoolPointer
  private var input: Input
  private var cache: SlabCachePointer
  private var itemSize: UInt
  private var alignment: UInt
  private var blocks = Blocks()

  static func run(_ input: Input) throws {
    var input = input
    var options = PoolOptions()
    options.backing = .elastic(reserve: 2 << 20)
    options.maxRetries = 0
    let pool = try MemoryPoolPointer.create(options)
    defer { pool.destroy() }
    var size = UInt(0), alignment = UInt(0)
    guard let cache = try make(pool, &input, &size, &alignment) else { return }
    var driver = CacheDriver(pool: pool, input: input, cache: cache, itemSize: size, alignment: alignment)
    try driver.perform()
    try demand(pool.checkInvariants(), "broken")
  }

  private init(
    pool: MemoryPoolPointer, input: Input, cache: SlabCachePointer, itemSize: UInt, alignment: UInt
  ) {
    (self.pool, self.input, self.cache) = (pool, input, cache)
    (self.itemSize, self.alignment) = (itemSize, alignment)
  }

  // A cache, or nil for a size or alignment that none can have: then that must be what it said.
  private static func make(
    _ pool: MemoryPoolPointer, _ input: inout Input, _ size: inout UInt, _ alignment: inout UInt
  ) throws -> SlabCachePointer? {
    size = input.size()
    alignment = input.below(4) == 0 ? UInt(input.byte()) : 1 << UInt(input.below(16))
    let isPossible =
      size > 0 && size <= SlabCachePointer.largestItemSize && alignment.nonzeroBitCount == 1 && alignment <= 16384
    do {
      let cache = try pool.makeCache(itemSize: size, alignment: alignment)
      try demand(isPossible, "a cache of items of \(size) bytes, aligned to \(alignment)")
      return cache
    } catch PoolError.invalidArgument {
      try demand(!isPossible, "no cache of items of \(size) bytes, aligned to \(alignment)")
      return nil
    }
  }

  private mutating func perform() throws {
    while !input.isEmpty, blocks.count < 300 { try one() }
    try demand(cache.statistics().liveItems == blocks.live.reduce(0) { $0 + $1.count }, "a wrong count of items")
    try demand(cache.checkInvariants(), "broken")
    while !blocks.isEmpty { try put(blocks.count - 1) }
    cache.shrink()
    try demand(cache.statistics().pageCount == 0 && cache.checkInvariants(), "pages stayed")
    try demand(cache.destroyIfUnused(), "an unused cache cannot go")
  }

  private mutating func one() throws {
    switch input.below(8) {
    case 0...2:
      guard let item = cache.take() else { throw Wrong(description: "no item of \(itemSize) bytes") }
      try blocks.add(item, Int(min(itemSize, 1 << 12)), of: Int(itemSize), alignment: alignment)
      try demand(cache.owns(item), "does not know its item")
    case 3:
      let count = UInt(input.byte())
      let items = cache.takeArray(count)
      try demand((items != nil) == (count > 0 && count <= cache.arrayCapacity), "an array of \(count)")
      if let items {
        // An array's items lie where single ones would.
        let bytes = Int((count - 1) * cache.statistics().stride + itemSize)
        try blocks.add(items, min(bytes, 1 << 12), of: bytes, alignment: alignment, kind: 1, count: count)
      }
    case 4: cache.shrink()
    case 5:
      guard blocks.isEmpty else { return try demand(!cache.destroyIfUnused(), "a cache in use has gone") }
      try demand(cache.destroyIfUnused(), "an unused cache cannot go")
      var next: SlabCachePointer?
      repeat { next = try Self.make(pool, &input, &itemSize, &alignment) } while next == nil && !input.isEmpty
      if next == nil {
        (itemSize, alignment) = (8, 8)
        next = try pool.makeCache(itemSize: 8, alignment: 8)
      }
      cache = next!
    default:
      if !blocks.isEmpty { try put(input.below(blocks.count)) }
    }
  }

  private mutating func put(_ index: Int) throws {
    let block = try blocks.remove(index)
    if block.kind == 1 { cache.putArray(block.start, block.count) } else { cache.put(block.start) }
  }
}
