import MempoolCore

/// One slab cache and every thread: items and arrays, put by others, pages that come and go, threads that exit with leases.
final class CacheChurn: Scenario {
  static let name = "cache-churn"
  static let summary = "items and arrays of a slab cache change hands while it shrinks and its threads exit"
  static let mustCount: [Counter] = [.takes, .arrays, .puts, .handoffs]

  private let threads: Int
  private nonisolated(unsafe) var exchange: any Exchange
  private nonisolated(unsafe) var items: CacheItems?

  init(_ setting: Setting) {
    threads = setting.threads
    exchange = OneWayMesh(threads: threads, capacity: 1)
  }

  func prepare(round: Int, _ run: Run) {
    exchange = makeExchange(threads: threads, round: round, depth: 64, run)
    let first = run.workers[0]
    items = CacheItems(in: first.pool, mayExhaust: first.poolMayExhaust, &first.random, run)
  }

  func work(_ worker: Worker) {
    guard let items else { return }
    var goal = 0
    while worker.step() {
      if worker.random.oneIn(1024) { goal = worker.random.oneIn(2) ? 0 : worker.random.below(1000) }
      if worker.random.oneIn(2048) {
        // A thread that leases cells, and gives them back when it exits; this one waits, so it may use this one's tables.
        let count = worker.random.below(200)
        guard let thread = OwnThread({ for _ in 0..<count { self.act(items, 200, worker) } }) else {
          return worker.run.fail("no thread could be started", in: worker)
        }
        thread.join()
        worker.counters[.threads] += 1
      }
      if worker.random.oneIn(4096) {
        items.cache.shrink()
        worker.counters[.purges] += 1
      }
      act(items, goal, worker)
    }
  }

  private func act(_ items: CacheItems, _ goal: Int, _ worker: Worker) {
    if worker.random.oneIn(2), let block = exchange.receive(worker.index, &worker.random) { worker.shadow.add(block) }
    let grows = worker.shadow.count < goal ? !worker.random.oneIn(4) : worker.random.oneIn(4)
    if grows && !worker.isFull {
      guard let block = items.take(worker) else { return }
      if worker.random.oneIn(3) {
        worker.handOff(block) { exchange.send($0, from: worker) }
      } else {
        worker.shadow.add(block)
      }
    } else if let block = worker.shadow.takeAny(&worker.random) {
      items.put(block, worker)
    }
  }

  func settle(_ run: Run) {
    guard let items else { return }
    bringHome(exchange, run)
    items.check(run, out: run.workers.flatMap(\.shadow.blocks))
    for worker in run.workers {
      while !run.hasFailed, let block = worker.shadow.takeLast() { items.put(block, worker) }
    }
    if !run.hasFailed { items.check(run, out: []) }
    // Aborts when an item is still out. The threads' leases and table entries go stale here.
    if !run.hasFailed { items.cache.destroy() }
  }
}
