import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

@Suite struct ObjectPoolTests {
  @Test(arguments: [ObjectPool.Fallback.segment, .system])
  func whatIsCounted(fallback: ObjectPool.Fallback) throws {
    let test = try TestObjects(64, count: 10, fallback: fallback)
    let objects = (0..<15).map { _ in test.acquire() }
    #expect(Set(objects).count == 15)
    #expect(objects.filter(test.isPrepared).count == 10)
    var seen = test.statistics
    #expect(seen.hot == 10 && seen.cold == 0 && seen.maxHot == 10)
    #expect(seen.allocations == 15 && seen.misses == 5 && seen.fallback == 5 && seen.maxFallback == 5)
    #expect(seen.itemSize == 64 && seen.stride == 64 && seen.count == 10 && seen.threads == 1)
    for object in objects { TestObjects.release(object) }
    seen = test.statistics
    #expect(seen.hot == 0 && seen.cold == 10 && seen.maxHot == 10)
    #expect(seen.allocations == 15 && seen.misses == 5 && seen.fallback == 0 && seen.maxFallback == 5)
    // Only the prepared ones are kept, and come first.
    let again = (0..<10).map { _ in test.acquire() }
    #expect(again.allSatisfy(test.isPrepared))
    #expect(test.statistics.misses == 5)
    for object in again { TestObjects.release(object) }
    #expect(test.pool.checkInvariants() && test.memory.checkInvariants())
  }

  @Test("O1: without memory there is nil, and the counts agree")
  func exhaustion() throws {
    let test = try TestObjects(3000, count: 20, backing: .fixed(size: 2 << 20, locked: false, prefault: false))
    var objects: [UnsafeMutableRawPointer] = []
    while let object = test.pool.acquire() { objects.append(object) }
    #expect(mp_errno_get() == Int32(MP_ENOMEM))
    #expect(test.pool.acquireZeroed() == nil)
    #expect(objects.count > 100 && Set(objects).count == objects.count)
    let seen = test.statistics
    #expect(seen.hot == 20 && seen.allocations == UInt(objects.count))
    #expect(seen.misses == UInt(objects.count) - 20 && seen.fallback == seen.misses && seen.maxFallback == seen.misses)
    TestObjects.release(objects.removeLast())
    let one = try #require(test.pool.acquire())
    TestObjects.release(one)
    for object in objects { TestObjects.release(object) }
    #expect(test.statistics.hot == 0 && test.statistics.fallback == 0)
    #expect(test.pool.checkInvariants() && test.memory.checkInvariants())
  }

