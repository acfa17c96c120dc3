import MempoolCore

/// Object pools of any object size and count in a small memory pool: acquired, zeroed, released, swept, destroyed, orphaned, with
/// every figure compared.
struct ObjectPoolDriver {
  private let memory: MemoryPoolPointer
  private var input: Input
  private var pool: ObjectPoolPointer
  private var itemSize: UInt
  private var count: UInt
  private var alignment: UInt
  private var blocks = Blocks()
  private var hot: UInt = 0
  private var maxHot: UInt = 0
  private var allocations: UInt = 0
  private var misses: UInt = 0
  private var maxFallback: UInt = 0

  private struct Shape {
    var itemSize: UInt = 0
    var count: UInt = 0
    var alignment: UInt = 0
    var isPassThrough = false
  }

  static func run(_ input: Input) throws {
    var input = input
    var options = PoolOptions()
    options.backing = .elastic(reserve: 2 << 20)
    options.maxRetries = 0
    let memory = try MemoryPoolPointer.create(options)
    defer { memory.destroy() }
    guard let (pool, shape) = try make(memory, &input) else { return }
    var driver = ObjectPoolDriver(memory, input, pool, shape)
    try driver.perform()
    try demand(memory.checkInvariants(), "broken")
  }

  private init(_ memory: MemoryPoolPointer, _ input: Input, _ pool: ObjectPoolPointer, _ shape: Shape) {
    (self.memory, self.input, self.pool) = (memory, input, pool)
    (itemSize, alignment) = (shape.itemSize, max(shape.alignment, 16))
    count = shape.isPassThrough ? 0 : shape.count
  }

  // A pool, or nil for what none can be: then that must be what it said.
  private static func make(
    _ memory: MemoryPoolPointer, _ input: inout Input
  ) throws -> (ObjectPoolPointer, Shape)? {
    var shape = Shape()
    shape.itemSize = input.size()
    shape.count = input.below(8) == 0 ? input.size() : UInt(input.byte())
    shape.alignment = input.below(4) == 0 ? UInt(input.byte()) : 1 << UInt(input.below(16))
    var options = ObjectPool.Options()
    let kind = input.below(4)
    options.fallback = kind == 1 ? .system : .segment
    options.isPassThrough = kind == 2
    shape.isPassThrough = kind == 2
    let isPossible =
      shape.itemSize > 0 && shape.itemSize <= ObjectPoolPointer.largestItemSize && shape.count > 0
      && shape.alignment.nonzeroBitCount == 1 && shape.alignment <= 16384
    // As much as a run of the fuzzer has time for.
    if isPossible, shape.count < 1 << 40, shape.itemSize + shape.alignment > (64 << 20) / shape.count { return nil }
    do {
      let pool = try memory.makeObjectPool(
        itemSize: shape.itemSize, count: shape.count, alignment: shape.alignment, options)
      try demand(isPossible, "a pool of \(shape)")
      return (pool, shape)
    } catch PoolError.outOfMemory {
      try demand(isPossible && shape.count >= 1 << 40, "no memory for a pool of \(shape)")
      return nil
    } catch PoolError.invalidArgument {
      try demand(!isPossible, "no pool of \(shape)")
      return nil
    }
  }

  private mutating func perform() throws {
    while !input.isEmpty, blocks.count < 300 {
      try one()
      try check()
    }
    let id = pool.id, isOrphan = input.below(2) == 0
    if isOrphan {
      pool.orphan()
      try demand(ObjectPools.isThere(id) == !blocks.isEmpty, "an orphan that has gone, or should have")
    } else {
      try demand(pool.checkInvariants(), "broken")
    }
    while !blocks.isEmpty { try release(blocks.count - 1) }
    try demand(isOrphan ? !ObjectPools.isThere(id) : pool.destroy(), "a pool without an object out is still there")
  }

  private mutating func one() throws {
    switch input.below(16) {
    case 0...6: try acquire(zeroed: false)
    case 7: try acquire(zeroed: true)
    case 8: pool.sweep()
    case 9:
      try demand(blocks.isEmpty || !pool.destroy(), "a pool in use was destroyed")
      if blocks.isEmpty, let (next, shape) = try Self.make(memory, &input) {
        try demand(pool.destroy(), "an unused pool cannot go")
        let rest = input
        self = ObjectPoolDriver(memory, rest, next, shape)
      }
    default: if !blocks.isEmpty { try release(input.below(blocks.count)) }
    }
  }

  private mutating func acquire(zeroed: Bool) throws {
    guard let object = zeroed ? pool.acquireZeroed() : pool.acquire() else {
      throw Wrong(description: "no object of \(itemSize) bytes")
    }
    if zeroed {
      let bytes = UnsafeRawBufferPointer(start: object, count: Int(itemSize))
      try demand(bytes.allSatisfy { $0 == 0 }, "an object that is not zeroed")
    }
    let isPrepared = hot < count
    try blocks.add(
      object, Int(min(itemSize, 1 << 12)), of: Int(itemSize), alignment: alignment, kind: isPrepared ? 1 : 0)
    allocations += 1
    if isPrepared {
      hot += 1
      maxHot = max(maxHot, hot)
    } else {
      misses += 1
      maxFallback = max(maxFallback, UInt(blocks.count) - hot)
    }
  }

  private mutating func release(_ index: Int) throws {
    let block = try blocks.remove(index)
    ObjectPoolPointer.release(block.start)
    if block.kind == 1 { hot -= 1 }
  }

  private func check() throws {
    let seen = pool.statistics()
    try demand(
      seen.hot == hot && seen.cold == count - hot, "hot \(seen.hot), cold \(seen.cold); \(hot) of \(count) are out")
    try demand(seen.maxHot == maxHot, "max_hot \(seen.maxHot), not \(maxHot)")
    try demand(
      seen.allocations == allocations && seen.misses == misses, "\(seen.allocations) allocations, \(seen.misses) misses"
    )
    try demand(seen.fallback == UInt(blocks.count) - hot, "fallback \(seen.fallback)")
    try demand(seen.maxFallback == maxFallback, "max_fallback \(seen.maxFallback), not \(maxFallback)")
  }
}
