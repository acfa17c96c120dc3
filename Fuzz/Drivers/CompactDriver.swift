import CMempool
import CMempoolHeaders
import Glibc
import MempoolCore

/// Compact pools of any options: objects by handle, checked when they are mapped, freed and moved, also by who attaches to the pool's file;
/// and handles that name no object, each of which must be refused and change nothing.
struct CompactDriver {
  private struct Object {
    var handle: CompactHandle
    var byteCount: Int
    var mark: UInt8
    var pins = 0
  }

  private let pool: CompactPoolPointer
  // The pool once more, as another process sees it.
  private let attached: CompactPoolPointer?
  private var input: Input
  private var live: [Object] = []
  private var liveBytes = 0
  private var nextMark: UInt8 = 0
  /// Handles of what was freed last.
  private var stale: [CompactHandle] = []

  static func run(_ input: Input) throws {
    var input = input
    guard let pool = try make(&input) else { return }
    defer { pool.destroy() }
    let attached = try attach(pool, &input)
    defer { attached?.destroy() }
    var driver = CompactDriver(pool: pool, attached: attached, input: input)
    try driver.perform()
  }

  // Nil: the options are such that there can be none.
  private static func make(_ input: inout Input) throws -> CompactPoolPointer? {
    let kind = input.byte()
    if kind & 128 != 0 { return try makeInC(&input, kind) }
    var options = CompactOptions()
    options.alignment = [4, 8, 16, 12][kind & 3]
    options.isMovable = kind & 4 != 0
    if kind & 8 != 0 { options.backing = .file(window: UInt(input.below(4)) << 16) }
    options.reservePages = kind & 16 != 0 ? UInt(input.below(6)) : nil
    options.shardCount = kind & 32 != 0 ? UInt(input.byte()) : 0
    options.byteLimit = kind & 64 != 0 ? input.size() : 0
    let isPossible = options.alignment != 12 && options.shardCount <= 64 && options.byteLimit <= 16 << 30
    do {
      let pool = try CompactPoolPointer.create(options)
      if !isPossible { pool.destroy() }
      try demand(isPossible, "a pool of \(options)")
      return pool
    } catch PoolError.invalidArgument {
      try demand(!isPossible, "no pool of \(options)")
      return nil
    }
  }

  // Of each byte that the flags have, and of numbers below 0.
  private static func makeInC(_ input: inout Input, _ kind: Int) throws -> CompactPoolPointer? {
    var options = mp_compact_options_t()
    options.flags = UInt32(kind & 31) << (kind & 32 != 0 ? UInt32(input.below(28)) : 0)
    if kind & 64 != 0 {
      options.shards = UInt32(input.byte())
      options.reserve_pages = input.below(6) - 2
      options.window = input.below(8) == 7 ? Int(bitPattern: input.size()) : input.below(4) << 16
      options.limit = Int(bitPattern: input.size())
    }
    let isPossible = options.flags <= 31 && options.shards <= 64 && UInt(bitPattern: options.limit) <= 16 << 30
    errno = 0
    let pool = mp_compact_new_in(nil, &options)
    try demand((pool != nil) == isPossible, "flags \(options.flags), \(options.shards) shards, \(options.limit) bytes")
    try demand(pool != nil || errno == EINVAL, "no pool, and errno \(errno)")
    return pool.map { CompactPoolPointer($0) }
  }

  private static func attach(_ pool: CompactPoolPointer, _ input: inout Input) throws -> CompactPoolPointer? {
    guard let descriptor = pool.descriptor else {
      errno = 0
      try demand(mp_compact_descriptor(OpaquePointer(pool)) == -1 && errno == EINVAL, "a file that there is not")
      return nil
    }
    let attached = mp_compact_attach(descriptor)
    try demand(attached != nil, "cannot be attached to")
    return attached.map { CompactPoolPointer($0) }
  }

  private init(pool: CompactPoolPointer, attached: CompactPoolPointer?, input: Input) {
    (self.pool, self.attached, self.input) = (pool, attached, input)
  }

  private mutating func perform() throws {
    while !input.isEmpty, live.count < 300 { try one() }
    try compareCounts()
    try demand(pool.checkInvariants(), "broken")
    for index in live.indices { unpin(index) }
    while !live.isEmpty { try free(live.count - 1) }
    pool.trim()
    try demand(pool.totalBytes == 0 && pool.checkInvariants(), "pages stayed")
  }

  private func compareCounts() throws {
    let statistics = pool.statistics()
    try demand(statistics.liveObjects == UInt(live.count), "\(statistics.liveObjects) objects of \(live.count)")
    try demand(statistics.liveBytes == UInt(liveBytes), "\(statistics.liveBytes) bytes of \(liveBytes)")
  }

  private mutating func one() throws {
    switch input.below(18) {
    case 0...5: try take(input.size(), grows: true)
    case 6: try take(input.size(), grows: false)
    case 7: pool.compact()
    case 8: pool.trim()
    case 9:
      guard !live.isEmpty else { return }
      let index = input.below(live.count)
      if live[index].pins > 3 { return unpin(index) }
      try demand(pool.map(live[index].handle) != nil, "cannot be mapped")
      live[index].pins += 1
    case 10, 11: try freeWrong()
    case 12: try lookFromOutside()
    case 13: try takeWrong()
    default:
      guard !live.isEmpty else { return }
      let index = input.below(live.count)
      unpin(index)
      try free(index)
    }
  }

