import Foundation
import Synchronization
import Testing

@testable import Mempool

@Suite struct SlabCacheTests {
  /// Counts how many of it there are.
  final class Counter: Sendable {
    let live = Atomic(0)
  }

  struct Counted: ~Copyable, Sendable {
    let counter: Counter
    var number: Int
    init(_ counter: Counter, _ number: Int) {
      self.counter = counter
      self.number = number
      counter.live.wrappingAdd(1, ordering: .relaxed)
    }
    deinit { counter.live.wrappingSubtract(1, ordering: .relaxed) }
  }

  @Test func anItemGivesItsPlaceBackByItself() throws {
    let cache = try SlabCache<Counted>(name: "counted")
    let counter = Counter()
    do {
      var item = try cache.make(Counted(counter, 1))
      item.value.number += 41
      #expect(item.value.number == 42)
      #expect(counter.live.load(ordering: .relaxed) == 1)
      #expect(cache.statistics().liveItems == 1)
    }
    #expect(counter.live.load(ordering: .relaxed) == 0)
    #expect(cache.statistics().liveItems == 0)
  }

  @Test func aTakenValueLivesOn() throws {
    let cache = try SlabCache<Counted>()
    let counter = Counter()
    let item = try cache.make(Counted(counter, 7))
    let value = item.take()
    #expect(cache.statistics().liveItems == 0)
    #expect(value.number == 7 && counter.live.load(ordering: .relaxed) == 1)
  }

  @Test func valuesWithReferencesAreRetainedAndReleased() throws {
    let cache = try SlabCache<[String]>()
    weak var last: Counter?
    do {
      let objects = try SlabCache<Counter>()
      let counter = Counter()
      last = counter
      var strings = try cache.make(["a"])
      strings.value.append(String(repeating: "b", count: 1000))
      #expect(strings.value.joined().count == 1001)
      let object = try objects.make(counter)
      #expect(object.value === counter)
    }
    #expect(last == nil)
  }

  @Test func placesAreAlignedAndApart() throws {
    func check<Element>(_ element: Element) throws {
      let cache = try SlabCache<Element>()
      var held: [Held<Element>] = []
      var addresses: Set<UInt> = []
      for _ in 0..<500 {
        let item = Held(try cache.make(element))
        let address = withUnsafeMutablePointer(to: &item.item.value) { UInt(bitPattern: $0) }
        #expect(address % UInt(MemoryLayout<Element>.alignment) == 0)
        addresses.insert(address)
        held.append(item)
      }
      #expect(addresses.count == 500)
      let sorted = addresses.sorted()
      let closest = zip(sorted, sorted.dropFirst()).map { $1 - $0 }.min() ?? 0
      #expect(closest >= UInt(MemoryLayout<Element>.size))
      held = []
      #expect(cache.statistics().liveItems == 0)
    }
    try check(UInt8(1))
    try check(Int64(1))
    try check((Int8(1), Int32(2), Int8(3)))
    try check(SIMD4<Double>(repeating: 1))
    try check(InlineArray<1000, UInt8>(repeating: 1))
    try check(())
  }

  /// Items outlive their cache: the order in which a program lets go of them must not matter.
  @Test func itemsMayOutliveTheirCache() throws {
    let pool = try MemoryPool(PoolOptions(backing: .fixed(byteCount: 4 << 20)))
    let counter = Counter()
    let before = pool.statistics().activeBytes
    for _ in 0..<100 {
      var cache: SlabCache<Counted>? = try SlabCache<Counted>(in: pool)
      let first = try cache!.make(Counted(counter, 1))
      let second = try cache!.make(Counted(counter, 2))
      cache = nil
      #expect(first.value.number == 1)
      _ = consume first
      #expect(second.value.number == 2)
      #expect(second.take().number == 2)
    }
    #expect(counter.live.load(ordering: .relaxed) == 0)
    #expect(pool.statistics().activeBytes <= before + 4 * 16_384, "a cache or its pages were left behind")
  }

