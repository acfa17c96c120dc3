import MempoolCore

/// Claims against frees on one cell: 64 items, or 10, and every thread.
///
/// Rounds go through both strategies, single items and runs. Single items by compare-and-swap: each thread holds so few that there is
/// always a free one, so no claim may fail.
final class OneCell: Scenario {
  static let name = "one-cell"
  static let summary = "claims against frees on one cell, by compare-and-swap and by exchange"
  static let ownPools = true
  static let leastRounds = 4
  static let mustCount: [Counter] = [.claims, .failedClaims]

  private let threads: Int
  private nonisolated(unsafe) var field: ItemField
  private nonisolated(unsafe) var itemCount = 64
  private nonisolated(unsafe) var longestRun = 1
  private nonisolated(unsafe) var strategy = AtomicBitmap.Strategy.compareAndSwap

  init(_ setting: Setting) {
    threads = setting.threads
    field = Self.field(64, .compareAndSwap)
  }

  private static func field(_ itemCount: Int, _ strategy: AtomicBitmap.Strategy) -> ItemField {
    ItemField(cellCapacity: 1, itemCount: itemCount, runLengths: [], strategy: strategy, maxRetries: 0)
  }

  func prepare(round: Int, _ run: Run) {
    itemCount = round / 4 % 2 == 0 ? 64 : 10
    longestRun = round / 2 % 2 == 0 ? 1 : itemCount
    strategy = round % 2 == 0 ? .compareAndSwap : .exchange
    field = Self.field(itemCount, strategy)
  }

  func work(_ worker: Worker) {
    let limit = max(1, itemCount / threads)
    let mustSucceed = longestRun == 1 && strategy == .compareAndSwap && limit * threads <= itemCount
    var held: [ItemField.Run] = []
    while worker.step() {
      if held.count < limit && worker.random.oneIn(2) {
        // Short runs more often than long ones.
        let count = longestRun == 1 ? 1 : 1 + worker.random.below(1 + worker.random.below(longestRun))
        guard let claim = field.bitmap.tryClaim(run: count) else {
          worker.counters[.failedClaims] += 1
          if mustSucceed { worker.run.fail("no free item in a cell that cannot be full", in: worker) }
          continue
        }
        if claim.sawDoubleFree { worker.run.fail("a claim saw a double free that was none", in: worker) }
        guard let run = field.take(claim.index, count, worker) else { return }
        held.append(run)
      } else if !held.isEmpty {
        held.swapAt(worker.random.below(held.count), held.count - 1)
        if !field.giveBack(held.removeLast(), worker) { return }
      }
    }
    for run in held where !worker.run.hasFailed { field.giveBack(run, worker) }
  }

  func settle(_ run: Run) { field.checkEmpty(run) }
}