  @Test("O2: every object is aligned to 16, or as asked for, wherever it comes from")
  func alignments() throws {
    for fallback in [ObjectPool.Fallback.segment, .system] {
      for (size, alignment) in [
        (1, 1), (3, 1), (20, 4), (28, 16), (40, 8), (100, 64), (72, 256), (5, 4096), (40, 16384),
      ] {
        let test = try TestObjects(size, count: 70, alignment: alignment, fallback: fallback)
        let objects = (0..<100).map { _ in test.acquire() }
        for object in objects { #expect(UInt(bitPattern: object) % UInt(max(alignment, 16)) == 0) }
        for (index, object) in objects.enumerated() { ItemPattern.fill(object, size, index) }
        for (index, object) in objects.enumerated() { #expect(ItemPattern.isIntact(object, size, index)) }
        for object in objects { TestObjects.release(object) }
      }
    }
  }

  @Test("O3: pools that are made and destroyed, or could not be made, leave nothing behind")
  func nothingStays() throws {
    let test = try TestObjects(40, count: 10)
    func one() throws {
      let pool = try test.memory.makeObjectPool(itemSize: 500, count: 3000, name: "a name")
      let objects = (0..<3100).map { _ in pool.acquire()! }
      for object in objects { ObjectPoolPointer.release(object) }
      #expect(pool.destroy())
    }
    try one()
    test.memory.purge()
    let pages = test.usedPages, bytes = test.metadataBytes
    for _ in 0..<50 { try one() }
    test.memory.purge()
    #expect(test.usedPages == pages)
    #expect(test.metadataBytes == bytes)

    let small = try TestObjects(40, count: 10, backing: .fixed(size: 4 << 20, locked: false, prefault: false))
    func none() {
      #expect(throws: PoolError.outOfMemory) { try small.memory.makeObjectPool(itemSize: 1000, count: 5000) }
    }
    none()  // pages for records stay
    let before = (small.usedPages, small.metadataBytes)
    for _ in 0..<50 { none() }
    #expect((small.usedPages, small.metadataBytes) == before)
    #expect(small.memory.checkInvariants())
  }

  @Test("O4: after a burst that is over, memory is that of the prepared objects")
  func idleMemoryGoesBack() throws {
    let test = try TestObjects(200, count: 5000)
    let before = test.memory.statistics()
    TestThread.run(4) { _ in
      let objects = (0..<30_000).map { _ in test.acquire() }
      for object in objects { object.storeBytes(of: 1, as: UInt8.self) }
      for object in objects { TestObjects.release(object) }
    }
    #expect(test.statistics.misses >= 20_000)
    test.pool.sweep()
    let after = test.memory.statistics()
    let prepared = test.statistics.pageBytes
    #expect(prepared >= 5000 * 208 && prepared * 100 <= 5000 * 208 * 110)
    #expect(after.activeBytes <= prepared + prepared / 10)
    #expect(after.committedBytes <= before.committedBytes + prepared / 10)
  }

  @Test("O6: objects outlive their pool, their thread and the sweeper")
  func objectsOutliveShutdown() throws {
    let test = try TestObjects(100, count: 10)
    let pages = test.usedPages
    for fallback in [ObjectPool.Fallback.segment, .system] {
      var options = ObjectPool.Options()
      options.fallback = fallback
      nonisolated(unsafe) let pool = try test.memory.makeObjectPool(itemSize: 100, count: 200, options)
      nonisolated(unsafe) var objects: [UnsafeMutableRawPointer] = []
      TestThread.run { objects = (0..<300).map { _ in pool.acquire()! } }
      #expect(ObjectPools.sweep(every: 1) && ObjectPools.sweep(every: 0))
      let id = pool.id
      pool.orphan()
      #expect(ObjectPools.isThere(id))
      ObjectPools.sweep()
      for (index, object) in objects.enumerated() { ItemPattern.fill(object, 100, index) }
      for (index, object) in objects.enumerated() {
        #expect(ItemPattern.isIntact(object, 100, index))
        #expect(ObjectPools.isThere(id))
        TestObjects.release(object)
      }
      #expect(!ObjectPools.isThere(id))
    }
    test.memory.purge()
    #expect(test.usedPages == pages)
    #expect(test.memory.checkInvariants())
  }

  @Test("O7: an object takes its size, rounded up to 16, and nothing beside it")
  func noHeaders() throws {
    for size in [16, 32, 64, 128, 256, 512, 1024, 2048, 56, 88, 216, 984, 40, 24] {
      let test = try TestObjects(size, count: 2000)
      let stride = (size + 15) & ~15
      #expect(test.statistics.stride == UInt(stride))
      let perPage = 16384 / stride
      if stride <= 2048 { #expect(test.statistics.pageBytes <= UInt((2000 + perPage - 1) / perPage * 16384)) }
      let objects = (0..<2000).map { _ in UInt(bitPattern: test.acquire()) }.sorted()
      #expect(zip(objects, objects.dropFirst()).allSatisfy { $1 - $0 >= UInt(stride) })
      for object in objects { TestObjects.release(UnsafeMutableRawPointer(bitPattern: object)!) }
    }
  }

  @Test("O8: a pool with objects out is not destroyed, or only with its last one")
  func liveObjects() throws {
    let test = try TestObjects(64, count: 10)
    let prepared = test.acquire()
    #expect(!test.pool.destroy())
    TestObjects.release(prepared)

    let other = try test.memory.makeObjectPool(itemSize: 64, count: 1)
    let objects = (0..<2).map { _ in other.acquire()! }
    TestObjects.release(objects[0])
    #expect(!other.destroy(), "one that is none of the prepared")
    TestObjects.release(objects[1])
    let again = other.acquire()!
    TestObjects.release(again)
    #expect(other.destroy())
    #expect(test.pool.checkInvariants())
  }

  @Test("O10: zeroing an object costs what its type takes, not what it is rounded to")
  func zeroes() throws {
    for size in [1, 20, 100, 1000, 5000] {
      let test = try TestObjects(size, count: 3)
      let stride = Int(test.statistics.stride)
      for _ in 0..<4 {
        let object = test.acquire()
        object.initializeMemory(as: UInt8.self, repeating: 0xaa, count: stride)
        TestObjects.release(object)
        let zeroed = try #require(test.pool.acquireZeroed())
        #expect(zeroed == object)
        let bytes = UnsafeRawBufferPointer(start: zeroed, count: stride)
        #expect(bytes.prefix(size).allSatisfy { $0 == 0 } && bytes.dropFirst(size).allSatisfy { $0 == 0xaa })
        TestObjects.release(zeroed)
      }
      let all = (0..<5).map { _ in test.acquire() }
      for object in all { object.initializeMemory(as: UInt8.self, repeating: 0xaa, count: size) }
      for object in all { TestObjects.release(object) }
      let zeroed = (0..<5).map { _ in test.pool.acquireZeroed()! }
      for object in zeroed { #expect(UnsafeRawBufferPointer(start: object, count: size).allSatisfy { $0 == 0 }) }
      for object in zeroed { TestObjects.release(object) }
    }
  }

  @Test("O11: sizes and counts that no pool can have are refused, and products that overflow")
  func arguments() throws {
    let test = try TestObjects(64, count: 1)
    func refused(_ size: UInt, _ count: UInt, _ alignment: UInt = 16) -> PoolError? {
      do {
        _ = try test.memory.makeObjectPool(itemSize: size, count: count, alignment: alignment)
        return nil
      } catch {
        return error
      }
    }
    #expect(refused(0, 1) == .invalidArgument && refused(1, 0) == .invalidArgument)
    #expect(refused((1 << 20) + 1, 1) == .invalidArgument && refused(.max, 1) == .invalidArgument)
    #expect(refused(1, 1, 0) == .invalidArgument && refused(1, 1, 24) == .invalidArgument)
    #expect(refused(1, 1, 32768) == .invalidArgument)
    #expect(refused(1, .max) == .outOfMemory && refused(1 << 20, .max) == .outOfMemory)
    #expect(refused(16, 1 << 60) == .outOfMemory && refused(1 << 20, 1 << 44) == .outOfMemory)
    let largest = try test.memory.makeObjectPool(itemSize: 1 << 20, count: 9)
    let objects = (0..<12).map { _ in largest.acquire()! }
    for (index, object) in objects.enumerated() { ItemPattern.fill(object, 1 << 20, index) }
    for (index, object) in objects.enumerated() { #expect(ItemPattern.isIntact(object, 1 << 20, index)) }
    for object in objects { TestObjects.release(object) }
    #expect(largest.destroy())

    let memory = UnsafeMutableRawPointer.allocate(byteCount: 4 << 20, alignment: 16384)
    defer { memory.deallocate() }
    var options = PoolOptions()
    options.backing = .buffer(start: UInt(bitPattern: memory), count: 4 << 20)
    let buffer = try MemoryPoolPointer.create(options)
    #expect(throws: PoolError.invalidArgument) { try buffer.makeObjectPool(itemSize: 16, count: 1) }
    buffer.destroy()
  }

  @Test("O12: a thread that sweeps is started, hurried and stopped in an orderly way, by several at once")
  func sweeper() async {
    // It is the process's.
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        try demand(!ObjectPools.hasSweeper, "there is one before")
        let test = try TestObjects(64, count: 100)
        for period: UInt in [3, 1, 2] {
          try demand(ObjectPools.sweep(every: period) && ObjectPools.hasSweeper, "not started")
        }
        let before = test.statistics.sweeps
        while test.statistics.sweeps < before + 3 { mp_sleep_nanoseconds(1_000_000) }
        TestThread.run(4) { number in
          for step in 0..<50 {
            _ = ObjectPools.sweep(every: UInt((number + step) % 3))
            TestObjects.release(test.acquire())
          }
        }
        try demand(ObjectPools.sweep(every: 0) && !ObjectPools.hasSweeper, "not stopped")
        let after = test.statistics.sweeps
        mp_sleep_nanoseconds(5_000_000)
        try demand(test.statistics.sweeps == after, "swept by one that was stopped")
        try demand(test.pool.checkInvariants(), "broken")
      }
    }
  }

  @Test("O13: a pool passes through on request, and where its memory pool does; a sanitizer knows what is free")
  func passThrough() throws {
    for (backing, isAsked) in [(PoolOptions.Backing.elastic(reserve: 16 << 20), true), (.passThrough, false)] {
      let test = try TestObjects(100, count: 50, backing: backing, isPassThrough: isAsked)
      let objects = (0..<60).map { _ in test.acquire() }
      for object in objects {
        #expect(!test.memory.owns(object) && mp_system_usable_size(object) >= 100)
        ItemPattern.fill(object, 100)
      }
      let seen = test.statistics
      #expect(seen.hot == 0 && seen.cold == 0 && seen.pageBytes == 0)
      #expect(seen.allocations == 60 && seen.misses == 60 && seen.fallback == 60 && seen.maxFallback == 60)
      #expect(!test.pool.destroy())
      for object in objects { TestObjects.release(object) }
      #expect(test.statistics.fallback == 0)
    }
    // What a sanitizer makes of it is tried in Tests/ObjectPool.
    #expect(mp_sanitizer_watches() == 0)
  }

  @Test func poolsAreFoundByName() throws {
    let one = try TestObjects(64, count: 3, name: "by name: one"),
      two = try TestObjects(32, count: 4, name: "by name: \"two\"\t")
    #expect(ObjectPools.named("by name: one") == one.pool)
    #expect(ObjectPools.named("by name: none") == nil)
    #expect(String(cString: two.pool.name) == "by name: \"two\"\t")
    let long = String(repeating: "x", count: 100)
    let pool = try one.memory.makeObjectPool(itemSize: 8, count: 1, name: long)
    #expect(String(cString: pool.name) == String(repeating: "x", count: 63))
    #expect(ObjectPools.named(long) == pool)
    var sink = BytesSink()
    let object = one.acquire()
    ObjectPools.write(.json, named: "by name: one", to: &sink)
    struct Report: Decodable { var object_pools: [[String: Value]] }
    enum Value: Decodable, Equatable {
      case text(String)
      case number(Int)
      init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let number = try? container.decode(Int.self) {
          self = .number(number)
        } else {
          self = .text(try container.decode(String.self))
        }
      }
    }
    let found = try JSONDecoder().decode(Report.self, from: Data(sink.bytes)).object_pools
    #expect(found.count == 1)
    #expect(
      found[0]["name"] == .text("by name: one") && found[0]["hot"] == .number(1) && found[0]["count"] == .number(3))
    sink = BytesSink()
    ObjectPools.write(.json, to: &sink)
    let all = try JSONDecoder().decode(Report.self, from: Data(sink.bytes)).object_pools
    #expect(all.contains { $0["name"] == .text("by name: \"two\"?") })
    sink = BytesSink()
    ObjectPools.write(.text, named: "by name: one", to: &sink)
    let text = String(decoding: sink.bytes, as: UTF8.self)
    #expect(text.hasPrefix("object pool \"by name: one\"\n"))
    #expect(text.contains("max_hot") && text.split(separator: "\n").count == 15)
    TestObjects.release(object)
  }

  /// docs/object-pools.md has one paragraph for each key, in the same order, and none for another.
  @Test func keysAreDocumented() throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../..")
    let text = try String(contentsOf: root.appending(path: "docs/object-pools.md"), encoding: .utf8)
    var keys = ["name"]
    ObjectPoolStatistics().visit { key, _ in keys.append("\(key)") }
    let documented = text.split(separator: "\n").compactMap { $0.wholeMatch(of: /`(\w+)`: .*/)?.1 }
    #expect(documented.map(String.init) == keys)
  }