  // Handles that were freed, that lie beside one which lives, and any others.
  private mutating func freeWrong() throws {
    let wrong: CompactHandle
    switch input.below(4) {
    case 0:
      guard !stale.isEmpty else { return }
      wrong = stale[input.below(stale.count)]
    case 1, 2:
      guard !live.isEmpty else { return }
      let near = live[input.below(live.count)].handle, pages = UInt32(input.below(8)), bytes = input.byte()
      wrong = CompactHandle(
        page: near.page &+ pages &- (pages & 1) &* 4,
        offset: near.offset &+ UInt32(bytes & ~1) &* (bytes & 1 != 0 ? 4 : 1))
    default:
      wrong = CompactHandle(
        page: UInt32(truncatingIfNeeded: input.size()), offset: UInt32(truncatingIfNeeded: input.size()))
    }
    let before = pool.totalBytes
    guard !live.contains(where: { $0.handle == wrong }) else { return }
    errno = 0
    let result = mp_compact_free(
      OpaquePointer(pool), mp_handle_t(page: wrong.page, offset: wrong.offset))
    if wrong == CompactHandle(page: 0, offset: 0) {
      return try demand(result == 0 && errno == 0, "nothing to do, and failed")
    }
    try demand(result == -1 && errno == EINVAL, "freed \(wrong)")
    try demand(pool.totalBytes == before, "a refusal changed something")
    try compareCounts()
  }

  // Sizes and flags that no object can have.
  private mutating func takeWrong() throws {
    var handle = mp_handle_t(page: 1, offset: 1)
    let flags = UInt32(input.byte()), size = flags > 1 ? input.byte() : input.below(2) == 0 ? 0 : -1 - input.byte()
    let before = pool.totalBytes
    errno = 0
    let result = mp_compact_alloc(OpaquePointer(pool), size, flags, &handle)
    try demand(result == -1 && errno == EINVAL, "\(size) bytes, flags \(flags)")
    try demand(handle.page == 0 && handle.offset == 0 && pool.totalBytes == before, "a refusal changed something")
  }

  // Who attached finds each object as it is, may write to it, and changes nothing else.
  private mutating func lookFromOutside() throws {
    guard let attached else { return }
    errno = 0
    try demand(attached.allocate(10) == nil && errno == EINVAL, "took from another's pool")
    try demand(attached.compact() == 0 && attached.trim() == 0, "gave another's pages back")
    guard !live.isEmpty else { return }
    let index = input.below(live.count), object = live[index]
    try demand(attached.size(object.handle) == UInt(object.byteCount), "another size from outside")
    guard let (start, byteCount) = attached.map(object.handle) else { throw Wrong(description: "cannot be mapped") }
    try demand(byteCount == UInt(object.byteCount), "another size from outside")
    let bytes = UnsafeMutableRawBufferPointer(start: start, count: object.byteCount)
    try demand(bytes.allSatisfy { $0 == object.mark }, "\(object.handle) is another from outside")
    nextMark &+= 1
    live[index].mark = nextMark
    bytes.initializeMemory(as: UInt8.self, repeating: nextMark)
    attached.unmap(object.handle)
    errno = 0
    let handle = mp_handle_t(page: object.handle.page, offset: object.handle.offset)
    try demand(mp_compact_free(OpaquePointer(attached), handle) == -1 && errno == EINVAL, "freed from outside")
  }

  private mutating func take(_ byteCount: UInt, grows: Bool) throws {
    let before = pool.totalBytes
    // What takes too long to look at.
    if byteCount > 4 << 20, byteCount < 17 << 30 { return }
    guard let handle = pool.allocate(byteCount, grows: grows) else {
      let isPossible = byteCount > 0 && byteCount <= pool.largest
      try demand(errno == (isPossible ? ENOMEM : EINVAL), "\(byteCount) bytes: errno \(errno)")
      try demand(pool.totalBytes <= before, "grew, and refused all the same")
      return try demand(!isPossible || !grows || !live.isEmpty, "\(byteCount) bytes refused by an empty pool")
    }
    try demand(grows || pool.totalBytes <= before, "grew")
    nextMark &+= 1
    let object = Object(handle: handle, byteCount: Int(byteCount), mark: nextMark)
    try with(object) { $0.initializeMemory(as: UInt8.self, repeating: object.mark) }
    live.append(object)
    liveBytes += object.byteCount
  }

  private func with(_ object: Object, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
    guard let (start, byteCount) = pool.map(object.handle) else { throw Wrong(description: "cannot be mapped") }
    try demand(byteCount == UInt(object.byteCount), "\(byteCount) bytes of \(object.byteCount)")
    try demand(pool.size(object.handle) == byteCount, "another size")
    try body(UnsafeMutableRawBufferPointer(start: start, count: object.byteCount))
    pool.unmap(object.handle)
  }

  private mutating func unpin(_ index: Int) {
    while live[index].pins > 0 {
      pool.unmap(live[index].handle)
      live[index].pins -= 1
    }
  }

  private mutating func free(_ index: Int) throws {
    let object = live[index]
    live[index] = live[live.count - 1]
    live.removeLast()
    liveBytes -= object.byteCount
    try with(object) { bytes in
      try demand(bytes.allSatisfy { $0 == object.mark }, "\(object.handle), \(object.byteCount) bytes, was written to")
    }
    pool.free(object.handle)
    stale.append(object.handle)
    if stale.count > 32 { stale.removeFirst() }
  }
}
