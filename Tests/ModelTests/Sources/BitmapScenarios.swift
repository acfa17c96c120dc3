import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// A bitmap in the machine's memory, and a word for each item that its holder writes to.
enum BitmapBench {
  nonisolated(unsafe) static var bitmap = AtomicBitmap(
    bareCells: AtomicPointer(address: UInt(bitPattern: mp_machine_memory())), itemCount: 0, wait: wait)
  static var memory: UnsafeMutableRawPointer { mp_machine_memory() }
  static var wait: BoundedWaitPointer { (memory + (64 << 10)).assumingMemoryBound(to: BoundedWait.self) }

  static func word(_ item: Int) -> UInt { UInt(bitPattern: memory) + 128 << 10 + UInt(item) * 8 }

  private static func start() {
    Items.clear()
    wait.initialize(to: BoundedWait())
    Names.add(word(0), 1 << 20) { "item \($0 / 8)" }
    Names.add(UInt(bitPattern: wait), 64) { "wait+\($0)" }
    Names.add(bitmap)
  }

  /// Cells and nothing else.
  static func make(items: Int, strategy: AtomicBitmap.Strategy = .compareAndSwap, taken: [Int] = []) {
    bitmap = AtomicBitmap(
      bareCells: AtomicPointer(address: UInt(bitPattern: memory)), itemCount: items, wait: wait, strategy: strategy)
    start()
    hold(taken)
  }

  static func make(
    items: Int, capacity: Int, hints: RunLengths, strategy: AtomicBitmap.Strategy = .compareAndSwap, taken: [Int] = []
  ) {
    bitmap = AtomicBitmap(
      zeroed: memory, cellCapacity: capacity, runLengths: hints, itemCount: items, wait: wait, strategy: strategy)
    start()
    hold(taken)
  }

  private static func hold(_ items: [Int]) {
    for item in items {
      precondition(bitmap.tryClaim(run: 1, at: item))
      Items.take(word(item))
    }
    Items.keep()
  }

  // By a thread, with what it does to items that it has.
  static func take(_ claim: AtomicBitmap.Claim?, _ count: Int = 1) -> Int? {
    guard let claim else {
      mp_model_note("finds none", 0)
      return nil
    }
    if claim.sawDoubleFree { mp_model_fail("sees a double free that is none") }
    for item in claim.index..<claim.index + count { Items.take(word(item)) }
    return claim.index
  }

  static func release(_ index: Int?, _ count: Int = 1) {
    guard let index else { return }
    for item in index..<index + count { Items.give(word(item)) }
    if bitmap.release(run: count, at: index).wasDouble { mp_model_fail("a release finds its items free") }
  }

  /// Claims and releases once.
  static func turn(_ count: Int = 1, from start: Int = 0) {
    release(take(bitmap.tryClaim(run: count, from: start), count), count)
  }

  /// The same; there is always room for it.
  static func sureTurn(_ count: Int = 1, from start: Int = 0) {
    guard let index = take(bitmap.tryClaim(run: count, from: start), count) else {
      mp_model_fail("finds none, where there is always one")
    }
    release(index, count)
  }

  /// Claims and releases the first items, if they are free: `all` of an empty cell.
  static func turnAtStart(_ count: Int, all: Bool) {
    guard all ? bitmap.tryClaim(firstItems: count, ofEmpty: 0) : bitmap.tryClaim(run: count, at: 0) else {
      return mp_model_note("finds them taken", 0)
    }
    for item in 0..<count { Items.take(word(item)) }
    release(0, count)
  }

  static func takeCells(_ index: Int?, items: Int) -> Int? {
    guard let index else {
      mp_model_note("finds no cells", 0)
      return nil
    }
    for item in stride(from: index, to: index + items, by: Cell.itemCount) { Items.take(word(item)) }
    return index
  }

  static func releaseCells(_ index: Int?, items: Int) {
    guard let index else { return }
    for item in stride(from: index, to: index + items, by: Cell.itemCount) { Items.give(word(item)) }
    if !bitmap.releaseCells(itemCount: items, at: index) { mp_model_fail("a release finds its items free") }
  }

