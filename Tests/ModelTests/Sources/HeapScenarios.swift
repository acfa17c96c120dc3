import CMempoolShims
import ModelMachine

@testable import MempoolCore

nonisolated(unsafe) private var items: [UInt] = []

private typealias Bench = HeapBench

// So many threads have a heap, and one of them so many items of full slabs.
private func holding(
  _ count: Int, _ byteCount: UInt = Bench.large, by thread: Int = 0, owners: Int = 1, then: @escaping () -> Void = {}
) -> () -> Void {
  {
    Bench.make(owners: owners)
    items = Bench.hold(count, byteCount, by: thread)
    then()
    Bench.nameSlabs()
  }
}

/// Frees by other threads, and what the owner makes of them.
let heapScenarios: [Scenario] = [
  Scenario(
    name: "remote", summary: "2 threads free an item each of a full slab, of one cell, while its owner takes one",
    bodies: [{ _ = Bench.take(Bench.large) }, { Bench.give(items[0]) }, { Bench.give(items[1]) }],
    setUp: holding(4), check: Bench.check, bound: 6, fullBound: 30),
  Scenario(
    name: "remote-cells", summary: "the same in two cells, and the owner collects twice",
    bodies: [
      {
        Bench.drain()
        Bench.drain()
      }, { Bench.give(items[62]) }, { Bench.give(items[63]) },
    ],
    setUp: holding(64, Bench.small), check: Bench.check, bound: 5, fullBound: 30),
  Scenario(
    name: "remote-3", summary: "3 threads free in two cells of one slab, and nobody collects before they are done",
    bodies: [{ Bench.give(items[0]) }, { Bench.give(items[62]) }, { Bench.give(items[63]) }],
    setUp: holding(64, Bench.small, by: 3, owners: 4), check: Bench.check, bound: 6, fullBound: 30),
  Scenario(
    name: "remote-empties",
    summary: "2 threads free the last items of a slab, which its owner then destroys; another takes its page",
    bodies: [
      {
        Bench.drain()
        Bench.drain()
      },
      {
        Bench.give(items[0])
        Bench.give(items[1])
      },
      {
        Bench.give(items[2])
        Bench.give(items[3])
      },
    ],
    setUp: holding(5), check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "remote-empties-cells",
    summary: "2 threads free the last items of a slab, in two cells, while its owner collects twice",
    bodies: [
      {
        Bench.drain()
        Bench.drain()
      }, { Bench.give(items[62]) }, { Bench.give(items[63]) },
    ],
    setUp: holding(65, Bench.small) {
      for item in items[..<62] { Bench.give(item) }
      Items.keep()
    }, check: Bench.check, bound: 5, fullBound: 30),
  Scenario(
    name: "remote-again",
    summary: "an item is freed by another thread, taken again by the owner, and freed again by a third",
    bodies: [
      { Bench.give(Bench.take(Bench.large)) },
      { Bench.give(items[0]) },
      {
        Bench.give(items[1])
        Bench.give(items[4])
      },
    ],
    setUp: holding(8), check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "two-slabs",
    summary: "items of two slabs are freed in turn while the owner collects, so that a slab is pushed again",
    bodies: [
      {
        Bench.drain()
        Bench.drain()
      },
      {
        Bench.give(items[0])
        Bench.give(items[4])
      },
      {
        Bench.give(items[5])
        Bench.give(items[1])
      },
    ],
    setUp: holding(8), check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "next", summary: "an owner whose slab is full goes on to its next one with room; others free in both",
    bodies: [
      {
        Bench.takeNext(Bench.large)
        _ = Bench.sureTake(Bench.large)
      }, { Bench.give(items[1]) }, { Bench.give(items[5]) },
    ],
    setUp: holding(12) {
      // The first slab, of 4 items, has room and goes to the list; the second one, of 8, is the current one, and full again.
      Bench.give(items[0])
      Bench.give(items[4])
      _ = Bench.hold(1, Bench.large)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "abandon", summary: "a thread ends while another frees an item of its heap",
    bodies: [{ Bench.end() }, { Bench.give(items[0]) }],
    setUp: holding(4), check: Bench.check, bound: 6, fullBound: 30),
  Scenario(
    name: "abandon-2", summary: "the same, and a third thread frees, too",
    bodies: [{ Bench.end() }, { Bench.give(items[0]) }, { Bench.give(items[4]) }],
    setUp: holding(8), check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "abandon-room", summary: "a thread ends that has room in a slab, of which others free the last items",
    bodies: [
      { Bench.end() }, { Bench.give(items[0]) },
      {
        Bench.give(items[1])
        Bench.give(items[2])
      },
    ],
    setUp: holding(3), check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "adopt",
    summary: "a thread ends, another frees an item of its heap, and a third begins: it may adopt the heap",
    bodies: [{ Bench.end() }, { Bench.give(items[0]) }, { _ = Bench.take(Bench.large) }],
    setUp: holding(4), check: Bench.check, bound: 4, fullBound: 5),
  Scenario(
    name: "adopt-2", summary: "2 threads begin while one heap is abandoned, and a third frees an item of it",
    bodies: [{ _ = Bench.take(Bench.large) }, { _ = Bench.take(Bench.large) }, { Bench.give(items[0]) }],
    setUp: holding(4) { Bench.end() }, check: Bench.check, bound: 2, fullBound: 4),
  Scenario(
    name: "walk", summary: "a thread begins, for which a heap is made, while another walks all heaps that there are",
    bodies: [{ _ = Bench.take(Bench.large) }, { Bench.walk() }],
    setUp: {
      Bench.make(owners: 0)
      Bench.nameSlabs()
      Items.keep()
    }, check: Bench.check, bound: 4, fullBound: 8),
  Scenario(
    name: "visit", summary: "2 threads free all items of an abandoned heap, which each may adopt to look after it",
    bodies: [
      {
        Bench.give(items[0])
        Bench.give(items[1])
      },
      {
        Bench.give(items[2])
        Bench.give(items[3])
      },
    ],
    setUp: holding(4, by: 2, owners: 3) { Bench.as_(2) { Bench.end() } }, check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "room", summary: "a thread runs out of a class and may adopt a heap with room in it, in which others free",
    bodies: [
      { _ = Bench.take(Bench.large) },
      { Bench.give(items[0]) },
      { Bench.give(items[1]) },
    ],
    setUp: holding(3, by: 3, owners: 4) { Bench.as_(3) { Bench.end() } }, check: Bench.check, bound: 4, fullBound: 5),
  Scenario(
    name: "beside",
    summary:
      "others free in the current slab, of a heap that its thread has adopted, which looks at that heap's news, too",
    bodies: [
      { _ = Bench.sureTake(Bench.large) },
      {
        Bench.give(items[0])
        Bench.give(items[1])
      },
      { Bench.give(items[2]) },
    ],
    setUp: holding(3, by: 3, owners: 4) {
      Bench.as_(3) { Bench.end() }
      _ = Bench.hold(1, Bench.large)
      Bench.pool.threadHeap()!.samples.storeRelaxed(63)
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "stopped-freer", summary: "a thread is stopped anywhere in a free; the owner and another go on",
    bodies: [
      {
        Bench.give(Bench.sureTake(Bench.large))
        Bench.drain()
      }, { Bench.give(items[0]) }, { Bench.give(items[1]) },
    ],
    setUp: holding(4), check: { mp_machine_stopped() < 0 ? Bench.check() : nil }, bound: 5, fullBound: 8, stoppable: 1),
  Scenario(
    name: "stopped-owner",
    summary: "an owner is stopped anywhere while it collects; others free, and take from heaps of their own",
    bodies: [
      { Bench.drain() },
      {
        Bench.give(items[0])
        Bench.give(Bench.sureTake(Bench.large))
      },
      { Bench.give(items[1]) },
    ],
    setUp: holding(4, owners: 3) { _ = Bench.hold(1, Bench.large, by: 1) },
    check: { mp_machine_stopped() < 0 ? Bench.check() : nil }, bound: 6, fullBound: 30, stoppable: 0),
].map { $0.watched(by: Bench.always, changed: Bench.changed) }
