import ModelMachine

@testable import MempoolCore

nonisolated(unsafe) private var items: [UInt] = []

private typealias Bench = HeapBench

// All four items of a slab of medium objects are held; memory that can grow: elsewhere there is no such slab.
private func make(owners: Int) -> () -> Void {
  {
    Bench.make(owners: owners, isElastic: true)
    items = Bench.hold(4, Bench.medium)
    Bench.nameSlabs()
  }
}

private func giveTwo() {
  Bench.give(items[0])
  Bench.give(items[1])
}

/// Medium objects that others have freed, whose pages go back before their owner collects them.
let uncollectedScenarios: [Scenario] = [
  Scenario(
    name: "returned", summary: "others free medium objects and give their pages back, while the owner takes them again",
    bodies: [
      { _ = Bench.sureTake(Bench.medium) },
      giveTwo,
      { Bench.returnUncollected() },
    ],
    setUp: make(owners: 1), check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "returned-all", summary: "the same with all objects of the slab, which its owner destroys",
    bodies: [
      {
        Bench.drain()
        Bench.drain()
      },
      {
        for item in items { Bench.give(item) }
      },
      { Bench.returnUncollected() },
    ],
    setUp: make(owners: 1), check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "returned-end", summary: "a thread ends while another frees its medium objects, and a third gives pages back",
    bodies: [
      { Bench.end() },
      giveTwo,
      { Bench.returnUncollected() },
    ],
    setUp: make(owners: 1), check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "returned-twice", summary: "two give pages back while a third frees medium objects",
    bodies: [
      { Bench.returnUncollected() },
      giveTwo,
      { Bench.returnUncollected() },
    ],
    setUp: make(owners: 4), check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "returned-full",
    summary: "an owner that has no memory left takes what others have freed, while another gives its pages back",
    bodies: [{ _ = Bench.sureTake(Bench.largestMedium) }, { Bench.returnUncollected() }],
    setUp: {
      Bench.make(owners: 2, isElastic: true, maxRetries: 0)
      items = Bench.fill(Bench.largestMedium)
      for item in items[..<2] { Bench.as_(1) { Bench.give(item) } }
      Items.keep()
      Bench.nameSlabs()
    }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "stopped-returner",
    summary: "a thread is stopped anywhere while it gives pages of medium objects back; the owner and who frees go on",
    bodies: [
      {
        Bench.drain()
        Bench.give(Bench.sureTake(Bench.large))
      },
      giveTwo,
      { Bench.returnUncollected() },
    ],
    setUp: make(owners: 1), check: { mp_machine_stopped() < 0 ? Bench.check() : nil }, bound: 3, fullBound: 5,
    stoppable: 2),
].map { $0.watched(by: Bench.always, changed: Bench.changed) }
