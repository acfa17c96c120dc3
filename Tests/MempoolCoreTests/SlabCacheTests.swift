import Testing

@testable import MempoolCore

/// One thread: exact counts, contents, a shadow model.
@Suite struct SlabCacheTests {
  /// Every size up to 64, then some of each magnitude, odd and even.
  static let sizes: [Int] =
    Array(1...64) + [65, 72, 96, 100, 127, 200, 255, 256, 257, 333, 512, 777, 1000, 1024, 1365, 2048, 2049, 3000]
    + [4095, 4096, 5000, 5461, 8191, 8192]

  /// Patterns in all items of two pages and more, then in every other one, put and taken again around the rest.
  @Test("T21: patterns in all items stay intact while items around them come and go", arguments: sizes)
  func patternsStayIntact(_ size: Int) throws {
    let test = try TestCache(size)
    let count = 2 * test.itemsPerPage + 1
    var items = (0..<count).map { _ in test.take() }
    #expect(Set(items).count == count)
    #expect(items.allSatisfy { test.cache.owns($0) })
    let sorted = items.sorted()
    #expect(zip(sorted, sorted.dropFirst()).allSatisfy { $1 - $0 >= size })
    for item in items { ItemPattern.fill(item, size) }
    for index in stride(from: 0, to: count, by: 2) { test.put(items[index]) }
    for index in stride(from: 0, to: count, by: 2) {
      items[index] = test.take()
      ItemPattern.fill(items[index], size)
    }
    #expect(Set(items).count == count)
    #expect(items.allSatisfy { ItemPattern.isIntact($0, size) })
    #expect(test.cache.checkInvariants() && test.pool.checkInvariants())
    #expect(test.statistics.liveItems == UInt(count))
    for item in items { test.put(item) }
    #expect(test.statistics.liveItems == 0)
    #expect(test.cache.checkInvariants())
  }

  /// Where the compiler optimises; otherwise some of them.
  @Test("T21: patterns in all items of a page and more stay intact, for every item size up to half a page")
  func everyItemSize() throws {
    #if DEBUG
      let step = 97
    #else
      let step = 1
    #endif
    let test = try TestCache(1)
    for size in stride(from: 1, through: Int(Page.byteCount) / 2, by: step) {
      try test.makeAgain(size)
      var items = (0..<test.itemsPerPage + 1).map { _ in test.take() }
      for item in items { ItemPattern.fill(item, size) }
      for index in stride(from: 0, to: items.count, by: 2) { test.put(items[index]) }
      for index in stride(from: 0, to: items.count, by: 2) {
        items[index] = test.take()
        ItemPattern.fill(items[index], size)
      }
      guard items.allSatisfy({ ItemPattern.isIntact($0, size) }), Set(items).count == items.count else {
        Issue.record("items of \(size) bytes")
        return
      }
      for item in items { test.put(item) }
    }
  }

  @Test(
    "T10: items of a slab cache are aligned as asked for", arguments: [1, 3, 24, 100, 4000, 16384, 20000],
    [1, 8, 64, 4096, 16384])
  func itemsAreAligned(_ size: Int, _ alignment: Int) throws {
    let test = try TestCache(size, alignment: alignment)
    let items = (0..<50).map { _ in test.take() }
    #expect(items.allSatisfy { UInt(bitPattern: $0) % UInt(alignment) == 0 })
    #expect(Set(items).count == 50)
    for item in items { ItemPattern.fill(item, size) }
    #expect(items.allSatisfy { ItemPattern.isIntact($0, size) })
    for item in items { test.put(item) }
    test.cache.destroy()
  }

