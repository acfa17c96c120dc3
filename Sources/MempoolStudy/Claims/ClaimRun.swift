import CMempoolShims
import Foundation
import MempoolCore

/// One run of a setup on this machine: threads that start together and are stopped after a while.
package enum ClaimRun {
  package struct Result: Sendable {
    package var counters = ClaimCounters()
    package var latencies = LatencyHistogram()
    /// Operations of each thread.
    package var operations: [UInt64] = []
    /// From when the first thread begins until all are told to stop, or the last one is done.
    package var seconds = 0.0
    /// Whether every item was free again at the end.
    package var isEmptyAtEnd = false

    package var operationsPerSecond: Double { Double(counters.operations) / seconds }
    package var fairness: Double { Fairness.jain(operations.map { Double($0) }) }
  }

  /// - Parameter operationLimit: Of each thread; who has reached it stops earlier.
  package static func run<Counting: Tally>(
    _ setup: ClaimSetup, _: Counting.Type, seconds: Double, operationLimit: UInt64 = .max, seed: UInt64,
    calibration: Calibration
  ) throws(StudyError) -> Result {
    if let complaint = setup.complaint { throw StudyError(complaint) }
    let arena = ClaimArena(setup)
    defer { arena.deallocate() }
    let threads = (0..<setup.threads).map {
      ClaimThread<Counting>(setup, arena, number: $0, seed: seed, calibration: calibration)
    }
    let team = try Team(count: setup.threads) { threads[$0].run(operationLimit: operationLimit) }
    team.start()
    if operationLimit == .max {
      // On a busy machine the time would be over before any thread has got a processor.
      while arena.begun.loadRelaxed() == 0 { mp_sleep_nanoseconds(20_000) }
      mp_sleep_nanoseconds(UInt64(seconds * 1e9))
      arena.stop.storeRelaxed(1)
    }
    let stopped = mp_clock_nanoseconds()
    team.join()
    var result = Result()
    for thread in threads {
      thread.finish()
      result.counters.add(thread.counters)
      result.latencies.merge(thread.latencies)
      result.operations.append(thread.counters.operations)
    }
    let begin = threads.map(\.begin).min() ?? stopped
    let end = operationLimit == .max ? stopped : threads.map(\.end).max() ?? stopped
    // A thread that got no processor before the end has begun after it.
    result.seconds = Double(max(end, begin + 1) - begin) / 1e9
    // What the last one gave back to a leased cell of one before it was freed by then, too.
    result.isEmptyAtEnd = arena.isEmpty(setup)
    return result
  }
}
