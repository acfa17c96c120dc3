@testable import MempoolCore

/// The pools that every property is tested on.
enum PoolKind: String, CaseIterable, Sendable {
  case elastic
  /// Many reservations: each holds little.
  case crowded
  case fixed
  case buffer
  case dense
  case denseTree
  case denseFixed
  case passThrough

  var isElastic: Bool { self == .elastic || self == .crowded || self == .dense || self == .denseTree }
  var isDense: Bool { self == .dense || self == .denseTree || self == .denseFixed }
  /// The size of those that have one.
  static var byteCount: Int { 32 << 20 }
}

/// A pool of a test's, gone with this value. Memory of the caller's is fenced: what lies around it must stay as it is.
final class TestPool {
  let pool: MemoryPoolPointer
  let kind: PoolKind
  private let memory: UnsafeMutableRawPointer?
  private static var fence: Int { 4096 }

  init(_ kind: PoolKind, _ change: (inout PoolOptions) -> Void = { _ in }) throws {
    self.kind = kind
    var options = PoolOptions()
    var memory: UnsafeMutableRawPointer?
    switch kind {
    case .elastic, .dense, .denseTree: options.backing = .elastic(reserve: 1 << 30)
    case .crowded: options.backing = .elastic(reserve: 2 << 20)
    case .fixed, .denseFixed: options.backing = .fixed(size: PoolKind.byteCount, locked: false, prefault: false)
    case .buffer:
      let count = PoolKind.byteCount + 2 * Self.fence
      memory = .allocate(byteCount: count, alignment: 64)
      memory!.initializeMemory(as: UInt8.self, repeating: 0xc3, count: Self.fence)
      (memory! + count - Self.fence).initializeMemory(as: UInt8.self, repeating: 0xc3, count: Self.fence)
      options.backing = .buffer(start: UInt(bitPattern: memory!) + UInt(Self.fence), count: PoolKind.byteCount)
    case .passThrough: options.backing = .passThrough
    }
    if kind.isDense { options.smallObjects = kind == .denseTree ? .denseTree : .dense }
    change(&options)
    self.memory = memory
    do {
      pool = try .create(options)
    } catch {
      memory?.deallocate()
      throw error
    }
  }

  /// Whether nothing around the caller's memory was written to.
  var isFenceIntact: Bool {
    guard let memory else { return true }
    let end = memory + PoolKind.byteCount + Self.fence
    for offset in 0..<Self.fence {
      if memory.load(fromByteOffset: offset, as: UInt8.self) != 0xc3 { return false }
      if end.load(fromByteOffset: offset, as: UInt8.self) != 0xc3 { return false }
    }
    return true
  }

  deinit {
    pool.destroy()
    memory?.deallocate()
  }
}

/// What one thread has out of a pool, and what it wrote there: random calls, each checked against that.
struct PoolModel {
  struct Block {
    var pointer: UnsafeMutableRawPointer
    var asked: Int
    var filled: Int
    var tag: UInt64
  }

  let pool: MemoryPoolPointer
  let kind: PoolKind
  var random: SplitMix64
  var live: [Block] = []
  var liveBytes = 0
  /// What a pool of limited size may be asked for at once.
  var mostBytes = 20 << 20
  /// Whether a refusal is an error.
  var mayFail: Bool
  var refusals = 0
  var step = 0

  init(_ pool: MemoryPoolPointer, _ kind: PoolKind, seed: UInt64) {
    self.pool = pool
    self.kind = kind
    random = SplitMix64(seed: seed)
    mayFail = !kind.isElastic && kind != .passThrough
  }

  /// All ranges: mostly small, some runs, few long runs and spans.
  mutating func size() -> Int {
    switch random.below(100) {
    case 0..<3: 0
    case 3..<45: 1 + random.below(256)
    case 45..<70: 1 + random.below(Int(SizeClass.largest))
    case 70..<75: Int(SizeClass.largest) - 2 + random.below(5)
    case 75..<92: 1 + random.below(40_000)
    case 92..<98: 1 + random.below(300_000)
    default: (1 << 20) - 100 + random.below(2 << 20)
    }
  }

  mutating func run(steps: Int) throws {
    for _ in 0..<steps { try one() }
  }

