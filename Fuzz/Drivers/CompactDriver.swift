import Glibc
import MempoolCore

/// Compact pools of any options: objects by handle, checked when they are mapped, freed and moved.
struct CompactDriver {
  private struct Object {
    var handle: CompactHandle
    var byteCount: Int
    var mark: UInt8
    var pins = 0
  }

  private let pool: CompactPoolPointer
  private var input: Input
  private var live: [Object] = []
  private var liveBytes = 0
  private var nextMark: UInt8 = 0

  static func run(_ input: Input) throws {
    var input = input
    var options = CompactOptions()
    let kind = input.byte()
    options.alignment = [4, 8, 16, 12][kind & 3]
    options.isMovable = kind & 4 != 0
    if kind & 8 != 0 { options.backing = .file(window: UInt(input.below(4)) << 16) }
    options.reservePages = kind & 16 != 0 ? UInt(input.below(6)) : nil
    options.shardCount = kind & 32 != 0 ? UInt(input.byte()) : 0
    options.byteLimit = kind & 64 != 0 ? input.size() : 0
    let isPossible = options.alignment != 12 && options.shardCount <= 64 && options.byteLimit <= 16 << 30
    do {
      let pool = try CompactPoolPointer.create(options)
      defer { pool.destroy() }
      try demand(isPossible, "a pool of \(options)")
      var driver = CompactDriver(pool: pool, input: input)
      try driver.perform()
    } catch PoolError.invalidArgument {
      try demand(!isPossible, "no pool of \(options)")
    }
  }

  private init(pool: CompactPoolPointer, input: Input) {
    self.pool = pool
    self.input = input
  }

  private mutating func perform() throws {
    while !input.isEmpty, live.count < 300 { try one() }
    let statistics = pool.statistics()
    try demand(statistics.liveObjects == UInt(live.count), "\(statistics.liveObjects) objects of \(live.count)")
    try demand(statistics.liveBytes == UInt(liveBytes), "\(statistics.liveBytes) bytes of \(liveBytes)")
    try demand(pool.checkInvariants(), "broken")
    for index in live.indices { unpin(index) }
    while !live.isEmpty { try free(live.count - 1) }
    pool.trim()
    try demand(pool.totalBytes == 0 && pool.checkInvariants(), "pages stayed")
  }

  private mutating func one() throws {
    switch input.below(16) {
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
    default:
      guard !live.isEmpty else { return }
      let index = input.below(live.count)
      unpin(index)
      try free(index)
    }
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
  }
}
