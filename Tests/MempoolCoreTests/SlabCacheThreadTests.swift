import Foundation
import Testing

@testable import MempoolCore

/// Several threads: leases, handing over, growth, exits, and what is left of them.
@Suite struct SlabCacheThreadTests {
  /// A place where threads leave items for each other.
  final class Basket: @unchecked Sendable {
    private let lock = NSLock()
    private var items: [(item: UnsafeMutableRawPointer, tag: Int)] = []

    func add(_ item: UnsafeMutableRawPointer, _ tag: Int) { lock.withLock { items.append((item, tag)) } }

    func takeAny() -> (item: UnsafeMutableRawPointer, tag: Int)? { lock.withLock { items.popLast() } }

    var count: Int { lock.withLock { items.count } }
  }

  /// Random takes and puts of 8 threads, a third of the items put by another thread, with shrinks and arrays in between.
  @Test(arguments: [1, 16, 100, 700, 5000]) func churnWithHandovers(_ size: Int) throws {
    let seed = SplitMix64.seed("SlabCacheThreadTests.churnWithHandovers(\(size))")
    let test = try TestCache(size)
    let basket = Basket(), findings = Findings()
    for round in 0..<3 {
      TestThread.run(8) { number in
        var random = SplitMix64(seed: seed &+ UInt64(round * 8 + number))
        var mine: [(item: UnsafeMutableRawPointer, tag: Int)] = []
        var goal = 0
        func put(_ entry: (item: UnsafeMutableRawPointer, tag: Int)) {
          if !ItemPattern.isIntact(entry.item, size, entry.tag) { findings.report("an item's content changed") }
          test.put(entry.item)
        }
        for step in 0..<4000 {
          if step % 400 == 0 { goal = random.below(300) }
          if random.below(16) == 0 {
            let count = 1 + random.below(test.itemsPerPage)
            guard let array = test.cache.takeArray(UInt(count)) else { return findings.report("no array") }
            for index in 0..<count { ItemPattern.fill(array + index * size, size, step) }
            for index in 0..<count where !ItemPattern.isIntact(array + index * size, size, step) {
              findings.report("an array's content changed")
            }
            test.cache.putArray(array, UInt(count))
          } else if random.below(2 * goal + 1) > mine.count {
            guard let item = test.cache.take() else { return findings.report("no item") }
            ItemPattern.fill(item, size, step)
            if random.below(3) == 0 { basket.add(item, step) } else { mine.append((item, step)) }
          } else if let entry = random.below(3) == 0 ? basket.takeAny() : mine.popLast() {
            put(entry)
          }
          if random.below(1000) == 0 { test.cache.shrink() }
        }
        for entry in mine { put(entry) }
      }
      #expect(test.statistics.liveItems == UInt(basket.count))
      #expect(test.cache.checkInvariants() && test.pool.checkInvariants())
    }
    while let (item, tag) = basket.takeAny() {
      #expect(ItemPattern.isIntact(item, size, tag))
      test.put(item)
    }
    #expect(findings.all == [])
    // All threads are gone, and with them their leases.
    test.cache.shrink()
    #expect(test.statistics.pageCount == 0)
  }

  @Test("T25: threads that need a page at once get different items, and hardly more pages than they need")
  func growingTogether() throws {
    for _ in 0..<30 {
      let test = try TestCache(2048)
      let basket = Basket(), findings = Findings(), done = ThreadGate(8)
      TestThread.run(8) { number in
        for step in 0..<40 {
          guard let item = test.cache.take() else { return findings.report("no item") }
          ItemPattern.fill(item, 2048, number * 100 + step)
          basket.add(item, number * 100 + step)
        }
        done.arrive()
      }
      var items: Set<UnsafeMutableRawPointer> = []
      while let (item, tag) = basket.takeAny() {
        #expect(ItemPattern.isIntact(item, 2048, tag))
        items.insert(item)
      }
      #expect(items.count == 320 && findings.all == [])
      #expect(test.statistics.pageCount <= 320 / 8 + 8)
      #expect(test.cache.checkInvariants())
    }
  }

