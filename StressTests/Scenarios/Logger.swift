/// All threads write messages, and one that does nothing else frees them. It has no heap of its own, in half of the rounds: it
/// never allocates.
///
/// What it frees must come back to those who write, or memory grows with every message.
final class Logger: Scenario {
  static let name = "logger"
  static let summary = "one thread frees what all others allocate, and never allocates itself"
  static let mustCount: [Counter] = [.allocations, .handoffs, .remoteFrees]

  private let visitors: Visitors
  private let threads: Int
  private nonisolated(unsafe) var rings: [OneWayRing] = []
  private nonisolated(unsafe) var hasHeap = false

  init(_ setting: Setting) {
    threads = setting.threads
    visitors = Visitors(threads: setting.threads)
  }

  func prepare(round: Int, _ run: Run) {
    rings = (0..<threads).map { OneWayRing(sender: $0, capacity: 512) }
    hasHeap = run.variant(round, of: 2) == 1
  }

  func work(_ worker: Worker) {
    guard worker.index == 0 else { return write(worker) }
    let logger = visitors.next(for: worker)
    let thread = OwnThread {
      if self.hasHeap, let block = logger.allocate(1) { logger.free(block) }
      while !logger.run.isRoundOver {
        if !self.log(logger) { logger.idle() }
      }
    }
    guard let thread else { return worker.run.fail("no thread could be started", in: worker) }
    worker.counters[.threads] += 1
    write(worker)
    thread.join()
    worker.counters.add(logger.counters)
  }

  private func write(_ worker: Worker) {
    while worker.step() {
      // One that found no room before goes first.
      guard let message = worker.shadow.takeLast() ?? worker.allocate(Sizes.medium(&worker.random)) else { continue }
      worker.handOff(message) { rings[worker.index].send($0) }
      if worker.shadow.count > 0 { worker.idle() }
    }
  }

  /// Some of each thread's messages; false when there were none.
  private func log(_ logger: Worker) -> Bool {
    var count = 0
    for ring in rings {
      for _ in 0..<64 {
        guard let message = ring.receive() else { break }
        logger.free(message)
        count += 1
      }
    }
    return count > 0
  }

  func settle(_ run: Run) {
    for (ring, worker) in zip(rings, run.workers) {
      while let message = ring.receive() { worker.shadow.add(message) }
    }
    run.checkActiveBytes(run.workers[0], live: run.workers.reduce(0) { $0 + $1.shadow.byteCount })
  }
}
