import CMempoolShims
import ModelMachine

@testable import MempoolCore

nonisolated(unsafe) private var objects: [UInt] = []

/// An object pool of 8 objects of 4 KiB, in one cell; what does not fit is not to be had.
private enum Bench {
  nonisolated(unsafe) static var pool = ObjectPoolPointer(bitPattern: 8)!

  static func make() {
    HeapBench.make(owners: 0, isElastic: true)
    for thread in 0..<Int(MP_MODEL_THREADS) {
      HeapBench.as_(thread) { threadBlock().pointee.number = UInt(thread) + 1 }
    }
    let shape = ObjectPool.Shape(itemSize: 4096, stride: 4096, alignment: 16)
    pool = ObjectPoolPointer.make(id: 3, shape, count: 8, name: nil, fallback: .system, in: HeapBench.pool)!
    Names.add(pool)
    pool.firstPage { page in
      Names.add(page, "page 0")
      return true
    }
  }

  static func hold(_ count: Int, by thread: Int) -> [UInt] {
    var objects: [UInt] = []
    HeapBench.as_(thread) { objects = (0..<count).map { _ in take()! } }
    Items.keep()
    return objects
  }

  static func take() -> UInt? {
    guard let object = pool.acquire() else {
      mp_model_note("gets nothing", 0)
      return nil
    }
    Items.take(UInt(bitPattern: object))
    return UInt(bitPattern: object)
  }

  static func give(_ object: UInt?) {
    guard let object else { return }
    Items.give(object)
    ObjectPoolPointer.release(UnsafeMutableRawPointer(bitPattern: object))
  }

  static func end() {
    mp_model_note("ends", 0)
    let block = threadBlock()
    for slot in 0..<Int(MP_THREAD_RECENT) { mp_thread_recent(block)[slot].owner = 0 }
    pool.returnLeases(of: block.pointee.number)
  }

  static func sweep() {
    mp_model_note("sweeps", 0)
    pool.giveBackLeases()
  }

  /// Makes the pool go with its last object, as soon as there is none out.
  static func orphan() {
    mp_model_note("makes it an orphan", 0)
    pool.orphan()
  }

  /// What holds between any two operations: an object is in one place, and a free set has a lessee. Counts follow what they count.
  static func always() -> String? {
    var fault: String?
    pool.firstPage { page in
      for cell in 0..<page.cellCount {
        let taken = page.cell(cell).loadRelaxed(), held = page.held(cell).loadRelaxed()
        if held & ~taken != 0 { fault = "an object free twice: for its lessee, and for all" }
        if held != 0, page.lessee(cell).loadRelaxed() == pool.nobody { fault = "objects held by nobody" }
      }
      return fault != nil
    }
    return fault ?? Items.first(where: whereHeld) ?? HeapBench.always(HeapBench.segment)
  }

  private static func whereHeld(_ address: UInt) -> String? {
    let entry = HeapBench.segment.entry(of: address)
    guard !entry.isSlab, entry.kind == .object, let record = entry.slab.loadPointerRelaxed() else {
      return "is out, in no page"
    }
    let page = record.assumingMemoryBound(to: ObjectPage.self)
    let item = (address - page.pointee.base) / page.pointee.pool.pointee.stride
    if page.cell(item >> 6).loadRelaxed() >> (item & 63) & 1 == 0 { return "is out, and free for all" }
    return page.held(item >> 6).loadRelaxed() >> (item & 63) & 1 != 0 ? "is out, and free for its lessee" : nil
  }

  /// Of a pool that may have gone as an orphan: it is there as long as an object is out, and no longer.
  static func checkOrphan() -> String? {
    // Whoever was last may not have seen that it is one.
    ObjectPools.destroyOrphans()
    let isThere = ObjectPools.isThere(3)
    if isThere != (Items.count > 0) {
      return isThere ? "the pool is still there" : "the pool is gone, with objects out"
    }
    if isThere { return check() }
    return HeapBench.segment.checkInvariants() ? nil : String(cString: mp_machine_failure())
  }

