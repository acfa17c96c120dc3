import Foundation
import Synchronization
import Testing

@testable import Mempool

@Suite struct ObjectPoolTests {
  typealias Counter = SlabCacheTests.Counter
  typealias Counted = SlabCacheTests.Counted

  @Test func anObjectGivesItsPlaceBackByItself() throws {
    let pool = try ObjectPool<Counted>(count: 2, name: "counted")
    let counter = Counter()
    do {
      var object = try pool.acquire(Counted(counter, 1))
      object.value.number += 41
      #expect(object.value.number == 42)
      #expect(counter.live.load(ordering: .relaxed) == 1)
      let seen = pool.statistics()
      #expect(seen.hot == 1 && seen.cold == 1 && seen.maxHot == 1 && seen.allocations == 1 && seen.name == "counted")
    }
    #expect(counter.live.load(ordering: .relaxed) == 0)
    #expect(pool.statistics().hot == 0)
  }

  @Test(arguments: [ObjectPoolFallback.segment, .system]) func moreThanTheCount(_ fallback: ObjectPoolFallback) throws {
    let pool = try ObjectPool<Counted>(count: 2, fallback: fallback)
    let counter = Counter()
    let one = try pool.acquire(Counted(counter, 1)), two = try pool.acquire(Counted(counter, 2))
    let three = try pool.acquire(Counted(counter, 3))
    var seen = pool.statistics()
    #expect(seen.hot == 2 && seen.misses == 1 && seen.fallback == 1 && seen.maxFallback == 1)
    let numbers = [one.take().number, two.take().number, three.take().number]
    #expect(numbers == [1, 2, 3])
    seen = pool.statistics()
    #expect(seen.hot == 0 && seen.fallback == 0 && seen.maxHot == 2 && seen.allocations == 3)
    #expect(counter.live.load(ordering: .relaxed) == 0)
  }

  @Test func zeroed() throws {
    struct Numbers: BitwiseCopyable {
      var a = 1, b = 2.0, c: (UInt8, Int32) = (3, 4)
    }
    let pool = try ObjectPool<Numbers>(count: 1)
    do { _ = try pool.acquire(Numbers()) }
    let object = try pool.acquireZeroed()
    #expect(object.value.a == 0 && object.value.b == 0 && object.value.c == (0, 0))
  }

