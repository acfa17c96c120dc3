import MempoolCore

/// `AtomicBitmap` with hints, which grows, against an array of what is taken.
struct HintedBitmapDriver {
  private static let cellCapacity = 70
  private static let runLengths: RunLengths = [.one, .eight, .sixtyFour]
  private static let byteCount = AtomicBitmap.byteCount(cellCount: cellCapacity, runLengths: runLengths)
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: byteCount, alignment: 64)
  private static nonisolated(unsafe) let wait: BoundedWaitPointer = {
    let wait = BoundedWaitPointer.allocate(capacity: 1)
    wait.initialize(to: BoundedWait())
    wait.maxRetries = 0
    return wait
  }()

  private let bitmap: AtomicBitmap
  private var taken: [Bool]
  private var runs: [(index: Int, count: Int, isCells: Bool)] = []
  private var input: Input

  static func run(_ input: Input) throws {
    var input = input
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    let itemCount = input.below(4) == 0 ? input.below(64) + 1 : 64 * (1 + input.below(20)) + input.below(2) * 17
    let strategy: AtomicBitmap.Strategy = input.below(2) == 0 ? .compareAndSwap : .exchange
    var driver = HintedBitmapDriver(
      bitmap: AtomicBitmap(
        zeroed: memory, cellCapacity: cellCapacity, runLengths: runLengths, itemCount: itemCount, wait: wait,
        strategy: strategy),
      taken: [Bool](repeating: false, count: itemCount), input: input)
    while !driver.input.isEmpty { try driver.one() }
    while !driver.runs.isEmpty { try driver.release(driver.runs.count - 1) }
    try demand(driver.bitmap.usedCount() == 0, "items stayed")
  }

  private init(bitmap: AtomicBitmap, taken: [Bool], input: Input) {
    self.bitmap = bitmap
    self.taken = taken
    self.input = input
  }

  private mutating func one() throws {
    // Claims are for counts that there can be.
    let count = 1 + input.below(3) * input.byte() % 64
    let start = input.byte() * 4 % max(taken.count, 1)
    switch input.below(8) {
    case 0...2:
      let claim = bitmap.tryClaim(run: min(count, 64), from: start)
      if let claim { try note(claim.index, min(count, 64), false) }
      let hasRoom = taken.indices.contains { isFree($0, min(count, 64), inOneCell: true) }
      try demand(claim != nil || !hasRoom, "a run of \(count) refused")
    case 3:
      let index = start
      let isFree = isFree(index, min(count, 64), inOneCell: true)
      guard index % 64 + min(count, 64) <= 64, index + min(count, 64) <= taken.count else { return }
      try demand(bitmap.tryClaim(run: min(count, 64), at: index) == isFree, "a run at \(index)")
      if isFree { try note(index, min(count, 64), false) }
    case 4:
      let cells = 1 + input.below(6), items = input.below(2) == 0 ? cells * 64 : cells * 64 - input.below(63)
      guard let index = bitmap.tryClaimCells(cells, trimmedTo: items, from: start) else { return }
      try demand(index % 64 == 0, "cells that begin at item \(index)")
      try note(index, items, true)
    case 5:
      let larger = min(taken.count + input.below(200), cellCapacityItems)
      bitmap.grow(toItemCount: larger)
      taken += [Bool](repeating: false, count: larger - taken.count)
      try demand(bitmap.itemCount == taken.count, "\(bitmap.itemCount) items, not \(taken.count)")
    default:
      if !runs.isEmpty { try release(input.below(runs.count)) }
    }
    try compare()
  }

  private var cellCapacityItems: Int { Self.cellCapacity * 64 }

  private func isFree(_ index: Int, _ count: Int, inOneCell: Bool) -> Bool {
    guard index + count <= taken.count, !inOneCell || index % 64 + count <= 64 else { return false }
    return !taken[index..<index + count].contains(true)
  }

  private mutating func note(_ index: Int, _ count: Int, _ isCells: Bool) throws {
    try demand(index >= 0 && isFree(index, count, inOneCell: false), "items \(index)..<\(index + count) taken twice")
    for item in index..<index + count { taken[item] = true }
    runs.append((index, count, isCells))
  }

  private mutating func release(_ place: Int) throws {
    let run = runs.remove(at: place)
    for item in run.index..<run.index + run.count { taken[item] = false }
    let wereTaken =
      run.isCells
      ? bitmap.releaseCells(itemCount: run.count, at: run.index)
      : !bitmap.release(run: run.count, at: run.index).wasDouble
    try demand(wereTaken, "items are not taken")
  }

  private func compare() throws {
    try demand(bitmap.checkInvariants(), "hints disagree")
    for (item, isTaken) in taken.enumerated() {
      try demand(bitmap.isTaken(item) == isTaken, "item \(item) is \(isTaken ? "free" : "taken")")
    }
  }
}