  /// What holds between any two operations: what somebody has is taken. Not how many are, as a claim takes before its thread has
  /// them, and gives back what it took too many of; nor that hints agree, which follow the cells.
  static func always() -> String? {
    let used = bitmap.usedCount()
    if used < Items.count { return "\(Items.count) items are held, \(used) count as taken" }
    if bitmap.itemCount > bitmap.cellCapacity * Cell.itemCount { return "more items than cells" }
    return Items.first { bitmap.isTaken(Int(($0 - word(0)) / 8)) ? nil : "is held, and counts as free" }
  }

  /// Whether exactly what is held is taken, and hints agree. `alsoTaken`: items that no word stands for.
  static func check(alsoTaken: Int = 0) -> String? {
    if !bitmap.checkInvariants() { return "cells and hints disagree" }
    for item in 0..<bitmap.itemCount where Items.isHeld(word(item)) && !bitmap.isTaken(item) {
      return "item \(item) is held, and counts as free"
    }
    let used = bitmap.usedCount()
    return used == Items.count + alsoTaken ? nil : "\(Items.count + alsoTaken) items are held, \(used) count as taken"
  }

  // Of a run of cells only the first item of each has a word.
  static func checkCells() -> String? {
    if !bitmap.checkInvariants() { return "cells and hints disagree" }
    let used = bitmap.usedCount()
    return used == Items.count ? nil : "\(Items.count) items are held, \(used) count as taken"
  }
}

/// One cell of 2 to 4 items.
let cellScenarios: [Scenario] = [
  Scenario(
    name: "cell-swap", summary: "3 threads claim and release by swap, in a cell of 2 items",
    bodies: [{ BitmapBench.turn() }, { BitmapBench.turn() }, { BitmapBench.turn() }],
    setUp: { BitmapBench.make(items: 2) }, check: { BitmapBench.check() }, bound: 8, fullBound: 30),
  Scenario(
    name: "cell-swap-never-fails",
    summary: "2 threads, 2 items: a claim by swap never fails, also when a thread is stopped",
    bodies: [
      {
        BitmapBench.sureTurn()
        BitmapBench.sureTurn()
      },
      {
        BitmapBench.sureTurn()
        BitmapBench.sureTurn()
      },
    ],
    setUp: { BitmapBench.make(items: 2) }, check: { mp_machine_stopped() < 0 ? BitmapBench.check() : nil }, bound: 8,
    fullBound: 30, stoppable: 0),
  Scenario(
    name: "cell-swap-runs", summary: "runs of 2 and of 1 by swap, in a cell of 4 items, 1 of them released meanwhile",
    bodies: [{ BitmapBench.turn(2) }, { BitmapBench.turn() }, { BitmapBench.release(1) }],
    setUp: { BitmapBench.make(items: 4, taken: [1]) }, check: { BitmapBench.check() }, bound: 8, fullBound: 30),
  Scenario(
    name: "cell-at",
    summary: "3 threads claim the same items by swap: one of any, one these, one these of an empty cell",
    bodies: [
      { BitmapBench.turn() }, { BitmapBench.turnAtStart(1, all: false) }, { BitmapBench.turnAtStart(2, all: true) },
    ],
    setUp: { BitmapBench.make(items: 4) }, check: { BitmapBench.check() }, bound: 8, fullBound: 30),
  Scenario(
    name: "cell-exchange", summary: "2 threads claim by exchange, in a cell of 3 items, 1 of them released meanwhile",
    bodies: [{ BitmapBench.turn() }, { BitmapBench.turn() }, { BitmapBench.release(0) }],
    setUp: { BitmapBench.make(items: 3, strategy: .exchange, taken: [0]) }, check: { BitmapBench.check() }, bound: 8,
    fullBound: 30),
  Scenario(
    name: "cell-wait", summary: "a claim by exchange waits, at most 3 times, while another thread holds the cell",
    bodies: [
      {
        BitmapBench.release(BitmapBench.take(BitmapBench.bitmap.claim()))
        if mp_machine_sleeps(0) > 3 { mp_model_fail("sleeps more than 3 times") }
      },
      { BitmapBench.turn() },
    ],
    setUp: { BitmapBench.make(items: 2, strategy: .exchange) },
    check: {
      let wait = BitmapBench.wait
      if wait.sleeps > 3 || wait.failures > 1 { return "\(wait.sleeps) sleeps, \(wait.failures) failures" }
      return mp_machine_stopped() < 0 ? BitmapBench.check() : nil
    }, bound: 8, fullBound: 30, stoppable: 1),
].map { $0.watched(by: BitmapBench.always) }