  @Test func aMemoryPoolGoesWithItsObjectPools() throws {
    let id: UInt
    do {
      let test = try TestObjects(64, count: 3, fallback: .system)
      for _ in 0..<10 { _ = test.acquire() }
      id = test.pool.id
    }
    #expect(!ObjectPools.isThere(id))
  }

  /// One that passes through has its records in the shared pool, and leaves nothing there.
  @Test func aMemoryPoolThatPassesThrough() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        func one() throws {
          let test = try TestObjects(64, count: 3, backing: .passThrough)
          for _ in 0..<10 { _ = test.acquire() }
        }
        try one()
        let arena = MemoryPoolPointer.shared.pointee.first.arena
        let before = arena.usedBytes.loadRelaxed()
        for _ in 0..<100 { try one() }
        try demand(
          arena.usedBytes.loadRelaxed() == before, "\(arena.usedBytes.loadRelaxed()) bytes of records, not \(before)")
      }
    }
  }

  /// However many there are, one thread gets each of them, and finds each that was put back anywhere.
  @Test(arguments: [1, 63, 64, 65, 1000, 5000, 20_000]) func oneThreadGetsAll(_ count: Int) throws {
    let test = try TestObjects(48, count: count)
    var random = SplitMix64(seed: SplitMix64.seed("oneThreadGetsAll(\(count))"))
    var objects = (0..<count).map { _ in test.acquire() }
    #expect(Set(objects).count == count && test.statistics.misses == 0)
    for _ in 0..<300 {
      let out = random.below(min(count, 50)) + 1
      for _ in 0..<out {
        objects.swapAt(random.below(objects.count), objects.count - 1)
        TestObjects.release(objects.removeLast())
        if random.below(2) == 0 { objects.append(test.acquire()) }
      }
      while objects.count < count { objects.append(test.acquire()) }
    }
    #expect(test.statistics.misses == 0 && test.statistics.maxHot == UInt(count) && test.statistics.hot == UInt(count))
    TestObjects.release(test.acquire())
    #expect(test.statistics.misses == 1)
    for object in objects { TestObjects.release(object) }
    #expect(test.pool.checkInvariants())
  }
}
