import Glibc
import MempoolCore

/// A burst, and then nobody calls anything: what the burst took must go back to the system, and be there for the next one.
///
/// By the purger after a delay of 20 ms, at once by whoever frees it, or by a call of `purge()`: two rounds each. Then it must stay so for an
/// eighth of the scenario's seconds, at most a minute, and nobody, the purger included, may do anything worth mentioning. With
/// `MEMPOOL_PURGE_THREAD=0` in the environment, and for a single thread, there is no purger: what is beyond a budget is lent to
/// the system at once, and what stays lent goes when somebody comes by after the delay.
final class Idle: Scenario {
  static let name = "idle"
  static let summary = "after a burst nobody calls anything, and its memory must go back to the system"
  static let ownPools = true
  static let leastRounds = 6
  static let mustCount: [Counter] = [.allocations, .frees, .purges]

  private let threads: Int
  private let hasPurger: Bool
  private nonisolated(unsafe) var round = 0
  private nonisolated(unsafe) var pool: MemoryPoolPointer?
  private nonisolated(unsafe) var gate: Gate

  init(_ setting: Setting) {
    threads = setting.threads
    hasPurger = threads > 1 && getenv("MEMPOOL_PURGE_THREAD").map { String(cString: $0) } != "0"
    gate = Gate(threads: setting.threads)
  }

  deinit { pool?.destroy() }

  private var delay: UInt { [20, 0, 3_600_000][round / 2 % 3] }

  func prepare(round: Int, _ run: Run) {
    self.round = round
    guard pool == nil else { return }
    var options = PoolOptions()
    options.purgeDelayMilliseconds = delay
    if round / 6 % 2 == 1 { options.smallObjects = .dense }
    do { pool = try .create(options) } catch { run.fail("cannot make a pool: \(error)") }
  }

  func work(_ worker: Worker) {
    guard let pool else { return }
    worker.pool = pool
    while worker.shadow.byteCount < burstBytes / threads {
      guard let block = worker.allocate(Sizes.medium(&worker.random)) else { break }
      worker.shadow.add(block)
      _ = worker.step()
    }
    gate.pass()
    while let block = worker.shadow.takeAny(&worker.random) { worker.free(block) }
  }

  private var burstBytes: Int { max(64 << 20, threads * (8 << 20)) }

  /// A thread keeps a slab of at most 64 KiB of each size that it used, though what it touched of it may be little, and another few.
  private var mostBytes: Int { (2 << 20) + threads * (7 << 19) }

  func settle(_ run: Run) {
    guard let pool, !run.hasFailed else { return }
    if delay > 1000 {
      pool.purge()
      run.workers[0].counters[.purges] += 1
    }
    let deadline = monotonicSeconds() + 10 * Sanitizer.current.patience
    while idleBytes(pool) > mostBytes && monotonicSeconds() < deadline {
      usleep(2000)
      // Lent memory counts as kept.
      if !hasPurger { pool.deallocate(pool.allocate(100_000)) }
    }
    if idleBytes(pool) > mostBytes {
      run.fail(
        "\(idleBytes(pool)) bytes are kept after a burst, with a delay of \(delay) ms; at most \(mostBytes) should be")
    }
    stayIdle(pool, seconds: min(60, run.setting.seconds / 8), run)
    if !pool.checkInvariants() { run.fail("the pool's invariants do not hold") }
    guard round % 2 == 1, !run.hasFailed else { return }
    pool.destroy()
    self.pool = nil
  }

  private func stayIdle(_ pool: MemoryPoolPointer, seconds: Double, _ run: Run) {
    let kept = idleBytes(pool), before = processorSeconds(), over = monotonicSeconds() + seconds
    while monotonicSeconds() < over { usleep(useconds_t(min(seconds, 1) * 1e6)) }
    let used = processorSeconds() - before
    // A twentieth, and what a sanitizer does in the background.
    if used > seconds / 20 + 0.1 { run.fail("\(used) s of processor time were used in \(seconds) s of idling") }
    if idleBytes(pool) > max(kept, mostBytes) {
      run.fail("\(idleBytes(pool)) bytes are kept, and were \(kept), after idling")
    }
  }

  private func processorSeconds() -> Double {
    var used = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used)
    return Double(used.tv_sec) + Double(used.tv_nsec) / 1e9
  }

  private func idleBytes(_ pool: MemoryPoolPointer) -> Int {
    let statistics = pool.statisticsAtRest()
    return Int(statistics.committedBytes) - Int(statistics.metadataBytes)
  }
}
