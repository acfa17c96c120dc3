import CMempoolShims

@testable import MempoolCore

/// The kinds of compact pool that every property is tested on.
enum CompactKind: String, CaseIterable, Sendable {
  case plain
  /// Pages of a pool that gives none back to the system.
  case fixed
  case aligned8
  case aligned16
  case movable
  /// In a file, of which hardly anything stays mapped.
  case file
  case movableFile

  var isMovable: Bool { self == .movable || self == .movableFile }
  var isFile: Bool { self == .file || self == .movableFile }

  var options: CompactOptions {
    var options = CompactOptions()
    if self == .aligned8 { options.alignment = 8 }
    if self == .aligned16 { options.alignment = 16 }
    options.isMovable = isMovable
    if isFile { options.backing = .file(window: 1) }
    return options
  }
}

/// A compact pool of a test's, in a memory pool of its own; both gone with this value.
final class TestCompact {
  let memory: MemoryPoolPointer
  let pool: CompactPoolPointer

  init(_ kind: CompactKind = .plain, _ change: (inout CompactOptions) -> Void = { _ in }) throws {
    var options = kind.options
    change(&options)
    var memoryOptions = PoolOptions()
    memoryOptions.backing =
      kind == .fixed ? .fixed(size: 64 << 20, locked: false, prefault: false) : .elastic(reserve: 1 << 30)
    memory = try .create(memoryOptions)
    do {
      pool = try .create(options, in: memory)
    } catch {
      memory.destroy()
      throw error
    }
  }

  deinit {
    pool.destroy()
    memory.destroy()
  }

  /// The runs of the memory pool that are out: none, when the compact pool has no region.
  var runBytes: UInt { memory.statistics().runBytes }
}

/// Objects of a compact pool, and what was written to them.
struct CompactModel {
  struct Object {
    let handle: CompactHandle
    let byteCount: Int
    let tag: UInt64
  }

  let pool: CompactPoolPointer
  var random: SplitMix64
  var mayRefuseToMap = false
  private(set) var live: [Object] = []
  private(set) var liveBytes = 0
  private(set) var peakBytes = 0

  init(_ pool: CompactPoolPointer, seed: UInt64) {
    self.pool = pool
    random = SplitMix64(seed: seed)
  }

  /// Mostly within a page, some at the limits, few with pages of their own.
  mutating func size() -> Int {
    switch random.below(40) {
    case 0: 1 + random.below(300_000)
    case 1: Int(pool.largestBlock) - 3 + random.below(6)
    case 2..<6: 1 + random.below(Int(pool.largestBlock))
    case 6..<16: 1 + random.below(64)
    default: 1 + random.below(4092)
    }
  }

  /// Takes an object, writes to all of it, and demands what must hold of it; false: refused.
  mutating func take(_ byteCount: Int, grows: Bool = true) throws -> Bool {
    let before = pool.totalBytes
    guard let handle = pool.allocate(UInt(byteCount), grows: grows) else {
      try demand(mp_errno_get() == Int32(MP_ENOMEM), "errno \(mp_errno_get())")
      try demand(grows || pool.totalBytes == before, "grew, and refused all the same")
      return false
    }
    try demand(grows || pool.totalBytes == before, "grew")
    try demand(handle.page != 0, "a handle that names nothing")
    let object = Object(handle: handle, byteCount: byteCount, tag: random.next())
    try demand(pool.size(handle) == UInt(byteCount), "\(pool.size(handle)) bytes of \(byteCount)")
    let isMapped = try with(object) { start in
      try demand(UInt(bitPattern: start) % pool.pointee.options.alignment == 0, "\(start) is not aligned")
      Pattern.fill(start, byteCount, object.tag)
    }
    guard isMapped else {
      pool.free(handle)
      return false
    }
    live.append(object)
    liveBytes += byteCount
    peakBytes = max(peakBytes, liveBytes)
    return true
  }

  /// False: the system refuses to map it.
  @discardableResult
  func with(_ object: Object, _ body: (UnsafeMutableRawPointer) throws -> Void) throws -> Bool {
    guard let (start, byteCount) = pool.map(object.handle) else {
      try demand(mayRefuseToMap && mp_errno_get() == Int32(MP_ENOMEM), "cannot be mapped")
      return false
    }
    try demand(byteCount == UInt(object.byteCount), "maps \(byteCount) bytes of \(object.byteCount)")
    try body(start)
    pool.unmap(object.handle)
    return true
  }

  func check(_ object: Object) throws {
    try with(object) { start in
      try demand(Pattern.isIntact(start, object.byteCount, object.tag), "\(object.handle) was written to")
    }
  }

  /// Frees an object, which must be as it was written.
  mutating func free(_ index: Int) throws {
    let object = live[index]
    live[index] = live[live.count - 1]
    live.removeLast()
    liveBytes -= object.byteCount
    try check(object)
    pool.free(object.handle)
  }

  mutating func freeAny() throws { if !live.isEmpty { try free(random.below(live.count)) } }

  mutating func freeAll() throws { while !live.isEmpty { try free(live.count - 1) } }
}
