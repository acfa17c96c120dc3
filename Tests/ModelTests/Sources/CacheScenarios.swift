import CMempoolShims
import ModelMachine

@testable import MempoolCore

nonisolated(unsafe) private var items: [UInt] = []

/// A slab cache of items of 4 KiB, 8 of them in a page of one cell.
private enum Bench {
  nonisolated(unsafe) static var cache = SlabCachePointer(bitPattern: 8)!

  static func make() {
    HeapBench.make(pages: 12, owners: 0)
    cache = SlabCachePointer.make(
      id: 3, itemSize: 4096, alignment: 1, name: nil, segments: HeapBench.pool.segments, metadata: HeapBench.segment)!
    Names.add(cache)
  }

  static func hold(_ count: Int, by thread: Int) -> [UInt] {
    var items: [UInt] = []
    HeapBench.as_(thread) { items = (0..<count).map { _ in take()! } }
    Items.keep()
    namePages()
    return items
  }

  static func namePages() {
    var number = 0
    cache.forEachPage { page in
      Names.add(page, "page \(number)")
      number += 1
    }
  }

  static func take() -> UInt? {
    guard let item = cache.take() else {
      mp_model_note("gets nothing", 0)
      return nil
    }
    Items.take(UInt(bitPattern: item))
    return UInt(bitPattern: item)
  }

  static func give(_ item: UInt?) {
    guard let item else { return }
    Items.give(item)
    cache.put(UnsafeMutableRawPointer(bitPattern: item))
  }

  static func end() {
    mp_model_note("ends", 0)
    let block = threadBlock()
    for slot in 0..<Int(MP_THREAD_RECENT) { mp_thread_recent(block)[slot].owner = 0 }
    cache.returnLeases(of: UInt(bitPattern: block))
  }

  static func shrink() {
    mp_model_note("shrinks", 0)
    cache.shrink()
  }

  /// What holds between any two operations: an item is in one place, and a free set has an owner. Counts of pages and leases follow what
  /// they count, and a cell may be held whole for a moment by who looks for an array or retires the page: these hold only at the end.
  static func always() -> String? {
    var fault: String?
    // Without the lock, which somebody may have: the links change between two operations only.
    var next = cache.pointee.firstPage
    while let page = next, fault == nil {
      for cell in 0..<page.cellCount {
        let taken = page.cell(cell).loadRelaxed(), held = page.held(cell).loadRelaxed()
        if held & ~taken != 0 { fault = "an item free twice: for its lessee, and for all" }
        if held != 0, page.lessee(cell).loadRelaxed() == 0 { fault = "items held by nobody" }
      }
      next = page.pointee.next
    }
    return fault ?? Items.first(where: whereHeld) ?? HeapBench.always(HeapBench.segment)
  }

  private static func whereHeld(_ address: UInt) -> String? {
    let entry = HeapBench.segment.entry(of: address)
    guard !entry.isSlab, entry.kind == .cache, let record = entry.slab.loadPointerRelaxed() else {
      return "is held, in no page"
    }
    let page = record.assumingMemoryBound(to: CachePage.self)
    let item = (address - page.pointee.base) / page.pointee.stride
    if page.cell(item >> 6).loadRelaxed() >> (item & 63) & 1 == 0 { return "is held, and free for all" }
    return page.held(item >> 6).loadRelaxed() >> (item & 63) & 1 != 0 ? "is held, and free for its lessee" : nil
  }

  static func check() -> String? {
    if !cache.checkInvariants() || !HeapBench.segment.checkInvariants() { return String(cString: mp_machine_failure()) }
    let statistics = cache.statistics()
    if statistics.liveItems != UInt(Items.count) {
      return "\(Items.count) items are held, \(statistics.liveItems) count as out"
    }
    let out = cache.itemsOut()
    return out == UInt(Items.count) ? nil : "\(Items.count) items are held, a destroy would count \(out)"
  }
}

