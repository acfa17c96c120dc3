/// The threads of a crew take turns at much work: one at a time takes 150 MB (under a sanitizer a third), or what there is, and gives
/// it all back before the next one begins. What one has given back must do for the next: memory for one, not for all.
final class Turns: Scenario {
  static let name = "turns"
  static let summary = "threads take turns at 150 MB of work; the pool must not grow to as much for each"
  static let leastThreads = 20
  static let mustCount: [Counter] = [.allocations, .frees]

  private static let workBytes = Sanitizer.current == .none ? 150_000_000 : 50_000_000

  private let threads: Int
  private let lock = Lock()
  // Under the lock. Goes on from round to round.
  private nonisolated(unsafe) var turn = 0

  init(_ setting: Setting) { threads = setting.threads }

  func work(_ worker: Worker) {
    // The first one has its turn in the shortest round; who has begun, ends.
    repeat {
      let isMine = lock.withLock {
        if turn % threads != worker.index { lock.wait(seconds: 0.05) }
        return turn % threads == worker.index
      }
      guard isMine, !worker.run.hasFailed else { continue }
      takeTurn(worker)
      lock.withLock {
        turn += 1
        lock.signalAll()
      }
    } while worker.step()
  }

  private func takeTurn(_ worker: Worker) {
    while worker.shadow.byteCount < Self.workBytes {
      // Of bytes a fifth in small blocks.
      let isLarge = worker.random.oneIn(50)
      let size =
        isLarge ? worker.random.within(16...256) * Parcel.largeUnit : Sizes.medium(&worker.random)
      guard let block = worker.allocate(size) else { break }
      worker.shadow.add(block)
    }
    worker.run.checkActiveBytes(worker, live: worker.shadow.byteCount)
    while !worker.run.hasFailed, let block = worker.shadow.takeAny(&worker.random) { worker.free(block) }
  }
}