  @Test func anItemKeepsItsPoolAlive() throws {
    var pool: MemoryPool? = try MemoryPool()
    weak let lifetime = pool?.lifetime
    var cache: SlabCache<[Int]>? = try SlabCache<[Int]>(in: pool!)
    let item = try cache!.make([1, 2, 3])
    pool = nil
    cache = nil
    #expect(lifetime != nil)
    #expect(item.take() == [1, 2, 3])
    #expect(lifetime == nil)
  }

  @Test func exhaustionIsAnError() throws {
    let pool = try MemoryPool(PoolOptions(backing: .fixed(byteCount: 1 << 20), maxRetries: 0))
    let cache = try SlabCache<InlineArray<1000, UInt8>>(in: pool)
    var held: [Held<InlineArray<1000, UInt8>>] = []
    #expect(throws: PoolError.outOfMemory) {
      while held.count <= 1100 { held.append(Held(try cache.make(InlineArray(repeating: 1)))) }
    }
    #expect(held.count > 500)
    held = []
    _ = try cache.make(InlineArray(repeating: 2))
    #expect(cache.statistics().liveItems == 0)
  }

  @Test func shrinkReturnsWhatIsEmpty() throws {
    let cache = try SlabCache<InlineArray<100, Int>>()
    var held = try (0..<1000).map { _ in Held(try cache.make(InlineArray<100, Int>(repeating: 1))) }
    #expect(held.count == 1000)
    let full = cache.statistics()
    #expect(full.liveItems == 1000 && full.capacity >= 1000 && full.byteCount >= 800_000)
    held = []
    #expect(cache.shrink() == full.byteCount)
    #expect(cache.statistics().byteCount == 0)
    #expect(try cache.make(InlineArray(repeating: 3)).value[99] == 3)
  }

  @Test func tooLargeAnElementIsAnError() {
    #expect(throws: PoolError.invalidArgument) { try SlabCache<InlineArray<0x20_0001, UInt8>>() }
    #expect(throws: PoolError.invalidArgument) {
      try SlabCache<Int>(in: MemoryPool(PoolOptions(backing: .passThrough)))
    }
  }

  @Test func threadsHandItemsOver() throws {
    let cache = try SlabCache<Counted>()
    let counter = Counter()
    let handedOver = Mutex<[Held<Counted>]>([])
    DispatchQueue.concurrentPerform(iterations: 8) { thread in
      for number in 0..<2000 {
        guard let item = try? cache.make(Counted(counter, number)) else { continue }
        let held = Held(item)
        // Whoever comes ends what some other thread made.
        let ended = handedOver.withLock { all in
          all.append(held)
          return number % 3 == 0 ? nil : all.remove(at: number % all.count)
        }
        _ = ended
      }
    }
    let left = counter.live.load(ordering: .relaxed)
    #expect(left > 0 && cache.statistics().liveItems == left)
    handedOver.withLock { $0 = [] }
    #expect(counter.live.load(ordering: .relaxed) == 0 && cache.statistics().liveItems == 0)
  }

  /// Caches end on one thread while their last items end on others.
  @Test func manyCachesEndUnderTheirItems() throws {
    let pool = try MemoryPool(PoolOptions(backing: .fixed(byteCount: 8 << 20)))
    let counter = Counter()
    for _ in 0..<200 {
      let parts = Mutex<[Held<Counted>]>([])
      do {
        let cache = try SlabCache<Counted>(in: pool)
        for number in 0..<4 {
          let held = Held(try cache.make(Counted(counter, number)))
          parts.withLock { $0.append(held) }
        }
      }
      DispatchQueue.concurrentPerform(iterations: 4) { _ in _ = parts.withLock { $0.popLast() } }
    }
    #expect(counter.live.load(ordering: .relaxed) == 0)
    _ = try SlabCache<Int>(in: pool)
    #expect(pool.statistics().activeBytes < 1 << 20, "caches were left behind")
  }
}

/// An item in an object, as arrays cannot hold what cannot be copied.
final class Held<Element: ~Copyable>: @unchecked Sendable {
  var item: SlabCache<Element>.Item

  init(_ item: consuming SlabCache<Element>.Item) { self.item = item }
}