/// Threads that lease cells of a slab cache, and put items into cells of others.
let cacheScenarios: [Scenario] = [
  Scenario(
    name: "cache-begin", summary: "2 threads take their first item, one makes the cache's first page",
    bodies: [{ Bench.give(Bench.take()) }, { Bench.give(Bench.take()) }],
    setUp: { Bench.make() }, check: Bench.check, bound: 3, fullBound: 4),
  Scenario(
    name: "cache-remote", summary: "2 threads put what a third took, which takes again until its cell is dry",
    bodies: [
      { for _ in 0..<3 { _ = Bench.take() } }, { Bench.give(items[0]) }, { Bench.give(items[1]) },
    ],
    setUp: {
      Bench.make()
      items = Bench.hold(8, by: 0)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "cache-claim", summary: "2 threads without leases claim in a cell that a third leases, in which others put",
    bodies: [
      { Bench.give(Bench.take()) }, { Bench.give(items[0]) },
      {
        Bench.end()
        Bench.give(items[1])
      },
    ],
    setUp: {
      Bench.make()
      items = Bench.hold(8, by: 2)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "cache-lease", summary: "2 threads lease a cell that nobody leases, in which a third puts",
    bodies: [{ Bench.give(Bench.take()) }, { Bench.give(Bench.take()) }, { Bench.give(items[0]) }],
    setUp: {
      Bench.make()
      items = Bench.hold(4, by: 3)
      HeapBench.as_(3) { Bench.end() }
    }, check: Bench.check, bound: 3, fullBound: 4),
  Scenario(
    name: "cache-stopped",
    summary: "a thread is stopped anywhere while it puts what another took, which takes again; a third puts",
    bodies: [{ for _ in 0..<2 { _ = Bench.take() } }, { Bench.give(items[0]) }, { Bench.give(items[1]) }],
    setUp: {
      Bench.make()
      items = Bench.hold(8, by: 0)
      // They have their records of leases: to make one takes a lock.
      for thread in 1...2 { _ = Bench.hold(1, by: thread) }
    }, check: { mp_machine_stopped() < 0 ? Bench.check() : nil }, bound: 4, fullBound: 6, stoppable: 1),
  Scenario(
    name: "cache-end",
    summary: "a thread ends with items in its leased cell while another puts into it and a third takes",
    bodies: [{ Bench.end() }, { Bench.give(items[0]) }, { _ = Bench.take() }],
    setUp: {
      Bench.make()
      items = Bench.hold(2, by: 0)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "cache-end-dry", summary: "a thread takes the last item of its leased cell and ends; another leases the cell",
    bodies: [
      {
        _ = Bench.take()
        Bench.end()
      }, { _ = Bench.take() },
    ],
    setUp: {
      Bench.make()
      items = Bench.hold(3, by: 0)
    }, check: Bench.check, bound: 8, fullBound: 30),
  Scenario(
    name: "cache-shrink-leased",
    summary: "a thread puts all that another took, and shrinks; the other, which leases the cell, takes",
    bodies: [
      {
        for item in items { Bench.give(item) }
        Bench.shrink()
      }, { _ = Bench.take() },
    ],
    setUp: {
      Bench.make()
      items = Bench.hold(4, by: 1)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "cache-shrink", summary: "a thread shrinks while others put the last items and take",
    bodies: [{ Bench.shrink() }, { Bench.give(items[0]) }, { Bench.give(Bench.take()) }],
    setUp: {
      Bench.make()
      items = Bench.hold(1, by: 0)
    }, check: Bench.check, bound: 3, fullBound: 4),
  Scenario(
    name: "cache-array", summary: "an array is taken from a cell in which others put and take",
    bodies: [
      {
        guard let array = Bench.cache.takeArray(2) else { return }
        let first = UInt(bitPattern: array)
        Items.take(first)
        Items.take(first + 4096)
        Items.give(first)
        Items.give(first + 4096)
        Bench.cache.putArray(array, 2)
      }, { Bench.give(items[0]) }, { Bench.give(items[1]) },
    ],
    setUp: {
      Bench.make()
      items = Bench.hold(8, by: 0)
    }, check: Bench.check, bound: 4, fullBound: 5),
].map { $0.watched(by: Bench.always) }
