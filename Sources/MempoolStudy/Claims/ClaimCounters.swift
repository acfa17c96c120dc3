/// What threads did in a run, and where their time went.
package struct ClaimCounters: Codable, Equatable, Sendable {
  /// Claims that gave an item; each is freed once.
  package var operations: UInt64 = 0
  /// Cells that a claim tried to change or found full.
  package var attempts: UInt64 = 0
  /// Attempts that gave nothing: attempts == failedAttempts + operations that were not served from a lease.
  package var failedAttempts: UInt64 = 0
  /// Swaps in vain: the cell had changed since it was loaded.
  package var lostSwaps: UInt64 = 0
  /// Waits: each is one retry.
  package var retries: UInt64 = 0
  /// Claims that gave up: failures ≤ retries when a retry is allowed.
  package var failures: UInt64 = 0
  /// Cells leased.
  package var leases: UInt64 = 0
  /// Frees by another thread than the one that claimed.
  package var remoteFrees: UInt64 = 0
  /// Frees that should have been another thread's, which had too many to make already.
  package var freesKeptBack: UInt64 = 0
  /// From a claim's first wait until it has an item or gives up, all threads together. On the simulated machine the waits alone.
  package var waitNanoseconds: UInt64 = 0
  /// Processor time, all threads together.
  package var processorNanoseconds: UInt64 = 0
  /// Times that a thread gave its processor up: it slept, or yielded.
  package var voluntarySwitches: UInt64 = 0
  /// Times that it was taken away.
  package var involuntarySwitches: UInt64 = 0
  /// Items found with two owners or with none: 0, or the protocol is wrong. Only of checked runs.
  package var wrongItems: UInt64 = 0

  package init() {}

  package mutating func add(_ other: ClaimCounters) {
    operations += other.operations
    attempts += other.attempts
    failedAttempts += other.failedAttempts
    lostSwaps += other.lostSwaps
    retries += other.retries
    failures += other.failures
    leases += other.leases
    remoteFrees += other.remoteFrees
    freesKeptBack += other.freesKeptBack
    waitNanoseconds += other.waitNanoseconds
    processorNanoseconds += other.processorNanoseconds
    voluntarySwitches += other.voluntarySwitches
    involuntarySwitches += other.involuntarySwitches
    wrongItems += other.wrongItems
  }
}
