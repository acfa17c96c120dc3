import MempoolCore

/// All as small as it can be, so that every race is near: a bitmap of one word and two items; a slab cache of two pages with one item
/// each; a pool with a single size class of four items a slab, hardly larger than its own records.
///
/// Each is full and empty all the time, its pages and slabs come and go, and so do threads.
final class Tiny: Scenario {
  static let name = "tiny"
  static let summary = "bitmaps of two items, a cache of two pages, a pool of one size class and a few slabs"
  static let ownPools = true
  static let leastRounds = 3
  static let mustCount: [Counter] = [.claims, .takes, .allocations, .exhausted, .threads]

  private static let itemBytes = 20_000
  private static let objectBytes = 3800

  private enum Kind {
    case bitmap(ItemField)
    case cache(SlabCachePointer)
    case pool
  }

  private let visitors: Visitors
  private let box = Mailbox(capacity: 2)
  private nonisolated(unsafe) var kind = Kind.pool
  private nonisolated(unsafe) var pool: MemoryPoolPointer?
  private nonisolated(unsafe) var fillers: [UnsafeMutableRawPointer] = []

  init(_ setting: Setting) { visitors = Visitors(threads: setting.threads) }

  func prepare(round: Int, _ run: Run) {
    if round % 3 == 0 {
      let strategy: AtomicBitmap.Strategy = round / 3 % 2 == 0 ? .compareAndSwap : .exchange
      let field = ItemField(cellCapacity: 1, itemCount: 2, runLengths: [], strategy: strategy, maxRetries: 1)
      kind = .bitmap(field)
      return
    }
    var options = PoolOptions()
    options.backing = .fixed(size: 2 << 20, locked: false, prefault: false)
    options.maxRetries = 0
    do {
      let pool = try MemoryPoolPointer.create(options)
      self.pool = pool
      kind = try round % 3 == 1 ? .cache(pool.makeCache(itemSize: UInt(Self.itemBytes))) : .pool
      // What is left are four pages and a few: two of the cache's, or as many slabs. No thread keeps so large a run for itself.
      while let filler = pool.allocate(4 * 16384) { fillers.append(filler) }
      if let filler = fillers.popLast() { pool.deallocate(filler) }
    } catch {
      run.fail("cannot make a pool or a cache: \(error)")
    }
  }

  func work(_ worker: Worker) {
    if let pool { worker.pool = pool }
    worker.poolMayExhaust = true
    while worker.step() && !worker.run.hasFailed {
      switch kind {
      case .bitmap(let field): claim(field, worker)
      case .cache, .pool:
        act(worker)
        if worker.random.oneIn(512) { receiveVisitor(worker) }
      }
    }
  }

  private func claim(_ field: ItemField, _ worker: Worker) {
    let count = worker.random.within(1...2)
    let claim = worker.random.oneIn(2) ? field.bitmap.tryClaim(run: count) : field.bitmap.claim(run: count)
    guard let claim else {
      worker.counters[.failedClaims] += 1
      return
    }
    if claim.sawDoubleFree { worker.run.fail("a claim saw a double free that was none", in: worker) }
    if let run = field.take(claim.index, count, worker) { field.giveBack(run, worker) }
  }

  private func act(_ worker: Worker) {
    if worker.random.oneIn(2), let block = box.receive() { worker.shadow.add(block) }
    if worker.shadow.count < 2 && worker.random.oneIn(2) {
      guard let block = take(worker) else { return worker.idle() }
      if worker.random.oneIn(2) && box.send(block) { return }
      worker.shadow.add(block)
    } else if let block = worker.shadow.takeAny(&worker.random) {
      giveBack(block, worker)
    } else if case .cache(let cache) = kind, worker.random.oneIn(32) {
      cache.shrink()
      worker.counters[.purges] += 1
    }
  }

  private func take(_ worker: Worker) -> Block? {
    guard case .cache(let cache) = kind else { return worker.allocate(Self.objectBytes) }
    guard let item = cache.take() else {
      worker.counters[.exhausted] += 1
      return nil
    }
    worker.counters[.takes] += 1
    return worker.fill(item, Self.itemBytes)
  }

  private func giveBack(_ block: Block, _ worker: Worker) {
    guard case .cache(let cache) = kind else { return worker.free(block) }
    if worker.check(block, "put") { cache.put(block.pointer) }
  }

  /// A thread that leaves its heap or its leases, and what it had.
  private func receiveVisitor(_ worker: Worker) {
    let visitor = visitors.next(for: worker)
    let count = worker.random.below(20)
    guard let thread = OwnThread({ for _ in 0..<count { self.act(visitor) } }) else {
      return worker.run.fail("no thread could be started", in: worker)
    }
    thread.join()
    worker.counters[.threads] += 1
    worker.counters.add(visitor.counters)
    while let block = visitor.shadow.takeLast() { worker.shadow.add(block) }
  }

  func settle(_ run: Run) {
    if case .bitmap(let field) = kind { return field.checkEmpty(run) }
    guard let pool, !run.hasFailed else { return }
    let driver = run.workers[0]
    driver.pool = pool
    while let block = box.receive() { driver.shadow.add(block) }
    for worker in run.workers {
      while let block = worker.shadow.takeLast() { giveBack(block, driver) }
    }
    while let filler = fillers.popLast() { pool.deallocate(filler) }
    guard !run.hasFailed else { return }
    if case .cache(let cache) = kind, !cache.destroyIfUnused() {
      return run.fail("a cache has items out that nobody has")
    }
    if !pool.checkInvariants() { return run.fail("the pool's invariants do not hold") }
    let left = pool.statisticsAtRest().allocatedBytes
    if left != 0 { return run.fail("the pool counts \(left) bytes that nobody has") }
    pool.destroy()
    self.pool = nil
  }
}
