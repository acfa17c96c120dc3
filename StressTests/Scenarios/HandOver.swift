/// A thread allocates, hands all of it to another, and sleeps or exits; the other frees.
///
/// What is freed must come back: to the thread when it wakes, or to who adopts its heap. Otherwise each hand-over takes new memory.
final class HandOver: Scenario {
  static let name = "hand-over"
  static let summary = "all blocks of a thread are freed by another, while it sleeps and when it has exited"
  static let mustCount: [Counter] = [.allocations, .threads, .remoteFrees]

  private let visitors: Visitors
  private let threads: Int

  init(_ setting: Setting) {
    threads = setting.threads
    visitors = Visitors(threads: setting.threads)
  }

  func work(_ worker: Worker) {
    while worker.step() && !worker.run.hasFailed { receiveAll(worker) }
  }

  private func receiveAll(_ worker: Worker) {
    let donor = visitors.next(for: worker)
    let wakes = worker.random.below(3)
    let count = worker.random.within(1...400)
    let gate = Gate(threads: 2)
    let thread = OwnThread {
      for wake in 0...wakes {
        for _ in 0..<count where !donor.isFull {
          if let block = donor.allocate(Sizes.any(&donor.random)) { donor.shadow.add(block) }
        }
        gate.pass()
        // Asleep until all is freed; the last time gone.
        if wake < wakes { gate.pass() }
      }
    }
    guard let thread else { return worker.run.fail("no thread could be started", in: worker) }
    worker.counters[.threads] += 1
    let endsFirst = worker.random.oneIn(2)
    for wake in 0...wakes {
      gate.pass()
      if wake == wakes && endsFirst { thread.join() }
      while let block = donor.shadow.takeAny(&worker.random) { worker.free(block) }
      if wake < wakes { gate.pass() }
    }
    if !endsFirst { thread.join() }
    worker.counters.add(donor.counters)
  }

  func settle(_ run: Run) {
    run.checkHeapCount(most: 2 * threads)
    run.checkActiveBytes(run.workers[0], live: 0)
  }
}
