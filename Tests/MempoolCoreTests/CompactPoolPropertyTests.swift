import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct CompactPoolPropertyTests {
  @Test("random calls agree with a plain model", arguments: CompactKind.allCases)
  func agreesWithAShadowModel(kind: CompactKind) throws {
    let seed = SplitMix64.seed("CompactPool.agreesWithAShadowModel(\(kind))")
    for reserve in [nil, 0, 9] as [UInt?] {
      let test = try TestCompact(kind) { $0.reservePages = reserve }
      let pool = test.pool
      var model = CompactModel(pool, seed: seed)
      for step in 0..<(kind.isFile ? 4000 : 12_000) {
        let isGrowing = step / 1000 % 2 == 0
        switch model.random.below(20) {
        case 0: _ = try model.take(model.size(), grows: false)
        case 1 where kind.isMovable && step % 8 == 0: pool.compact()
        case 2 where step % 8 == 0: pool.trim()
        case 3 where !model.live.isEmpty: try model.check(model.live[model.random.below(model.live.count)])
        case 4..<(isGrowing ? 13 : 9):
          let size = model.size()
          if model.liveBytes < 20 << 20 { try #require(try model.take(size), "seed \(seed), step \(step)") }
        default: try model.freeAny()
        }
        if step % 500 == 0 {
          let statistics = pool.statistics()
          try #require(statistics.liveObjects == UInt(model.live.count), "seed \(seed), step \(step)")
          try #require(statistics.liveBytes == UInt(model.liveBytes), "seed \(seed), step \(step)")
          try #require(statistics.totalBytes >= statistics.liveBytes, "seed \(seed), step \(step)")
          try #require(pool.checkInvariants(), "seed \(seed), step \(step)")
        }
      }
      try model.freeAll()
      pool.trim()
      #expect(pool.totalBytes == 0 && pool.checkInvariants(), "seed \(seed)")
      #expect(test.runBytes == 0, "seed \(seed)")
      #expect(test.memory.checkInvariants(), "seed \(seed)")
    }
  }

  @Test("a mapped object stays where it is, however often it is mapped, while others move")
  func pinnedObjects() throws {
    for kind in [CompactKind.movable, .movableFile, .file] {
      let test = try TestCompact(kind)
      let pool = test.pool
      let handles = (0..<3000).map { pool.allocate(UInt(40 + $0 % 100))! }
      let pinned = handles[1000], (start, _) = pool.map(pinned)!
      start.storeBytes(of: 77, as: UInt8.self)
      #expect(pool.map(pinned)!.start == start)
      for index in handles.indices where index % 3 != 1 { pool.free(handles[index]) }
      pool.compact()
      #expect(start.load(as: UInt8.self) == 77 && pool.map(pinned)!.start == start)
      for _ in 0..<3 { pool.unmap(pinned) }
      pool.compact()
      #expect(pool.map(pinned)!.start.load(as: UInt8.self) == 77)
      pool.unmap(pinned)
      #expect(pool.checkInvariants())
    }
  }

  @Test("of a file no more than the window is mapped, and what is pinned")
  func window() throws {
    let test = try TestCompact(.file) {
      $0.backing = .file(window: 8 << 16)
      $0.shardCount = 1
    }
    let pool = test.pool
    var model = CompactModel(pool, seed: SplitMix64.seed("window"))
    for _ in 0..<3000 { _ = try model.take(3000) }
    #expect(pool.statistics().mappedBytes <= 8 << 16 && pool.statistics().regions > 100)
    let starts = model.live[0..<1000].map { pool.map($0.handle)!.start }
    #expect(pool.statistics().mappedBytes > 40 << 16)
    for (object, start) in zip(model.live, starts) {
      #expect(Pattern.isIntact(start, object.byteCount, object.tag))
      pool.unmap(object.handle)
    }
    // Whoever comes next unmaps what is too much, some of it each time.
    for _ in 0..<200 {
      _ = try model.take(3000)
      try model.freeAny()
    }
    #expect(pool.statistics().mappedBytes <= 8 << 16)
    try model.freeAll()
    #expect(pool.totalBytes == 0 && pool.checkInvariants())
  }

  @Test("who attaches to a pool's file sees its objects, and may write to them", arguments: [UInt(4), 16])
  func attached(alignment: UInt) throws {
    let test = try TestCompact(.file) { $0.alignment = alignment }
    let descriptor = try #require(test.pool.descriptor)
    let other = try CompactPoolPointer.attach(descriptor, in: test.memory)
    defer { other.destroy() }
    var model = CompactModel(test.pool, seed: SplitMix64.seed("attached"))
    for _ in 0..<2000 { _ = try model.take(model.size()) }
    for object in model.live {
      #expect(other.size(object.handle) == UInt(object.byteCount))
      let (start, byteCount) = try #require(other.map(object.handle))
      #expect(byteCount == UInt(object.byteCount) && Pattern.isIntact(start, object.byteCount, object.tag))
      start.storeBytes(of: start.load(as: UInt8.self) ^ 1, as: UInt8.self)
      start.storeBytes(of: start.load(as: UInt8.self) ^ 1, as: UInt8.self)
      other.unmap(object.handle)
    }
    #expect(other.allocate(10) == nil && mp_errno_get() == Int32(MP_EINVAL))
    #expect(other.compact() == 0 && other.trim() == 0)
    try model.freeAll()
    // Regions that held one kind of object may hold another by now.
    for _ in 0..<2000 { _ = try model.take(model.size()) }
    for object in model.live.reversed() {
      let (start, _) = try #require(other.map(object.handle))
      #expect(Pattern.isIntact(start, object.byteCount, object.tag))
      other.unmap(object.handle)
    }
    for kind in [CompactKind.plain, .movableFile] {
      let without = try TestCompact(kind)
      #expect(without.pool.descriptor == nil)
    }
    #expect(throws: PoolError.invalidArgument) { try CompactPoolPointer.attach(-1) }
    #expect(throws: PoolError.invalidArgument) { try CompactPoolPointer.attach(0) }
  }

  @Test("options that no pool can have")
  func options() throws {
    #expect(throws: PoolError.invalidArgument) { try TestCompact { $0.alignment = 0 } }
    #expect(throws: PoolError.invalidArgument) { try TestCompact { $0.alignment = 12 } }
    #expect(throws: PoolError.invalidArgument) { try TestCompact { $0.shardCount = 65 } }
    #expect(throws: PoolError.invalidArgument) { try TestCompact { $0.byteLimit = 17 << 30 } }
    for count in [1, 3, 64] as [UInt] {
      let test = try TestCompact { $0.shardCount = count }
      let pool = test.pool
      pool.free(pool.allocate(100)!)
      #expect(pool.totalBytes == 0)
    }
  }
}
