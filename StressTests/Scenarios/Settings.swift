import MempoolCore

/// The process's own pool, which is what the drop-in malloc is, with what the environment may ask of it: each level of hardening, sampled
/// guards, and what else changes its ways. `mixed` and two others of the main scenarios, in a process of its own for each.
final class Settings: Scenario {
  static let name = "settings"
  static let summary =
    "the main scenarios on the shared pool under MEMPOOL_HARDEN, MEMPOOL_GUARD_SAMPLE and other variables"
  static let ownPools = true
  static let everyThreadWorks = false
  static let mustCount: [Counter] = [.processes]

  static let environments: [[String]] = [
    ["MEMPOOL_HARDEN=1"], ["MEMPOOL_HARDEN=2"], ["MEMPOOL_HARDEN=3"], ["MEMPOOL_GUARD_SAMPLE=20"],
    ["MEMPOOL_GUARD_SAMPLE=7", "MEMPOOL_GUARD_SLOTS=8"], ["MEMPOOL_SMALL=dense"],
    ["MEMPOOL_PURGE_THREAD=0"], ["MEMPOOL_PURGE_DELAY=0"], ["MEMPOOL_RESERVE=8M", "MPMAXRETRIES=0"],
  ]
  private static let others = [
    SlabChurn.name, RemoteFrees.name, ProducerConsumer.name, HandOver.name, Logger.name, ThreadChurn.name,
    ShortThreads.name, Adoption.name, Preempted.name, SignalHandlers.name, ReallocPingPong.name, CacheChurn.name,
    CacheLifecycle.name, ForkUnderLoad.name, Refused.name, Idle.name,
  ]

  private let seconds: Double
  private let lock = Lock()
  // Under the lock.
  private nonisolated(unsafe) var turn = 0

  init(_ setting: Setting) { seconds = max(0.6, setting.seconds / Double(Self.environments.count)) }

  func work(_ worker: Worker) {
    guard worker.index < 2 else { return }
    while !worker.run.hasFailed {
      let mine = lock.withLock {
        turn += 1
        return turn - 1
      }
      // Each has its turn, however short the time is.
      if mine >= Self.environments.count && worker.run.isRoundOver { return }
      runProcess(Self.environments[mine % Self.environments.count], worker)
      _ = worker.step()
    }
  }

  private func runProcess(_ environment: [String], _ worker: Worker) {
    var others = Self.others.shuffled(using: &worker.random).prefix(2)
    // Without a purger an idle process is another one.
    if environment == ["MEMPOOL_PURGE_THREAD=0"] { others = [Idle.name] }
    let names = ([Mixed.name] + others).joined(separator: ",")
    let seed = worker.random.next()
    let arguments = [
      "--scenario", names, "--pool", PoolKind.shared.rawValue, "--threads", "\(worker.run.setting.threads)",
      "--seconds",
      "\(seconds)", "--seed", "\(seed)",
    ]
    let result = OwnProcess.run(
      arguments, environment: environment, seconds: (seconds + 60) * Sanitizer.current.patience)
    worker.counters[.processes] += 1
    if !result.isClean {
      let line = (environment + ["mempool-stress"] + arguments).joined(separator: " ")
      worker.run.fail("\(line): \(result.description)")
    }
    worker.count(Self.operations(result.output))
  }

  /// What a process did: "mixed: ok, 123 operations in 4.9 s, 3 rounds".
  private static func operations(_ output: String) -> UInt64 {
    output.split(separator: "\n").reduce(0) { sum, line in
      let words = line.split(separator: " ")
      guard words.count > 3, words[1] == "ok,", words[3] == "operations" else { return sum }
      return sum + (UInt64(words[2]) ?? 0)
    }
  }
}
