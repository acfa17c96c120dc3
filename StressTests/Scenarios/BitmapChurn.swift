import MempoolCore

/// A bitmap of a few cells up to a few hundred, claimed from in all ways at once: runs, whole cells, given cells, given
/// items, while it grows.
///
/// Hints and cells are changed by many threads in different orders; when nobody is in a call they must agree to the bit. Every
/// second round looks at that every few operations.
final class BitmapChurn: Scenario {
  static let name = "bitmap"
  static let summary = "runs and whole cells of a growing bitmap, whose hints must agree with its cells in the end"
  static let ownPools = true
  static let leastRounds = 2
  static let mustCount: [Counter] = [.claims, .failedClaims]

  private let threads: Int
  private nonisolated(unsafe) var field: ItemField
  private nonisolated(unsafe) var capacity = 0
  private nonisolated(unsafe) var meeting: Meeting?

  init(_ setting: Setting) {
    threads = setting.threads
    field = ItemField(cellCapacity: 1, itemCount: 1, runLengths: [], strategy: .compareAndSwap, maxRetries: 0)
  }

  func prepare(round: Int, _ run: Run) {
    var random = SplitMix64(seed: run.setting.seed &+ UInt64(round))
    meeting = round % 2 == 1 ? Meeting(threads: threads) : nil
    capacity = round / 2 % 2 == 0 ? random.within(2...8) : random.within(9...300)
    let lengths: [RunLengths] = [
      .one, [.one, .eight, .sixtyFour], .sixtyFour, [], [.two, .four, .sixteen, .thirtyTwo],
    ]
    field = ItemField(
      cellCapacity: capacity, itemCount: random.within(64...capacity * Cell.itemCount),
      runLengths: lengths[round % lengths.count], strategy: round % 3 == 2 ? .exchange : .compareAndSwap,
      maxRetries: UInt(random.below(3)))
  }

  func work(_ worker: Worker) {
    var held: [ItemField.Run] = []
    var heldItems = 0
    // Together a little less than all, so that it is full now and then, and empty now and then.
    let limit = max(64, capacity * Cell.itemCount / threads)
    var goal = limit
    var untilMeeting = 1
    while true {
      let goesOn = worker.step()
      if let meeting {
        untilMeeting -= 1
        if untilMeeting == 0 {
          if !meeting.meet(worker, alone: { checkAgreement(worker) }) { break }
          untilMeeting = worker.random.within(1...30)
        }
      } else if !goesOn {
        break
      }
      if worker.random.oneIn(1024) { goal = worker.random.below(limit + 1) }
      if worker.index == 0 && worker.random.oneIn(512) {
        field.bitmap.grow(toItemCount: field.bitmap.itemCount + worker.random.within(1...100))
      }
      if heldItems < goal {
        guard let claim = claim(worker) else {
          worker.counters[.failedClaims] += 1
          continue
        }
        guard let run = field.take(claim.index, claim.count, isCells: claim.isCells, worker) else { return }
        held.append(run)
        heldItems += run.count
      } else if !held.isEmpty {
        held.swapAt(worker.random.below(held.count), held.count - 1)
        let run = held.removeLast()
        heldItems -= run.count
        if !field.giveBack(run, worker) { return }
      } else {
        worker.idle()
      }
    }
    for run in held where !worker.run.hasFailed { field.giveBack(run, worker) }
  }

  /// One of the ways to claim. Nil: none was free.
  private func claim(_ worker: Worker) -> (index: Int, count: Int, isCells: Bool)? {
    let bitmap = field.bitmap
    let start = worker.random.below(bitmap.cellCount)
    switch worker.random.below(16) {
    case 0:
      let cells = worker.random.within(1...min(5, capacity))
      return bitmap.tryClaimCells(cells, from: start).map { ($0, cells * Cell.itemCount, true) }
    case 1:
      let cells = worker.random.within(1...min(5, capacity))
      let count = worker.random.within((cells - 1) * Cell.itemCount + 1...cells * Cell.itemCount)
      return bitmap.claimCells(cells, trimmedTo: count, from: start).map { ($0, count, true) }
    case 2:
      // The last cell may be growing: its items are not known then.
      guard start + 1 < bitmap.cellCount, bitmap.tryClaim(cell: start) else { return nil }
      return (start * Cell.itemCount, Cell.itemCount, true)
    case 3:
      let count = worker.random.within(1...8)
      let index = start * Cell.itemCount + worker.random.within(0...Cell.itemCount - count)
      return bitmap.tryClaim(run: count, at: index) ? (index, count, false) : nil
    default:
      let count = worker.random.oneIn(4) ? worker.random.within(1...64) : worker.random.within(1...4)
      let claim =
        worker.random.oneIn(2) ? bitmap.tryClaim(run: count, from: start) : bitmap.claim(run: count, from: start)
      guard let claim else { return nil }
      if claim.sawDoubleFree { worker.run.fail("a claim saw a double free that was none", in: worker) }
      return (claim.index, count, false)
    }
  }

  private func checkAgreement(_ worker: Worker) {
    if let index = field.firstDisagreement() {
      worker.run.fail("item \(index) is taken, and nobody has it, or the other way round", in: worker)
    }
    if !field.bitmap.checkInvariants() {
      worker.run.fail("the bitmap's invariants do not hold in mid-round", in: worker)
    }
  }

  func settle(_ run: Run) { field.checkEmpty(run) }
}