  /// What others put into a leased cell comes back to its lessee before it looks elsewhere.
  @Test func whatOthersPutComesBack() throws {
    let test = try TestCache(64)
    let items = (0..<test.itemsPerPage).map { _ in Shared(test.take()) }
    TestThread.run { for item in items { test.put(item.value) } }
    #expect(test.statistics.liveItems == 0)
    let again = (0..<test.itemsPerPage).map { _ in test.take() }
    #expect(Set(again) == Set(items.map(\.value)))
    #expect(test.statistics.pageCount == 1)
    #expect(test.cache.checkInvariants())
  }

  /// A second put is seen, whichever of the two threads leases the cell: both read the same words.
  @Test func aFreeItemIsMarkedForAll() throws {
    let test = try TestCache(64)
    let item = test.take()
    let (page, index) = test.cache.find(UInt(bitPattern: item), "test")
    let bit: UInt = 1 << (index & 63)
    #expect(page.held(index >> 6).loadRelaxed() & bit == 0 && page.cell(index >> 6).loadRelaxed() & bit != 0)
    test.put(item)
    #expect(page.held(index >> 6).loadRelaxed() & bit != 0 && page.cell(index >> 6).loadRelaxed() & bit != 0)
    #expect(!page.putHeld(index >> 6, bit))
    let again = test.take()
    #expect(again == item)
    TestThread.run { [item = Shared(item)] in test.put(item.value) }
    #expect(page.held(index >> 6).loadRelaxed() & bit == 0 && page.cell(index >> 6).loadRelaxed() & bit == 0)
    #expect(!page.putHeld(index >> 6, bit))
  }

  /// A thread that exits gives back what it held; short threads one after another need no more pages, nor more records.
  @Test func exitingThreadsKeepNothing() throws {
    let test = try TestCache(64)
    TestThread.run { test.put(test.take()) }
    #expect(test.statistics.leasedCells == 0)
    let pages = test.statistics.pageCount, metadata = test.pool.pointee.first.arena.usedBytes.loadRelaxed()
    for _ in 0..<2000 {
      TestThread.run {
        let item = test.take()
        ItemPattern.fill(item, 64)
        test.put(item)
      }
    }
    #expect(test.statistics.leasedCells == 0 && test.statistics.liveItems == 0)
    #expect(test.statistics.pageCount == pages)
    // Blocks of threads lie in few places.
    let records = (test.pool.pointee.first.arena.usedBytes.loadRelaxed() - metadata) / 64
    #expect(records < 64 * 8)
    #expect(test.cache.checkInvariants())
  }

  /// `shrink` takes what is nobody's at once, and what another thread leases when that thread next looks for a cell.
  @Test func shrinkReachesOtherThreads() throws {
    let test = try TestCache(1024)
    let step = ThreadGate(2)
    let other = TestThread {
      let items = (0..<64).map { _ in test.take() }
      for item in items { test.put(item) }
      step.arrive()  // holds leases on free cells
      step.arrive()  // shrunk
      // Takes of what it still holds, until it looks for more.
      let more = (0..<200).map { _ in test.take() }
      for item in more { test.put(item) }
      step.arrive()
      step.arrive()
    }
    step.arrive()
    #expect(test.statistics.leasedCells > 0 && test.statistics.liveItems == 0)
    let before = test.statistics.pageCount
    test.cache.shrink()
    #expect(test.statistics.pageCount <= before)
    #expect(test.statistics.pageCount == test.statistics.leasedCells)
    step.arrive()
    step.arrive()
    #expect(test.cache.checkInvariants())
    #expect(test.statistics.pagesReturned > 0)
    step.arrive()
    other.join()
    test.cache.shrink()
    #expect(test.statistics.pageCount == 0)
  }