/// Several cells, and the hints above them.
let bitmapScenarios: [Scenario] = [
  Scenario(
    name: "cells-rollback",
    summary: "2 whole cells are claimed while another thread claims and releases in one of them",
    bodies: [
      { BitmapBench.releaseCells(BitmapBench.takeCells(BitmapBench.bitmap.tryClaimCells(2), items: 128), items: 128) },
      { BitmapBench.turn(from: 1) },
    ],
    setUp: { BitmapBench.make(items: 128) }, check: { BitmapBench.checkCells() }, bound: 8, fullBound: 30),
  Scenario(
    name: "cells-hints", summary: "the same with hints for runs of 1 and of 64, and a third thread in the other cell",
    bodies: [
      { BitmapBench.releaseCells(BitmapBench.takeCells(BitmapBench.bitmap.tryClaimCells(2), items: 128), items: 128) },
      { BitmapBench.turn(64, from: 1) },
      { BitmapBench.turn(64, from: 0) },
    ],
    setUp: { BitmapBench.make(items: 128, capacity: 2, hints: [.one, .sixtyFour]) },
    check: { BitmapBench.checkCells() }, bound: 3, fullBound: 4),
  Scenario(
    name: "hints",
    summary: "the last item of a cell is claimed and released, with a tree of hints of two levels above it",
    bodies: [{ BitmapBench.turn() }, { BitmapBench.release(63) }],
    setUp: { BitmapBench.make(items: 64 * 66, capacity: 66, hints: [.one], taken: Array(0..<64 * 65 + 63)) },
    check: { BitmapBench.check() }, bound: 6, fullBound: 30),
  Scenario(
    name: "hints-3", summary: "the same with three threads and one level",
    bodies: [{ BitmapBench.turn() }, { BitmapBench.turn() }, { BitmapBench.release(0) }],
    setUp: { BitmapBench.make(items: 64, capacity: 1, hints: [.one], taken: Array(0..<63)) },
    check: { BitmapBench.check() }, bound: 4, fullBound: 6),
  Scenario(
    name: "hints-keep", summary: "an item of a full cell is released, and the cell is filled again, for good",
    bodies: [
      { _ = BitmapBench.take(BitmapBench.bitmap.tryClaim(run: 1)) }, { BitmapBench.release(0) },
    ],
    setUp: { BitmapBench.make(items: 128, capacity: 2, hints: [.one], taken: Array(0..<128)) },
    check: { BitmapBench.check() }, bound: 5, fullBound: 30),
  Scenario(
    name: "hints-keep-2", summary: "the same with two levels of hints",
    bodies: [
      { _ = BitmapBench.take(BitmapBench.bitmap.tryClaim(run: 1)) }, { BitmapBench.release(64 * 65) },
    ],
    setUp: { BitmapBench.make(items: 64 * 66, capacity: 66, hints: [.one], taken: Array(0..<64 * 66)) },
    check: { BitmapBench.check() }, bound: 4, fullBound: 8),
  Scenario(
    name: "cells-wait",
    summary: "a claim of 2 cells waits, at most 3 times, while another holds one of them for a moment",
    bodies: [
      {
        BitmapBench.releaseCells(BitmapBench.takeCells(BitmapBench.bitmap.claimCells(2), items: 128), items: 128)
        if mp_machine_sleeps(0) > 3 { mp_model_fail("sleeps more than 3 times") }
      },
      { BitmapBench.turn(64, from: 1) },
    ],
    setUp: { BitmapBench.make(items: 128) },
    check: { mp_machine_stopped() < 0 ? BitmapBench.checkCells() : nil }, bound: 10, fullBound: 30, stoppable: 1),
  Scenario(
    name: "grow", summary: "a bitmap grows by a part of a cell while items of its last cell are claimed and released",
    bodies: [
      {
        // What makes an item's memory accessible comes before.
        mp_model_write(UnsafeMutableRawPointer(bitPattern: BitmapBench.word(2))!, 0)
        BitmapBench.bitmap.grow(toItemCount: 66)
      }, { BitmapBench.turn() }, { BitmapBench.release(0) },
    ],
    setUp: { BitmapBench.make(items: 2, capacity: 2, hints: [.one], taken: [0]) },
    check: { BitmapBench.check() }, bound: 3, fullBound: 4),
].map { $0.watched(by: BitmapBench.always) }
