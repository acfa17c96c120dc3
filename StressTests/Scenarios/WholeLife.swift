import Glibc
import MempoolCore
import Synchronization

/// Processes from their first allocation to their last: 64 threads make the first call of all at the same moment, and `atexit` handlers
/// allocate and free while other threads go on.
///
/// Each is a process of its own, under an environment that chance chooses. Two workers start them.
final class WholeLife: Scenario {
  static let name = "whole-life"
  static let summary =
    "64 threads make the process's first allocation at once; exit handlers allocate while others go on"
  static let ownPools = true
  static let everyThreadWorks = false
  static let mustCount: [Counter] = [.processes]

  static let environments: [[String]] = [
    [], ["MEMPOOL_HARDEN=1"], ["MEMPOOL_HARDEN=2"], ["MEMPOOL_HARDEN=3"], ["MEMPOOL_GUARD_SAMPLE=3"],
    ["MEMPOOL_SMALL=dense"], ["MEMPOOL_FIXED=64M", "MEMPOOL_PREFAULT=0"], ["MEMPOOL_PURGE_DELAY=0"],
    ["MEMPOOL_PURGE_THREAD=0"], ["MEMPOOL_RESERVE=2M"],
    ["MEMPOOL_SHOW_STATS=json", "MEMPOOL_STATS_FILE=/dev/null"],
  ]

  init(_ setting: Setting) {}

  func work(_ worker: Worker) {
    guard worker.index < 2 else { return }
    repeat {
      let environment = Self.environments.randomElement(using: &worker.random)!
      let seed = "\(worker.random.next())"
      let result = OwnProcess.run(
        FirstToLast.self, [seed], environment: environment, seconds: 20 * Sanitizer.current.patience)
      worker.counters[.processes] += 1
      if !result.isClean {
        let variables = environment.joined(separator: " ")
        worker.run.fail(
          "a process (\(variables) \(OwnProcess.errandOption) \(FirstToLast.name) \(seed)): \(result.description)")
      }
    } while worker.step() && !worker.run.hasFailed
  }
}

/// That process.
enum FirstToLast: Errand {
  static let name = "first-to-last"

  private static let racers = 64
  private static let survivors = 4

  // Touched by the thread that exits alone: what it hands from handler to handler.
  nonisolated(unsafe) private static var atExit = Holding(capacity: 256, owner: 0xff_ffff)
  nonisolated(unsafe) private static var handlersRun = 0
  // The last of the threads' troubles.
  private static let trouble = Atomic<Int>(0)

  private enum Trouble: Int {
    case noCache = 1
    case noItem, noPool, noMemory, overwritten
  }

  private static func note(_ what: Trouble) { trouble.store(what.rawValue, ordering: .relaxed) }

  static func perform(_ arguments: [String]) -> String? {
    guard let seed = arguments.first.flatMap({ UInt64($0) }) else { return "no seed" }
    _ = atExit.count
    // Registered before the allocator's own handlers, so they run after them.
    for _ in 0..<2 { atexit { FirstToLast.allocateLate(isLast: FirstToLast.handlersRun == 3) } }
    let shot = StartShot(threads: racers), gate = Gate(threads: racers)
    let goesOn = Gate(threads: survivors + 1)
    var threads: [OwnThread] = []
    for index in 0..<racers {
      let thread = OwnThread {
        live(index, seed, shot, gate)
        if index < survivors {
          goesOn.pass()
          liveOn(index, seed)
        }
      }
      guard let thread else { return "no thread could be started" }
      threads.append(thread)
    }
    for thread in threads.dropFirst(survivors) { thread.join() }
    goesOn.pass()
    for thread in threads.prefix(survivors) { thread.detach() }
    for _ in 0..<100 where !atExit.allocate(100, from: .shared) { return "no memory" }
    // And after them.
    for _ in 0..<2 { atexit { FirstToLast.allocateLate(isLast: false) } }
    return Trouble(rawValue: trouble.load(ordering: .relaxed)).map { "a thread's trouble: \($0)" }
  }

  /// One of 64: the first call is one of several, and all of them at once.
  private static func live(_ index: Int, _ seed: UInt64, _ shot: StartShot, _ gate: Gate) {
    var random = SplitMix64(seed: mix(seed &+ UInt64(index)))
    var holding = Holding(capacity: 64, owner: index)
    defer { holding.deallocateTable() }
    let pool = MemoryPoolPointer.shared
    shot.wait()
    switch index % 8 {
    case 0: pool.deallocate(nil)
    case 1: _ = pool.statistics()
    case 2: pool.purge()
    case 3:
      if let cache = try? pool.makeCache(itemSize: 64) {
        if let item = cache.take() { cache.put(item) } else { note(.noItem) }
        cache.destroy()
      } else {
        note(.noCache)
      }
    case 4:
      if let own = try? PoolKind.own.make(), holding.allocate(1000, from: own) {
        holding.freeAll(to: own)
        own.destroy()
      } else {
        note(.noPool)
      }
    default: break
    }
    for _ in 0..<16 where !holding.allocate(Sizes.medium(&random), from: pool) { note(.noMemory) }
    // What two have been given shows when both have written to it.
    gate.pass()
    for _ in 0..<8 { holding.freeAny(to: pool, &random) }
    for _ in 0..<8 where !holding.allocate(Sizes.medium(&random), from: pool) { note(.noMemory) }
    holding.freeAll(to: pool)
    if holding.wrong != nil { note(.overwritten) }
  }

  /// Until the process is gone.
  private static func liveOn(_ index: Int, _ seed: UInt64) {
    var random = SplitMix64(seed: mix(seed &+ UInt64(index)))
    var holding = Holding(capacity: 200, owner: index)
    while true {
      if random.oneIn(2) {
        holding.allocate(Sizes.medium(&random), from: .shared)
      } else {
        holding.freeAny(to: .shared, &random)
      }
      if let wrong = holding.wrong {
        writeError("while the process exits: \(wrong)\n")
        _exit(ExitCode.checkFailed.rawValue)
      }
    }
  }

  /// In an exit handler, while other threads go on.
  private static func allocateLate(isLast: Bool) {
    handlersRun += 1
    var random = SplitMix64(seed: UInt64(handlersRun))
    for _ in 0..<50 { atExit.freeAny(to: .shared, &random) }
    for _ in 0..<50 where !atExit.allocate(Sizes.medium(&random), from: .shared) { atExit.note("no memory") }
    if isLast { atExit.freeAll(to: .shared) }
    guard let wrong = atExit.wrong else { return }
    writeError("in an exit handler: \(wrong)\n")
    _exit(ExitCode.checkFailed.rawValue)
  }
}
