import MempoolCore
import Synchronization

/// One scenario at work: its threads, its rounds, its clock, and what went wrong.
///
/// Its N threads, which last as long as it does, have all met at the start line before any begins a round, so that N are live. A run that gets
/// fewer is a failure of its own. Between rounds nothing runs, and what every pool has is checked: see Run+Checks.swift.
final class Run: @unchecked Sendable {  // what threads share is atomic or under `lock`; the rest is the driver's
  let scenario: any Scenario.Type
  let setting: Setting
  private(set) var workers: [Worker] = []
  private(set) var pools: [(kind: PoolKind, pool: MemoryPoolPointer)] = []

  private let roundOver = Atomic<Bool>(false)
  private let failed = Atomic<Bool>(false)
  private let lock = Lock()
  private var failures: [String] = []
  private var skipped: [String] = []
  private(set) var rounds = 0
  private var liveThreads: Int
  // Then they may still be counting.
  private var threadsAreStuck = false
  private let progress: Progress?

  /// Failures that are told; after the first all threads stop, so more are few.
  private static let failuresKept = 20

  init(_ scenario: any Scenario.Type, _ setting: Setting, progress: Progress?) {
    var setting = setting
    setting.threads = max(setting.threads, scenario.leastThreads)
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

  /// Writes down what this machine does not allow, and why: it is told with the result, and counted.
  func skip(_ what: String) {
    lock.withLock { if !skipped.contains(what) { skipped.append(what) } }
  }

  /// Which of `count` ways of doing it is `round`'s turn: each pass over the pools has all of them, and in as many passes each
  /// pool has had each.
  func variant(_ round: Int, of count: Int) -> Int { (round % pools.count + round / pools.count) % count }

  /// Runs the scenario for its seconds, or until something is wrong.
  func perform() -> Outcome {
    let started = monotonicSeconds()
    let scenario = self.scenario.init(setting)
    let crew = Crew(count: workers.count)
    do {
      for kind in self.scenario.ownPools ? [.shared] : setting.pools { pools.append((kind, try kind.make())) }
    } catch {
      fail("cannot make a pool: \(error)")
    }

    let roundSeconds = min(max(setting.seconds / 8, 0.2), 2)
    let leastRounds = max(pools.count, self.scenario.leastRounds)
    while !hasFailed && (rounds < leastRounds || monotonicSeconds() - started < setting.seconds) {
      let (kind, pool) = pools[rounds % pools.count]
      for worker in workers {
        worker.pool = pool
        worker.poolMayExhaust = kind.mayExhaust
      }
      scenario.prepare(round: rounds, self)
      roundOver.store(false, ordering: .relaxed)
      if hasFailed || !performRound(scenario, crew, seconds: roundSeconds, started: started) { break }
      rounds += 1
      if hasFailed { break }
      scenario.settle(self)
      checkBlocks(in: pool)
      for worker in workers { worker.freeAll() }
      checkInvariants(of: pool, kind)
    }
    checkCounts()
    // After a failure the pools are what is to be looked at, not what is to be trusted.
    if !hasFailed { for (kind, pool) in pools where kind != .shared { pool.destroy() } }
    progress?.clear()
    let outcome = outcome(elapsed: monotonicSeconds() - started)
    // They know this run, which knows them.
    if !threadsAreStuck {
      crew.dismiss()
      workers = []
    }
    return outcome
  }

  /// False when the threads could not be had, or do not come back.
  private func performRound(
    _ scenario: any Scenario, _ crew: Crew, seconds: Double, started: Double
  ) -> Bool {
    let line = StartLine(threads: setting.threads)
    let before = workers.map { $0.operations.load(ordering: .relaxed) }
    crew.perform { [workers] index in
      if line.arrive() { scenario.work(workers[index]) }
      line.leave(index)
    }
    liveThreads = line.open(within: 20 * Sanitizer.current.patience)
    guard liveThreads == setting.threads else { return false }

    // Beside other programs a thread may get no processor for as long as a round takes: a minute more, then.
    func idle() -> [Worker] {
      guard self.scenario.everyThreadWorks else { return [] }
      return zip(workers, before).filter { $0.operations.load(ordering: .relaxed) == $1 }.map { $0.0 }
    }
    let over = monotonicSeconds() + seconds, late = over + 60 * Sanitizer.current.patience
    while !isRoundOver, monotonicSeconds() < over || monotonicSeconds() < late && !idle().isEmpty {
      // A thread that is done before its time has nothing more to do: not a failure.
      let left = line.unfinished(after: min(0.1, max(over - monotonicSeconds(), 0.01)))
      if left.isEmpty { break }
      progress?.show(self.scenario.name, elapsed: monotonicSeconds() - started, of: setting.seconds, operations)
    }
    roundOver.store(true, ordering: .relaxed)
    let stuck = stuckThreads(line)
    guard stuck.isEmpty else {
      threadsAreStuck = true
      fail("thread \(stuck.map(String.init).joined(separator: ", ")) did not come back: deadlock or endless loop")
      return false
    }
    for worker in idle() where !hasFailed { fail("has done nothing in round \(rounds)", in: worker) }
    return true
  }

  /// Those that do not come back although the round is over, and nothing has been done for a minute. Where something is done, what they lack is
  /// a processor: for ten minutes at most.
  private func stuckThreads(_ line: StartLine) -> [Int] {
    for _ in 0..<10 {
      let before = operations
      let stuck = line.unfinished(after: 60 * Sanitizer.current.patience)
      if stuck.isEmpty || operations == before { return stuck }
    }
    return line.unfinished(after: 0)
  }

  private var operations: UInt64 { workers.reduce(0) { $0 + $1.operations.load(ordering: .relaxed) } }

  /// What all threads have counted; nothing while some may still be counting.
  var counters: Counters {
    var counters = Counters()
    if !threadsAreStuck { for worker in workers { counters.add(worker.counters) } }
    return counters
  }

  private func outcome(elapsed: Double) -> Outcome {
    return Outcome(
      scenario: scenario.name, setting: setting, liveThreads: liveThreads, elapsed: elapsed, rounds: rounds,
      operations: operations, failures: lock.withLock { failures }, skipped: lock.withLock { skipped },
      counters: counters,
      peakBytes: peakResidentBytes())
  }
}
