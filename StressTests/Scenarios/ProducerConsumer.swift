/// Threads that only allocate and threads that only free, in pairs, through rings that run full and empty.
///
/// What the consumers free must come back to the producers, or memory grows without end. Pairs change by round, so that a heap's
/// blocks are freed by threads that have never been seen before. A thread without a partner is both.
final class ProducerConsumer: Scenario {
  static let name = "producer-consumer"
  static let summary = "half of the threads only allocate, half only free"
  static let mustCount: [Counter] = [.allocations, .handoffs, .remoteFrees]

  private let threads: Int
  // rings[i] is filled by thread i, when it is a producer.
  private nonisolated(unsafe) var rings: [OneWayRing] = []
  private nonisolated(unsafe) var round = 0

  init(_ setting: Setting) { threads = setting.threads }

  func prepare(round: Int, _ run: Run) {
    self.round = round
    rings = (0..<threads).map { OneWayRing(sender: $0, capacity: 256) }
  }

  private var pairs: Int { threads / 2 }

  func work(_ worker: Worker) {
    let index = worker.index
    if index == 2 * pairs {
      while worker.step() {
        produce(worker, count: worker.random.below(64))
        consume(worker, from: rings[index], count: 64)
      }
    } else if index % 2 == round % 2 {
      while worker.step() {
        if !produce(worker, count: 1 + worker.random.below(512)) { worker.idle() }
      }
    } else {
      // Consumer i of the pairs takes from producer i + round.
      let producer = 2 * ((index / 2 + round) % pairs) + round % 2
      while worker.step() {
        if !consume(worker, from: rings[producer], count: 1 + worker.random.below(512)) { worker.idle() }
      }
    }
  }

  /// A burst; false when the ring is full.
  @discardableResult
  private func produce(_ worker: Worker, count: Int) -> Bool {
    for _ in 0..<count where !worker.run.isRoundOver {
      if worker.shadow.count > 0 {
        // One that found no room before: it waits, only consumers free.
        worker.handOff(worker.shadow.takeLast()!) { rings[worker.index].send($0) }
        if worker.shadow.count > 0 { return false }
      } else if let block = worker.allocate(Sizes.medium(&worker.random)) {
        worker.handOff(block) { rings[worker.index].send($0) }
      }
    }
    return true
  }

  /// A burst; false when nothing had come.
  @discardableResult
  private func consume(_ worker: Worker, from ring: OneWayRing, count: Int) -> Bool {
    for i in 0..<count {
      guard let block = ring.receive() else { return i > 0 }
      worker.free(block)
    }
    return true
  }

  func settle(_ run: Run) {
    for (ring, worker) in zip(rings, run.workers) {
      while let block = ring.receive() { worker.shadow.add(block) }
    }
  }
}
