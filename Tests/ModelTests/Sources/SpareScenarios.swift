@testable import MempoolCore

// The last items of the slabs that become empty.
nonisolated(unsafe) private var items: [UInt] = []

private typealias Bench = HeapBench

// All items of a slab that nobody has taken any of.
private func fill() -> [UInt] {
  let first = Bench.hold(1, Bench.large)
  let record = Bench.segment.entry(of: first[0]).slab.loadPointerRelaxed()!.assumingMemoryBound(to: Slab.self)
  return first + Bench.hold(Int(record.pointee.itemCount) - 1, Bench.large)
}

// Three full slabs; of the first so many one item each is left. Memory that can grow: elsewhere no slab is kept.
private func make(_ count: Int) -> () -> Void {
  {
    Bench.make(owners: 1, isElastic: true)
    let slabs = [fill(), fill(), fill()]
    // The current one stays it while it has room, and is full in the end.
    Bench.give(slabs[2][0])
    for slab in slabs[..<count] { slab.dropFirst().forEach { Bench.give($0) } }
    _ = Bench.hold(1, Bench.large)
    items = slabs[..<count].map { $0[0] }
    Bench.nameSlabs()
  }
}

/// The empty slabs that a heap keeps, which any thread may give back.
let spareScenarios: [Scenario] = [
  Scenario(
    name: "spares",
    summary: "an owner keeps a slab that is empty and takes it again, while another gives back what it keeps",
    bodies: [
      {
        Bench.give(items[0])
        _ = Bench.sureTake(Bench.large)
      }, { Bench.releaseSpares() },
    ],
    setUp: make(1), check: Bench.check, bound: 4, fullBound: 7),
  Scenario(
    name: "spares-rest", summary: "the same with two slabs, of which the owner takes one and leaves the other",
    bodies: [
      {
        Bench.give(items[0])
        Bench.give(items[1])
        _ = Bench.sureTake(Bench.large)
      }, { Bench.releaseSpares() },
    ],
    setUp: make(2), check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "spares-2", summary: "two slabs are kept while two others give back what is kept",
    bodies: [
      {
        Bench.give(items[0])
        Bench.give(items[1])
      }, { Bench.releaseSpares() }, { Bench.releaseSpares() },
    ],
    setUp: make(2), check: Bench.check, bound: 2, fullBound: 4),
  Scenario(
    name: "relieve",
    summary: "full slabs have taken each other's seat so often that their class gets one more; others free",
    bodies: [
      {
        Bench.giveOwn(items[2])
        _ = Bench.sureTake(Bench.large)
        _ = Bench.sureTake(Bench.large)
      }, { Bench.give(items[0]) }, { Bench.give(items[1]) },
    ],
    setUp: {
      Bench.make(owners: 1, isElastic: true)
      let slabs = [fill(), fill()]
      items = [slabs[0][0], slabs[1][0], slabs[0][1]]
      let seat = Bench.segment.entry(of: items[1]).slab.loadPointerRelaxed()!.assumingMemoryBound(to: Slab.self)
      let heap = seat.pointee.heap, sizeClass = Int(seat.pointee.sizeClass)
      heap.pointee.changes[sizeClass] = 255
      heap.pointee.made[sizeClass] = 32
      Bench.nameSlabs()
    }, check: Bench.check, bound: 3, fullBound: 5),
].map { $0.watched(by: Bench.always, changed: Bench.changed) }