  mutating func one() throws {
    step += 1
    let wants = liveBytes < mostBytes && live.count < 2_000
    switch random.below(100) {
    case 0..<40 where wants:
      let count = size()
      try keep(pool.allocate(UInt(count)), count, alignment: 1)
    case 40..<47 where wants:
      let count = size(), elements = 1 + random.below(4)
      let pointer = pool.allocateZeroed(count: UInt(elements), byteCount: UInt(count))
      if let pointer {
        try demand(Pattern.isZero(pointer, elements * count), "step \(step): calloc of \(elements * count) is not zero")
      }
      try keep(pointer, elements * count, alignment: 1)
    case 47..<54 where wants:
      let count = size(), alignment = 1 << random.below(random.below(10) == 0 ? 22 : 13)
      try keep(pool.allocateAligned(UInt(count), alignment: UInt(alignment)), count, alignment: alignment)
    case 54..<66 where !live.isEmpty: try reallocate(random.below(live.count))
    default:
      if !live.isEmpty { try free(random.below(live.count)) }
    }
  }

  private mutating func keep(_ pointer: UnsafeMutableRawPointer?, _ asked: Int, alignment: Int) throws {
    guard let pointer else {
      refusals += 1
      return try demand(mayFail, "step \(step): \(asked) bytes refused")
    }
    let address = Int(bitPattern: pointer)
    let least = asked >= 16 ? 16 : asked >= 8 || !kind.isDense ? 8 : 4
    try demand(address % max(alignment, least) == 0, "step \(step): \(asked) bytes at \(address), not aligned")
    let usable = Int(pool.usableSize(of: pointer))
    try demand(usable >= asked, "step \(step): usable size \(usable) of \(asked)")
    let filled = kind == .passThrough ? asked : usable
    live.append(Block(pointer: pointer, asked: asked, filled: filled, tag: random.next()))
    liveBytes += filled
    Pattern.fill(pointer, filled, live.last!.tag)
  }

  private mutating func reallocate(_ index: Int) throws {
    let block = live[index]
    let asked = random.below(3) == 0 ? block.asked + random.below(block.asked / 4 + 20) : size()
    try check(block)
    guard let pointer = pool.reallocate(block.pointer, UInt(asked)) else {
      refusals += 1
      try check(block)
      return try demand(mayFail, "step \(step): realloc to \(asked) refused")
    }
    let usable = Int(pool.usableSize(of: pointer))
    try demand(usable >= asked, "step \(step): usable size \(usable) of \(asked)")
    try demand(
      Pattern.isIntact(pointer, min(block.filled, asked), filled: block.filled, block.tag),
      "step \(step): realloc from \(block.filled) to \(asked) lost content")
    if pointer == block.pointer, kind != .passThrough {
      try demand(
        usable <= 2 * max(asked, 16) + 2,
        "step \(step): shrunk in place from \(block.filled) to \(asked), keeps \(usable)")
    }
    let filled = kind == .passThrough ? asked : usable
    liveBytes += filled - block.filled
    live[index] = Block(pointer: pointer, asked: asked, filled: filled, tag: random.next())
    Pattern.fill(pointer, filled, live[index].tag)
  }

  private func check(_ block: Block) throws {
    try demand(
      Pattern.isIntact(block.pointer, block.filled, block.tag),
      "step \(step): a block of \(block.asked) at \(block.pointer) was written to")
  }

  private mutating func free(_ index: Int) throws {
    let block = live[index]
    live[index] = live[live.count - 1]
    live.removeLast()
    try check(block)
    liveBytes -= block.filled
    pool.deallocate(block.pointer)
  }

  /// Checks and frees all; and that no two blocks overlap.
  mutating func finish() throws {
    try checkDisjoint()
    while !live.isEmpty { try free(live.count - 1) }
  }

  func checkDisjoint() throws {
    let sorted = live.sorted { $0.pointer < $1.pointer }
    for (one, next) in zip(sorted, sorted.dropFirst()) {
      try demand(one.pointer + max(one.filled, 1) <= next.pointer, "blocks overlap at \(next.pointer)")
    }
    for block in live { try check(block) }
  }

  /// Bytes of what is out, as `usableSize` says.
  var usableBytes: UInt { live.reduce(0) { $0 + pool.usableSize(of: $1.pointer) } }
}
