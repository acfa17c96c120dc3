import Dispatch
import MempoolCore
import Synchronization

/// One scenario at work: its threads, its rounds, its clock, and what went wrong.
///
/// N threads are N serial queues, all of which have met at the start line before any begins, so that N are live. A run that gets fewer
/// is a failure of its own. Between rounds nothing runs, and every pool's invariants are checked.
final class Run: @unchecked Sendable {  // what threads share is atomic or under `lock`; the rest is the driver's
  let scenario: any Scenario.Type
  let setting: Setting
  private(set) var workers: [Worker] = []
  private(set) var pools: [(kind: PoolKind, pool: MemoryPoolPointer)] = []

  private let roundOver = Atomic<Bool>(false)
  private let failed = Atomic<Bool>(false)
  private let lock = Lock()
  private var failures: [String] = []
  private var rounds = 0
  private var liveThreads: Int
  // Then they may still be counting.
  private var threadsAreStuck = false
  private let progress: Progress?

  /// Failures that are told; after the first all threads stop, so more are few.
  private static let failuresKept = 20

  init(_ scenario: any Scenario.Type, _ setting: Setting, progress: Progress?) {
    self.scenario = scenario
    self.setting = setting
    self.progress = progress
    liveThreads = setting.threads
    workers = (0..<setting.threads).map { Worker(index: $0, run: self) }
  }

  /// Whether threads are to return from their work.
  @inline(__always)
  var isRoundOver: Bool { roundOver.load(ordering: .relaxed) }

  var hasFailed: Bool { failed.load(ordering: .relaxed) }

  /// Writes down what is wrong, and ends the round.
  func fail(_ message: String, in worker: Worker? = nil) {
    lock.withLock {
      if failures.count < Self.failuresKept {
        failures.append(worker.map { "thread \($0.index): \(message)" } ?? message)
      }
    }
    failed.store(true, ordering: .relaxed)
    roundOver.store(true, ordering: .relaxed)
  }

  /// Runs the scenario for its seconds, or until something is wrong.
  func perform() -> Outcome {
    let started = monotonicSeconds()
    let scenario = self.scenario.init(setting)
    let queues = workers.indices.map { DispatchQueue(label: "stress.\($0)") }
    do {
      for kind in self.scenario.ownPools ? [.shared] : setting.pools { pools.append((kind, try kind.make())) }
    } catch {
      fail("cannot make a pool: \(error)")
    }

    let roundSeconds = min(max(setting.seconds / 8, 0.2), 2)
    while !hasFailed && (rounds < pools.count || monotonicSeconds() - started < setting.seconds) {
      let (kind, pool) = pools[rounds % pools.count]
      for worker in workers {
        worker.pool = pool
        worker.poolMayExhaust = kind.mayExhaust
      }
      scenario.prepare(round: rounds, self)
      roundOver.store(false, ordering: .relaxed)
      if hasFailed || !performRound(scenario, queues, seconds: roundSeconds, started: started) { break }
      rounds += 1
      if hasFailed { break }
      scenario.settle(self)
      for worker in workers { worker.freeAll() }
      checkInvariants()
    }
    // After a failure the pools are what is to be looked at, not what is to be trusted.
    if !hasFailed { for (kind, pool) in pools where kind != .shared { pool.destroy() } }
    progress?.clear()
    let outcome = outcome(elapsed: monotonicSeconds() - started)
    // They know this run, which knows them.
    if !threadsAreStuck { workers = [] }
    return outcome
  }

  /// The invariants of every pool, and that nothing is lost in it; only when nothing runs and everything has been freed.
  private func checkInvariants() {
    for (kind, pool) in pools where !hasFailed {
      if !pool.isSound() { fail("the \(kind) pool's invariants do not hold after round \(rounds)") }
      let statistics = pool.statisticsAtRest()
      if statistics.allocatedBytes != 0 {
        fail("the \(kind) pool counts \(statistics.allocatedBytes) bytes after round \(rounds) that nobody has")
      }
      if let broken = statistics.brokenInvariant(isQuiescent: true) { fail("the \(kind) pool's statistics: \(broken)") }
    }
  }

  /// False when the threads could not be had, or do not come back.
  private func performRound(
    _ scenario: any Scenario, _ queues: [DispatchQueue], seconds: Double, started: Double
  ) -> Bool {
    let line = StartLine(threads: setting.threads)
    for (worker, queue) in zip(workers, queues) {
      queue.async {
        if line.arrive() { scenario.work(worker) }
        line.leave(worker.index)
      }
    }
    liveThreads = line.open(within: 20 * Sanitizer.current.patience)
    guard liveThreads == setting.threads else { return false }

    let over = monotonicSeconds() + seconds
    while !isRoundOver && monotonicSeconds() < over {
      // A thread that is done before its time has nothing more to do: not a failure.
      let left = line.unfinished(after: min(0.1, max(over - monotonicSeconds(), 0)))
      if left.isEmpty { break }
      progress?.show(self.scenario.name, elapsed: monotonicSeconds() - started, of: setting.seconds, operations)
    }
    roundOver.store(true, ordering: .relaxed)
    let stuck = line.unfinished(after: 60 * Sanitizer.current.patience)
    guard stuck.isEmpty else {
      threadsAreStuck = true
      fail("thread \(stuck.map(String.init).joined(separator: ", ")) did not come back: deadlock or endless loop")
      return false
    }
    return true
  }

  private var operations: UInt64 { workers.reduce(0) { $0 + $1.operations.load(ordering: .relaxed) } }

  private func outcome(elapsed: Double) -> Outcome {
    var counters = Counters()
    if !threadsAreStuck { for worker in workers { counters.add(worker.counters) } }
    return Outcome(
      scenario: scenario.name, setting: setting, liveThreads: liveThreads, elapsed: elapsed, rounds: rounds,
      operations: operations, failures: lock.withLock { failures }, counters: counters, peakBytes: peakResidentBytes())
  }
}