  @Test("O8: a pool lives as long as its objects, and its memory pool with it")
  func thePoolOutlivesItsReference() throws {
    let counter = Counter()
    for isOwn in [false, true] {
      var memory: MemoryPool? = isOwn ? try MemoryPool() : nil
      var pool: ObjectPool<Counted>? = try ObjectPool(count: 3, in: memory ?? .shared, name: "outlived")
      let objects = try (0..<5).map { try Held(pool!.acquire(Counted(counter, $0))) }
      #expect(ObjectPoolList.statistics().contains { $0.name == "outlived" && $0.hot == 3 && $0.fallback == 2 })
      pool = nil
      memory = nil
      #expect(!ObjectPoolList.statistics().contains { $0.name == "outlived" })
      for (index, object) in objects.enumerated() {
        #expect(object.object.value.number == index)
        object.object.value.number = 0
      }
      withExtendedLifetime(objects) { #expect(counter.live.load(ordering: .relaxed) == 5) }
    }
    #expect(counter.live.load(ordering: .relaxed) == 0)
    _ = try ObjectPool<Int>(count: 1)  // sees to memory pools that were waited for
  }

  @Test func objectsGoToOtherThreads() throws {
    let pool = try ObjectPool<Counted>(count: 100)
    let counter = Counter()
    for _ in 0..<10 {
      let objects = Handed(try (0..<110).map { try Held(pool.acquire(Counted(counter, $0))) })
      onAThreadThatExits { objects.all = [] }
    }
    #expect(counter.live.load(ordering: .relaxed) == 0)
    #expect(pool.statistics().hot == 0 && pool.statistics().allocations == 1100)
    #expect(pool.sweep() >= 0)
  }

  @Test func rawPieces() throws {
    let pool = try RawObjectPool(itemSize: 100, alignment: 64, count: 10, name: "raw")
    let pieces = try (0..<12).map { _ in try pool.acquire() }
    #expect(pieces.allSatisfy { UInt(bitPattern: $0) % 64 == 0 })
    #expect(pool.statistics().itemStride == 128 && pool.statistics().fallback == 2)
    for piece in pieces { RawObjectPool.release(piece) }
    let zeroed = try pool.acquireZeroed()
    #expect(UnsafeRawBufferPointer(start: zeroed, count: 100).allSatisfy { $0 == 0 })
    RawObjectPool.release(zeroed)
    RawObjectPool.release(nil)
    #expect(throws: PoolError.invalidArgument) { try RawObjectPool(itemSize: 0, count: 1) }
    #expect(throws: PoolError.invalidArgument) { try RawObjectPool(itemSize: 1, count: 0) }
    #expect(throws: PoolError.invalidArgument) { try RawObjectPool(itemSize: 1, count: -1) }
    #expect(throws: PoolError.invalidArgument) { try RawObjectPool(itemSize: 1, alignment: 3, count: 1) }
    #expect(throws: PoolError.outOfMemory) { try RawObjectPool(itemSize: 1 << 20, count: .max) }
  }

  @Test func passesThroughWhereItsMemoryPoolDoes() throws {
    let pool = try ObjectPool<Int>(count: 10, in: MemoryPool(PoolOptions(backing: .passThrough)))
    let object = try pool.acquire(3)
    #expect(object.value == 3)
    #expect(pool.statistics().count == 0 && pool.statistics().misses == 1)
  }

  @Test func allOfThem() throws {
    let one = try RawObjectPool(itemSize: 8, count: 3, name: "all of them: one")
    let two = try RawObjectPool(itemSize: 8, count: 3, name: "all of them: two")
    let names = ObjectPoolList.statistics().map(\.name).filter { $0.hasPrefix("all of them") }
    #expect(names == ["all of them: two", "all of them: one"])
    #expect(ObjectPoolList.text.contains("object pool \"all of them: one\"\n"))
    struct Report: Decodable {
      struct Pool: Decodable { var name: String, count: Int }
      var object_pools: [Pool]
    }
    let report = try JSONDecoder().decode(Report.self, from: Data(ObjectPoolList.json.utf8))
    #expect(report.object_pools.contains { $0.name == "all of them: two" && $0.count == 3 })
    let before = one.statistics().sweeps
    #expect(ObjectPoolList.sweep() >= 0)
    #expect(one.statistics().sweeps > before && two.statistics().sweeps > 0)
    #expect(throws: PoolError.invalidArgument) { try ObjectPoolList.sweep(every: .zero) }
    try ObjectPoolList.sweep(every: .milliseconds(1))
    try ObjectPoolList.sweep(every: .seconds(1_000_000_000))
    try ObjectPoolList.sweep(every: nil)
  }

  @Test(
    "O9: an object released twice, by whichever threads, and what is no object, end the process with the exact line")
  func misuse() async {
    func expect(_ result: ExitTest.Result?, _ what: String) {
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      let lines = text.split(separator: "\n").filter { $0.hasPrefix("mempool: ") }
      let isIt =
        lines.count == 1 && lines[0].hasPrefix("mempool: RawObjectPool.release(0x") && lines[0].hasSuffix("): \(what)")
      #expect(isIt, "\(what)\n\(text)")
    }
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let piece = try RawObjectPool(itemSize: 40, count: 3).acquire()
        RawObjectPool.release(piece)  // the pool goes with it
        RawObjectPool.release(piece)
      }, "not an object of a pool")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try RawObjectPool(itemSize: 40, count: 3)
        let piece = try pool.acquire()
        RawObjectPool.release(piece)
        RawObjectPool.release(piece)
      }, "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try RawObjectPool(itemSize: 40, count: 3)
        nonisolated(unsafe) let piece = try pool.acquire()
        onAThreadThatExits { RawObjectPool.release(piece) }
        RawObjectPool.release(piece)
      }, "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try RawObjectPool(itemSize: 40, count: 1)
        let pieces = [try pool.acquire(), try pool.acquire()]
        for piece in pieces + pieces.reversed() { RawObjectPool.release(piece) }
      }, "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try RawObjectPool(itemSize: 40, count: 1, fallback: .system)
        let pieces = [try pool.acquire(), try pool.acquire()]
        for piece in pieces + pieces.reversed() { RawObjectPool.release(piece) }
      }, "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try RawObjectPool(itemSize: 40, count: 3)
        RawObjectPool.release(try pool.acquire() + 8)
      }, "not the start of an object")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        RawObjectPool.release(try MemoryPool.shared.allocate(byteCount: 40))
      }, "not an object of a pool")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        RawObjectPool.release(malloc(40))
      }, "not memory of this allocator")
  }

  private final class Handed: @unchecked Sendable {
    var all: [Held<Counted>]
    init(_ all: [Held<Counted>]) { self.all = all }
  }

  /// An object in an array, which takes no values that cannot be copied.
  private final class Held<Element: ~Copyable & Sendable>: @unchecked Sendable {
    var object: ObjectPool<Element>.Object
    init(_ object: consuming ObjectPool<Element>.Object) { self.object = object }
  }
}
