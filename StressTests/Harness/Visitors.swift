import Synchronization

/// Workers for threads that come and go beside those of a run, each with a number that no other had.
final class Visitors: Sendable {
  // Their numbers follow those of the run's own threads, for tags.
  private let number: Atomic<Int>

  init(threads: Int) { number = Atomic(threads) }

  /// One in the same pool as `host`; for one thread at a time, as every worker.
  func next(for host: Worker) -> Worker {
    let id = number.wrappingAdd(1, ordering: .relaxed).oldValue
    let visitor = Worker(index: id & 0xff_ffff, run: host.run)
    visitor.pool = host.pool
    visitor.poolMayExhaust = host.poolMayExhaust
    return visitor
  }
}
