import Testing

@testable import MempoolCore

/// Random operations against an array of flags. A failure prints the seed that replays it.
@Suite struct AtomicBitmapModelTests {
  private struct Held {
    var index: Int
    var count: Int
  }

  /// The plain reference: one flag an item.
  private struct Model {
    var taken: [Bool]

    func isFree(_ range: Range<Int>) -> Bool {
      range.upperBound <= taken.count && !taken[range].contains(true)
    }

    /// Whether a run of `count` free items lies somewhere within a cell.
    func hasRun(_ count: Int) -> Bool {
      var free = 0
      for index in taken.indices {
        if index % 64 == 0 { free = 0 }
        free = taken[index] ? 0 : free + 1
        if free >= count { return true }
      }
      return false
    }

    /// Whether `cells` cells in a row are empty, of which only the first `items` items are needed, or must even exist.
    func hasCells(_ cells: Int, _ items: Int) -> Bool {
      var first = 0
      while first + items <= taken.count {
        if isFree(first..<min(taken.count, first + cells * 64)) { return true }
        first += 64
      }
      return false
    }

    mutating func set(_ held: Held, _ value: Bool) {
      for index in held.index..<held.index + held.count { taken[index] = value }
    }
  }

  @Test(arguments: AtomicBitmapTests.strategies, AtomicBitmapTests.hintSets)
  func randomOperations(_ strategy: AtomicBitmap.Strategy, _ hints: RunLengths) {
    let seed = SplitMix64.seed("AtomicBitmapModelTests \(strategy) \(hints.rawValue)")
    var random = SplitMix64(seed: seed)
    for _ in 0..<60 {
      let capacity = 1 + random.below(12 * 64)
      let size = 1 + random.below(capacity)
      if !run(&random, strategy, hints, size: size, capacity: capacity) { return }
    }
    // Two levels of hints.
    _ = run(&random, strategy, hints, size: 70 * 64, capacity: 70 * 64 + 5)
  }

  private func run(
    _ random: inout SplitMix64, _ strategy: AtomicBitmap.Strategy, _ hints: RunLengths, size: Int, capacity: Int
  ) -> Bool {
    let test = TestBitmap(items: size, capacity: capacity, runLengths: hints, strategy: strategy)
    let bitmap = test.bitmap
    var model = Model(taken: [Bool](repeating: false, count: size))
    var held: [Held] = []
    func fail(_ what: String) -> Bool {
      Issue.record("\(what); \(held.count) held of \(model.taken.count) items")
      return false
    }
    // Takes what was claimed into the model; false when it was not free or did not exist.
    func took(_ new: Held) -> Bool {
      guard new.index >= 0, model.isFree(new.index..<new.index + new.count) else { return false }
      model.set(new, true)
      held.append(new)
      return true
    }
    for step in 0..<300 {
      let count = random.below(3) == 0 ? 1 + random.below(64) : 1 + random.below(8)
      let start = random.below(capacity / 64 + 3) - 1
      switch random.below(step % 100 < 60 ? 10 : 16) {
      case 0..<5:
        if let claim = bitmap.tryClaim(run: count, from: start) {
          guard took(Held(index: claim.index, count: count)) else { return fail("claimed what was not free") }
          guard claim.index / 64 == (claim.index + count - 1) / 64 else { return fail("a run crosses a cell") }
        } else if model.hasRun(count) {
          return fail("a run of \(count) was not found")
        }
      case 5..<7:
        let cells = 1 + random.below(5)
        let items = random.below(2) == 0 ? cells * 64 : (cells - 1) * 64 + 1 + random.below(64)
        if let index = bitmap.tryClaimCells(cells, trimmedTo: items == cells * 64 ? nil : items, from: start) {
          guard index % 64 == 0, took(Held(index: index, count: items)) else { return fail("claimed taken cells") }
        } else if model.hasCells(cells, items) {
          return fail("\(cells) cells were not found")
        }
      case 7:
        let index = random.below(model.taken.count)
        let items = 1 + random.below(64 - index % 64)
        let isFree = model.isFree(index..<index + items)
        guard bitmap.tryClaim(run: items, at: index) == isFree else { return fail("claim at \(index)") }
        if isFree { _ = took(Held(index: index, count: items)) }
      case 8:
        let cell = random.below(bitmap.cellCount)
        let items = bitmap.itemCount(ofCell: cell)
        let isFree = model.isFree(cell * 64..<cell * 64 + items)
        guard bitmap.tryClaim(cell: cell) == isFree else { return fail("claim of cell \(cell)") }
        if isFree { _ = took(Held(index: cell * 64, count: items)) }
      case 9:
        let larger = min(capacity, model.taken.count + random.below(70))
        bitmap.grow(toItemCount: larger)
        model.taken += [Bool](repeating: false, count: larger - model.taken.count)
      default:
        guard !held.isEmpty else { continue }
        let last = held.swapRemove(at: random.below(held.count))
        if last.index % 64 == 0, last.count > 64 || random.below(4) == 0 {
          guard bitmap.releaseCells(itemCount: last.count, at: last.index) else { return fail("release of cells") }
        } else {
          let cell = model.taken[last.index & ~63..<min(model.taken.count, last.index | 63 + 1)]
          let release = bitmap.release(run: last.count, at: last.index)
          guard !release.wasDouble, release.previous.nonzeroBitCount == cell.count(where: { $0 }) else {
            return fail("release")
          }
        }
        model.set(last, false)
      }
      guard bitmap.itemCount == model.taken.count else { return fail("size") }
      guard bitmap.usedCount() == model.taken.count(where: { $0 }) else { return fail("used count") }
      guard bitmap.checkInvariants() else { return fail("invariants") }
    }
    guard test.taken == model.taken.indices.filter({ model.taken[$0] }) else { return fail("items") }
    for held in held {
      var index = held.index
      while index < held.index + held.count {
        let count = min(64 - index % 64, held.index + held.count - index)
        guard !bitmap.release(run: count, at: index).wasDouble else { return fail("release at the end") }
        index += count
      }
    }
    return bitmap.usedCount() == 0 && bitmap.checkInvariants() ? true : fail("not empty at the end")
  }
}

extension Array {
  fileprivate mutating func swapRemove(at index: Int) -> Element {
    swapAt(index, count - 1)
    return removeLast()
  }
}