  /// A cache destroyed and made again at the same address while 8 threads hold stale leases and table entries. Each time
  /// with items of another size, so that an old lease would hand out what is no item.
  @Test func destroyedAndMadeAgainAtTheSameAddress() throws {
    let test = try TestCache(64)
    let before = test.usedPages
    let gate = ThreadGate(9), findings = Findings(), basket = Basket()
    let sizes = [64, 24, 200, 1000, 8, 64, 3000, 64]
    let rounds = 24
    let threads = (0..<8).map { number in
      TestThread {
        for round in 0..<rounds {
          gate.arrive()  // a new cache
          let size = sizes[round % sizes.count]
          var items = (0..<100).compactMap { _ in test.cache.take() }
          if items.count < 100 { findings.report("no item") }
          for item in items where !test.cache.owns(item) { findings.report("an item of no page of this cache") }
          for item in items { ItemPattern.fill(item, size, number) }
          for item in items where !ItemPattern.isIntact(item, size, number) { findings.report("an item shared") }
          // Some go back through another thread.
          for _ in 0..<20 { basket.add(items.removeLast(), number) }
          for item in items { test.put(item) }
          gate.arrive()
          while let (item, _) = basket.takeAny() { test.put(item) }
          gate.arrive()  // leases and table entries are stale from here
        }
        gate.arrive()
      }
    }
    var addresses: Set<SlabCachePointer> = []
    for round in 0..<rounds {
      addresses.insert(test.cache)
      gate.arrive()
      gate.arrive()
      gate.arrive()
      #expect(test.cache.checkInvariants())
      #expect(test.statistics.liveItems == 0 && test.statistics.leasedCells > 0)
      try test.makeAgain(sizes[(round + 1) % sizes.count])
      #expect(test.usedPages == before)
    }
    gate.arrive()
    for thread in threads { thread.join() }
    #expect(addresses.count < rounds, "made again at the same address")
    #expect(findings.all == [])
    #expect(test.pool.checkInvariants())
  }

  /// What a forked child does with the leases of threads that it does not have.
  @Test func aForkedChildDropsOtherThreadsLeases() throws {
    let test = try TestCache(64)
    let gate = ThreadGate(5)
    let kept = test.take()
    let threads = (0..<4).map { _ in
      TestThread {
        let items = (0..<100).map { _ in test.take() }
        for item in items.dropFirst() { test.put(item) }
        gate.arrive()
        gate.arrive()  // never uses the cache again
      }
    }
    gate.arrive()
    #expect(test.statistics.leasedCells > 4)
    test.cache.pagesLock.lockWrite()
    test.cache.forkedChild(own: UInt(bitPattern: threadBlock()))
    #expect(test.statistics.leasedCells == 1)
    #expect(test.statistics.liveItems == 5)
    #expect(test.cache.checkInvariants())
    test.put(kept)
    let items = (0..<2000).map { _ in test.take() }
    #expect(Set(items).count == 2000)
    for item in items { test.put(item) }
    gate.arrive()
    for thread in threads { thread.join() }
    #expect(test.cache.checkInvariants())
  }

  /// Items come back from 8 threads while somebody asks whether any is out; the cache goes when the last one is back.
  @Test func endsWithItsLastItem() throws {
    for _ in 0..<20 {
      let test = try TestCache(48)
      let before = test.usedPages
      let cache = try test.pool.makeCache(itemSize: 48)
      let items = (0..<800).map { _ in Shared(cache.take()!) }
      #expect(!cache.destroyIfUnused())
      nonisolated(unsafe) let shared = cache
      TestThread.run(9) { number in
        if number == 8 {
          while !shared.destroyIfUnused() {}
        } else {
          for index in 0..<100 { shared.put(items[number * 100 + index].value) }
        }
      }
      #expect(test.usedPages == before)
      #expect(test.pool.checkInvariants())
    }
  }
}
