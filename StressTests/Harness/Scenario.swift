/// One kind of load, made of rounds: `prepare`, then `work` on every thread at once, then `settle`, again and again.
///
/// A new one is a file in Scenarios/ and a line in ``scenarios``.
protocol Scenario: AnyObject, Sendable {
  static var name: String { get }
  /// One line for `--list`: which race it looks for.
  static var summary: String { get }
  /// Whether it makes its own pools, so that going through the kinds of pool says nothing.
  static var ownPools: Bool { get }
  /// Threads that it needs to be what it is; more than were asked for, if need be.
  static var leastThreads: Int { get }
  /// Rounds that it needs to have done all that it does; more than there are kinds of pool, if need be.
  static var leastRounds: Int { get }
  /// Whether each thread has something to do; else a few start processes or threads of their own.
  static var everyThreadWorks: Bool { get }
  /// What must have been counted in the end: a scenario that did not do what it is there for has shown nothing.
  static var mustCount: [Counter] { get }

  init(_ setting: Setting)

  /// Before a round, alone.
  func prepare(round: Int, _ run: Run)
  /// On each of the live threads; returns soon after `worker.step()` says no.
  func work(_ worker: Worker)
  /// After a round, alone: brings home what is on its way, and checks what can be checked only now.
  func settle(_ run: Run)
}

extension Scenario {
  static var ownPools: Bool { false }
  static var leastThreads: Int { 1 }
  static var leastRounds: Int { 1 }
  static var everyThreadWorks: Bool { true }
  func prepare(round: Int, _ run: Run) {}
  func settle(_ run: Run) {}
}

/// All of them, in the order of `--scenario all`.
let scenarios: [any Scenario.Type] = [
  OneCell.self,
  BitmapChurn.self,
  LastSlot.self,
  Tiny.self,
  RemoteFrees.self,
  SlabChurn.self,
  Thresholds.self,
  ProducerConsumer.self,
  HandOver.self,
  Logger.self,
  Turns.self,
  ThreadChurn.self,
  ShortThreads.self,
  FirstAllocation.self,
  Adoption.self,
  Preempted.self,
  SignalHandlers.self,
  ReallocPingPong.self,
  CacheChurn.self,
  CacheLifecycle.self,
  CompactChurn.self,
  DenseChurn.self,
  ObjectChurn.self,
  PoolLifecycle.self,
  LockedBufferPools.self,
  ContextTrees.self,
  ForkUnderLoad.self,
  Idle.self,
  Refused.self,
  Limits.self,
  WholeLife.self,
  Settings.self,
  Mixed.self,
]