  static func check() -> String? {
    if !pool.checkInvariants() || !HeapBench.segment.checkInvariants() { return String(cString: mp_machine_failure()) }
    let out = pool.objectsOut()
    return out == UInt(Items.count) ? nil : "\(Items.count) objects are held, a destroy would count \(out)"
  }
}

/// Threads that lease cells of an object pool, and release objects into cells of others.
let objectScenarios: [Scenario] =
  objectLeaseScenarios.map { $0.watched(by: Bench.always) } + [
    Scenario(
      name: "object-orphan",
      summary: "a thread acquires an object of a pool and makes it an orphan; another releases one",
      bodies: [
        {
          _ = Bench.take()
          Bench.orphan()
        }, { Bench.give(objects[0]) },
      ],
      setUp: {
        Bench.make()
        objects = Bench.hold(1, by: 0)
        ObjectPools.enter(Bench.pool)
      }, check: Bench.checkOrphan, bound: 3, fullBound: 4),
    Scenario(
      name: "object-last", summary: "2 threads release the last objects of a pool, which one of them makes an orphan",
      bodies: [
        {
          Bench.give(objects[0])
          Bench.orphan()
        }, { Bench.give(objects[1]) },
      ],
      setUp: {
        Bench.make()
        objects = Bench.hold(2, by: 0)
        ObjectPools.enter(Bench.pool)
      }, check: Bench.checkOrphan, bound: 3, fullBound: 4),
  ]

private let objectLeaseScenarios: [Scenario] = [
  Scenario(
    name: "object-begin", summary: "2 threads acquire their first object of a pool",
    bodies: [{ Bench.give(Bench.take()) }, { Bench.give(Bench.take()) }],
    setUp: { Bench.make() }, check: Bench.check, bound: 3, fullBound: 4),
  Scenario(
    name: "object-remote", summary: "2 threads release what a third acquired, which acquires again",
    bodies: [
      { for _ in 0..<2 { _ = Bench.take() } }, { Bench.give(objects[0]) }, { Bench.give(objects[1]) },
    ],
    setUp: {
      Bench.make()
      objects = Bench.hold(8, by: 0)
    }, check: Bench.check, bound: 3, fullBound: 4),
  Scenario(
    name: "object-claim",
    summary: "a thread acquires single objects of a cell that another leases, which acquires and releases",
    bodies: [
      { Bench.give(Bench.take()) },
      {
        Bench.give(objects[0])
        _ = Bench.take()
      },
    ],
    setUp: {
      Bench.make()
      objects = Bench.hold(7, by: 1)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "object-lease", summary: "2 threads lease a cell that nobody leases",
    bodies: [{ Bench.give(Bench.take()) }, { Bench.give(Bench.take()) }],
    setUp: {
      Bench.make()
      objects = Bench.hold(4, by: 3)
      HeapBench.as_(3) { Bench.end() }
    }, check: Bench.check, bound: 3, fullBound: 4),
  Scenario(
    name: "object-end",
    summary: "a thread ends with objects in its leased cell while another releases into it and acquires",
    bodies: [
      {
        Bench.give(objects[1])
        Bench.end()
      },
      {
        Bench.give(objects[0])
        _ = Bench.take()
      },
    ],
    setUp: {
      Bench.make()
      objects = Bench.hold(2, by: 0)
    }, check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "object-end-dry",
    summary: "a thread acquires the last object of its leased cell and ends; another leases the cell",
    bodies: [
      {
        _ = Bench.take()
        Bench.end()
      }, { _ = Bench.take() },
    ],
    setUp: {
      Bench.make()
      objects = Bench.hold(3, by: 0)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "object-sweep", summary: "a thread sweeps while the lessee of the only cell acquires, and releases into it",
    bodies: [
      {
        Bench.sweep()
        _ = Bench.take()
      },
      {
        Bench.give(objects[0])
        Bench.give(Bench.take())
      },
    ],
    setUp: {
      Bench.make()
      objects = Bench.hold(6, by: 1)
    }, check: Bench.check, bound: 3, fullBound: 4),
]
