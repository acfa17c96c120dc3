import CMempoolShims
import MempoolCore

/// While all threads are at it, every nth call for memory that the allocator makes fails: of a refill, of a growth, of a move, of a
/// purge. What fails is nil, what is live stays as it is, and afterwards everything works.
///
/// Every call, every second, third, fifth, eleventh and fiftieth, by turns, each on every kind of pool. Threads begin and end meanwhile,
/// and caches are made: heaps and their records need memory, too.
final class Refused: Scenario {
  static let name = "refused"
  static let summary = "every nth call for memory fails while all threads allocate, resize and hand over"
  static let mustCount: [Counter] = [.refusedCalls, .exhausted, .allocations, .reallocations, .threads]

  private static let every: [UInt] = [1, 2, 3, 5, 11, 50]
  private let threads: Int
  private let visitors: Visitors
  private nonisolated(unsafe) var exchange: any Exchange
  private nonisolated(unsafe) var every: UInt = 0
  private nonisolated(unsafe) var failedBefore: UInt = 0

  init(_ setting: Setting) {
    threads = setting.threads
    visitors = Visitors(threads: setting.threads)
    exchange = OneWayMesh(threads: threads, capacity: 1)
  }

  // A process that fails is looked at, not used.
  deinit { mp_system_fail_every(0) }

  func prepare(round: Int, _ run: Run) {
    exchange = makeExchange(threads: threads, round: round, depth: 16, run)
    every = Self.every[run.variant(round, of: Self.every.count)]
    for worker in run.workers { worker.poolMayExhaust = true }
    failedBefore = Self.failedCalls()
    mp_system_fail_every(every)
  }

  private static func failedCalls() -> UInt {
    var counters = mp_system_counters()
    mp_system_counters_read(&counters)
    return counters.failed
  }

  func work(_ worker: Worker) {
    while worker.step() && !worker.run.hasFailed {
      act(worker)
      if worker.random.oneIn(1024) { receiveVisitor(worker) }
    }
  }

  private func act(_ worker: Worker) {
    if let block = exchange.receive(worker.index % threads, &worker.random) { worker.shadow.add(block) }
    switch worker.random.below(64) {
    case 0: worker.pool.purge()
    case 1:
      // A burst and all of it back, so that there is something to ask for and to give back.
      let size = Sizes.any(&worker.random)
      for _ in 0..<64 where !worker.isFull {
        if let block = worker.allocate(size) { worker.shadow.add(block) }
      }
      for _ in 0..<64 { if let block = worker.shadow.takeLast() { worker.free(block) } }
    case 2..<16:
      guard let block = worker.shadow.takeAny(&worker.random) else { return }
      if let resized = worker.reallocate(block, max(1, Sizes.any(&worker.random))) { worker.shadow.add(resized) }
    case 16..<40 where !worker.isFull && worker.shadow.count < 2000:
      guard let block = worker.allocate(Sizes.any(&worker.random)) else { return }
      if worker.index < threads && worker.random.oneIn(3) {
        worker.handOff(block) { exchange.send($0, from: worker) }
      } else {
        worker.shadow.add(block)
      }
    default:
      if let block = worker.shadow.takeAny(&worker.random) { worker.free(block) }
    }
  }

  /// A thread without a heap, which may get none, and what it leaves.
  private func receiveVisitor(_ worker: Worker) {
    let visitor = visitors.next(for: worker)
    let thread = OwnThread {
      for _ in 0..<32 {
        if let block = visitor.allocate(Sizes.any(&visitor.random)) { visitor.shadow.add(block) }
      }
      if let cache = try? visitor.pool.makeCache(itemSize: 64) {
        if let item = cache.take() { cache.put(item) }
        cache.destroy()
      }
    }
    guard let thread else { return worker.run.fail("no thread could be started", in: worker) }
    thread.join()
    worker.counters[.threads] += 1
    worker.counters.add(visitor.counters)
    while let block = visitor.shadow.takeLast() { worker.shadow.add(block) }
  }

  func settle(_ run: Run) {
    mp_system_fail_every(0)
    let driver = run.workers[0]
    driver.counters[.refusedCalls] += UInt64(Self.failedCalls() &- failedBefore)
    bringHome(exchange, run)
    guard let kind = run.pools.first(where: { $0.pool == driver.pool })?.kind, !kind.mayExhaust else { return }
    // Now nothing may fail.
    driver.poolMayExhaust = false
    for _ in 0..<500 where !run.hasFailed {
      if let block = driver.allocate(Sizes.any(&driver.random)) { driver.free(block) }
    }
  }
}