  @Test(arguments: [30_000, 100_000, 1 << 20]) func largeItems(_ size: Int) throws {
    let test = try TestCache(size)
    let items = (0..<10).map { _ in test.take() }
    for (tag, item) in items.enumerated() { ItemPattern.fill(item, size, tag) }
    for (tag, item) in items.enumerated() { #expect(ItemPattern.isIntact(item, size, tag)) }
    #expect(test.cache.checkInvariants())
    for item in items { test.put(item) }
    #expect(test.cache.shrink() > 0)
    #expect(test.statistics.pageCount == 0)
  }

  @Test func whatNoCacheCanHave() throws {
    let test = try TestCache(8)
    for (size, alignment) in [(0, 1), (1 << 20 + 1, 1), (8, 0), (8, 3), (8, 32768)] as [(UInt, UInt)] {
      #expect(throws: PoolError.invalidArgument) { try test.pool.makeCache(itemSize: size, alignment: alignment) }
    }
  }

  @Test(
    "T11: k items use ceil(k / perPage) pages: the newest page is used, too", arguments: [1, 7, 8, 64, 200, 1000, 5000])
  func noMorePagesThanNeeded(_ size: Int) throws {
    let test = try TestCache(size)
    var made: UInt = 0
    for count in 1...(3 * test.itemsPerPage) {
      _ = test.take()
      made = UInt((count + test.itemsPerPage - 1) / test.itemsPerPage)
      if count % test.itemsPerPage <= 1 { #expect(test.statistics.pageCount == made) }
    }
    #expect(test.statistics.pageCount == made)
  }

  /// Of what a page takes, at most an eighth is not items; and a page is found from any address in it.
  @Test func layouts() {
    for stride in (1...70000).filter({ $0 < 5000 || $0 % 61 == 0 }) {
      let layout = CacheLayout(stride: UInt(stride))
      #expect(layout.itemCount >= 1 && layout.itemCount * UInt(stride) <= layout.pageCount << Page.shift)
      #expect(layout.waste(UInt(stride)) * 8 <= layout.pageCount << Page.shift, "stride \(stride)")
      #expect(layout.pageCount <= 16)
      if stride <= 2048 { #expect(layout.pageCount == 1) }
    }
  }

  /// The number of an item, and whether it begins there, at every offset of pages of all kinds of stride.
  @Test func everyOffsetFindsItsItem() throws {
    for size in [1, 2, 3, 5, 7, 8, 24, 63, 64, 100, 255, 1000, 2047, 2048, 3001, 4096, 20001] {
      let test = try TestCache(size)
      let start = UInt(bitPattern: test.take()) & ~(Page.byteCount - 1)
      guard case .page(let page) = test.cache.place(start) else {
        Issue.record("no page at the first item")
        continue
      }
      let bytes = page.pointee.pageCount << Page.shift
      for offset in 0..<bytes {
        guard case .page(let found) = test.cache.place(page.pointee.base + offset), found == page else {
          Issue.record("size \(size), offset \(offset): another page")
          break
        }
        let (item, rest) = page.item(page.pointee.base + offset)
        let begins = rest < page.pointee.reciprocal
        guard item == offset / UInt(size), begins == (offset % UInt(size) == 0) else {
          Issue.record("size \(size), offset \(offset): item \(item), begins \(begins)")
          break
        }
      }
    }
  }

  @Test(
    "T15, T20: what is handed out never exceeds the capacity, and a failure changes nothing", arguments: [1, 100, 3000])
  func exhaustionIsAValue(_ size: Int) throws {
    let test = try TestCache(size, backing: .fixed(size: 1 << 20, locked: false, prefault: false))
    var items: [UnsafeMutableRawPointer] = []
    while let item = test.cache.take() { items.append(item) }
    #expect(Set(items).count == items.count)
    #expect(test.cache.take() == nil)
    #expect(test.cache.takeArray(2) == nil)
    #expect(UInt(items.count) == test.statistics.capacity)
    #expect(items.count * size > (size == 1 ? 600 : 800) << 10)
    test.put(items.removeLast())
    let again = test.take()
    #expect(test.cache.take() == nil)
    items.append(again)
    for item in items { test.put(item) }
    #expect(test.cache.checkInvariants())
    test.cache.destroy()
  }

  /// What is empty goes back by shrink, everything by destroy; and both again and again, with no page lost.
  @Test("T23: shrink returns every empty page, destroy every page")
  func shrinkAndDestroyReturnEveryPage() throws {
    let test = try TestCache(200)
    for round in 0..<5 {
      let before = test.usedPages
      let items = (0..<1000).map { _ in test.take() }
      let pages = test.statistics.pageCount
      #expect(test.usedPages >= before + pages)
      // One item keeps its page, and nothing else does.
      for item in items.dropLast() { test.put(item) }
      #expect(test.cache.shrink() == (pages - 1) << Page.shift)
      #expect(test.statistics.pageCount == 1)
      #expect(test.statistics.leasedCells == 0)
      #expect(test.cache.checkInvariants())
      test.put(items.last!)
      if round % 2 == 0 {
        #expect(test.cache.shrink() == Page.byteCount)
        #expect(test.cache.shrink() == 0)
        #expect(test.usedPages == before)
      }
      // Otherwise with a leased cell.
      try test.makeAgain(200)
      #expect(test.usedPages == before)
    }
    #expect(test.pool.checkInvariants())
  }

  @Test(
    "T22: arrays of every length up to the capacity come and go with a flat number of pages",
    arguments: [1, 8, 100, 200, 1000, 9000])
  func arraysInSteadyState(_ size: Int) throws {
    let test = try TestCache(size)
    let capacity = test.itemsPerPage
    let counts = Set([1, 2, 3, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 200, capacity / 2, capacity - 1, capacity])
      .filter { $0 >= 1 && $0 <= capacity }
    var most: UInt = 0
    for round in 0..<20 {
      for count in counts.sorted() {
        let first = try #require(test.cache.takeArray(UInt(count)))
        #expect(test.statistics.liveItems == UInt(count))
        ItemPattern.fill(first, count * size, round)
        let single = test.take()
        ItemPattern.fill(single, size, round)
        #expect(ItemPattern.isIntact(first, count * size, round))
        test.put(single)
        test.cache.putArray(first, UInt(count))
        #expect(test.statistics.liveItems == 0)
      }
      if round == 2 { most = test.statistics.pageCount }
    }
    #expect(test.statistics.pageCount == most)
    #expect(test.cache.checkInvariants())
    #expect(test.cache.takeArray(UInt(capacity) + 1) == nil)
    #expect(test.cache.takeArray(0) == nil)
  }

  /// Random takes and puts, of one item and of several, against a list of what is out.
  @Test(arguments: [1, 8, 24, 129, 700, 5000]) func shadowModel(_ size: Int) throws {
    let seed = SplitMix64.seed("SlabCacheTests.shadowModel(\(size))")
    var random = SplitMix64(seed: seed)
    let test = try TestCache(size)
    var out: [(item: UnsafeMutableRawPointer, count: Int, tag: Int)] = []
    var taken: Set<UInt> = []
    var goal = 0
    for step in 0..<6000 {
      if step % 500 == 0 { goal = random.below(600) }
      if random.below(out.count + 1) < goal / 2 + 1 && out.count < goal {
        let count = random.below(8) == 0 ? 1 + random.below(test.itemsPerPage) : 1
        guard let item = test.cache.takeArray(UInt(count)) else {
          Issue.record("no \(count) items of \(size) bytes")
          return
        }
        for index in 0..<count {
          guard taken.insert(UInt(bitPattern: item) + UInt(index * size)).inserted else {
            Issue.record("an item handed out twice, in step \(step)")
            return
          }
        }
        ItemPattern.fill(item, count * size, step)
        out.append((item, count, step))
      } else if !out.isEmpty {
        let (item, count, tag) = out.remove(at: random.below(out.count))
        guard ItemPattern.isIntact(item, count * size, tag) else {
          Issue.record("an item's content changed, seen in step \(step)")
          return
        }
        for index in 0..<count { taken.remove(UInt(bitPattern: item) + UInt(index * size)) }
        if count == 1 { test.put(item) } else { test.cache.putArray(item, UInt(count)) }
      }
      if random.below(400) == 0 { test.cache.shrink() }
      if step % 200 == 0 {
        #expect(test.statistics.liveItems == UInt(taken.count))
        guard test.cache.checkInvariants(), test.pool.checkInvariants() else {
          Issue.record("broken after step \(step)")
          return
        }
      }
    }
    for (item, count, _) in out { test.cache.putArray(item, UInt(count)) }
    test.cache.shrink()
    #expect(test.statistics.pageCount == 0)
  }

  @Test func ownsOnlyItsOwnPages() throws {
    let test = try TestCache(64)
    let other = try test.pool.makeCache(itemSize: 64)
    let item = test.take(), stranger = other.take()!
    let object = test.pool.allocate(100)!
    #expect(test.cache.owns(item) && !test.cache.owns(stranger) && other.owns(stranger))
    #expect(!test.cache.owns(object))
    withUnsafePointer(to: 5) { #expect(!test.cache.owns($0)) }
    test.put(item)
    other.put(stranger)
    other.destroy()
    test.pool.deallocate(object)
  }

  /// Many caches at once share a thread's few remembered places; a cache after them is found all the same.
  @Test func moreCachesThanAThreadRemembers() throws {
    let test = try TestCache(64)
    let caches = try (0..<40).map { _ in try test.pool.makeCache(itemSize: 32) }
    var items: [[UnsafeMutableRawPointer]] = caches.map { _ in [] }
    for _ in 0..<30 {
      for index in caches.indices { items[index].append(caches[index].take()!) }
    }
    for index in caches.indices {
      #expect(Set(items[index]).count == 30)
      #expect(caches[index].statistics().pageCount == 1)
      for item in items[index] { caches[index].put(item) }
      #expect(caches[index].checkInvariants())
      caches[index].destroy()
    }
  }

  @Test func namesAreKeptShort() throws {
    let test = try TestCache(8)
    let cache = try test.pool.makeCache(itemSize: 8, name: "0123456789abcdef0123456789abcdef0123")
    let name = (0..<32).map { cache.pointee.name[$0] }
    #expect(name == Array("0123456789abcdef0123456789abcde".utf8) + [0])
  }

  /// Shared words and what follows records lie where the code looks for them.
  @Test func recordsAreLaidOutAsTheCodeSays() throws {
    let test = try TestCache(8)
    let cache = test.cache
    func offset(_ pointer: UnsafeRawPointer) -> Int { pointer - UnsafeRawPointer(cache) }
    #expect(MemoryLayout<SlabCache>.offset(of: \.pagesLock) == offset(cache.pagesLock))
    #expect(MemoryLayout<SlabCache>.offset(of: \.leases) == offset(cache.bucket(0).word))
    #expect(MemoryLayout<SlabCache>.size >= offset(cache.bucket(SlabCachePointer.bucketCount).word))
    #expect(CachePage.cellsWord * 8 >= MemoryLayout<CachePage>.size)
    #expect(PageKind.cache.rawValue == PageEntryPointer.cacheKind)
    #expect(CacheLeases.slotCount == cache.ownLeases()!.pointee.slots.count)
    #expect(MemoryLayout<CacheLeases>.offset(of: \.none) == 24)
  }
}
