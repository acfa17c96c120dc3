import MempoolCore

/// All is taken but one slot, which everybody wants: it goes from thread to thread, millions of times. A claim that relies on what it
/// has seen, not on what is, gives it to two.
///
/// A bitmap of one item, by both strategies; the last item of a slab cache; the last run of a pool. Some of the time a third
/// thread gives it back.
final class LastSlot: Scenario {
  static let name = "last-slot"
  static let summary = "one free item in a bitmap, one in a slab cache, one run in a pool, and all threads after it"
  static let ownPools = true
  static let leastRounds = 3
  static let mustCount: [Counter] = [.claims, .takes, .allocations, .exhausted]

  private static let runBytes = 100_000
  private static let itemBytes = 2000

  private enum Source {
    case bitmap(ItemField)
    case cache(SlabCachePointer)
    case pool
  }

  private let box = Mailbox(capacity: 1)
  private nonisolated(unsafe) var source = Source.pool
  private nonisolated(unsafe) var pool: MemoryPoolPointer?
  // What fills the pool.
  private nonisolated(unsafe) var others: [Block] = []

  private let gate: Gate

  init(_ setting: Setting) { gate = Gate(threads: setting.threads) }

  func prepare(round: Int, _ run: Run) {
    if round % 3 == 0 {
      let strategy: AtomicBitmap.Strategy = round / 3 % 2 == 0 ? .compareAndSwap : .exchange
      source = .bitmap(
        ItemField(cellCapacity: 1, itemCount: 1, runLengths: [], strategy: strategy, maxRetries: 0))
      return
    }
    var options = PoolOptions()
    options.backing = .fixed(size: 2 << 20, locked: false, prefault: false)
    options.maxRetries = 0
    do {
      let pool = try MemoryPoolPointer.create(options)
      self.pool = pool
      source = try round % 3 == 1 ? .cache(pool.makeCache(itemSize: UInt(Self.itemBytes))) : .pool
    } catch {
      return run.fail("cannot make a pool or a cache: \(error)")
    }
    introduce(run.workers[0])
  }

  /// Takes and gives back: what the pool keeps of a thread must be there when the pool is full.
  private func introduce(_ worker: Worker) {
    guard let block = take(worker) else { return worker.run.fail("a new pool has no room", in: worker) }
    giveBack(block, worker)
  }

  private func fill(_ worker: Worker) {
    while let block = take(worker) { others.append(block) }
    guard let last = others.popLast() else { return worker.run.fail("a new pool has no room", in: worker) }
    giveBack(last, worker)
    // Nor may this thread keep it.
    if case .cache(let cache) = source { cache.shrink() }
  }

  func work(_ worker: Worker) {
    if pool != nil {
      introduce(worker)
      gate.pass()
      if worker.index == 0 { fill(worker) }
      gate.pass()
    }
    while worker.step() && !worker.run.hasFailed {
      if case .bitmap(let field) = source {
        claim(field, worker)
      } else if let block = box.receive() ?? take(worker) {
        if worker.random.oneIn(4) && box.send(block) { continue }
        giveBack(block, worker)
      } else {
        worker.idle()
      }
    }
  }

  private func claim(_ field: ItemField, _ worker: Worker) {
    guard let claim = field.bitmap.tryClaim(run: 1) else {
      worker.counters[.failedClaims] += 1
      return
    }
    if claim.sawDoubleFree { worker.run.fail("a claim saw a double free that was none", in: worker) }
    if let run = field.take(claim.index, 1, worker) { field.giveBack(run, worker) }
  }

  private func take(_ worker: Worker) -> Block? {
    let isItem = if case .cache = source { true } else { false }
    let taken: UnsafeMutableRawPointer? =
      if case .cache(let cache) = source { cache.take() } else { pool?.allocate(UInt(Self.runBytes)) }
    guard let taken else {
      worker.counters[.exhausted] += 1
      return nil
    }
    worker.counters[isItem ? .takes : .allocations] += 1
    return worker.fill(taken, isItem ? Self.itemBytes : Self.runBytes)
  }

  private func giveBack(_ block: Block, _ worker: Worker) {
    guard worker.check(block, "give back") else { return }
    if case .cache(let cache) = source {
      cache.put(block.pointer)
    } else {
      pool?.deallocate(block.pointer)
    }
  }

  func settle(_ run: Run) {
    if case .bitmap(let field) = source { return field.checkEmpty(run) }
    guard let pool, !run.hasFailed else { return }
    let driver = run.workers[0]
    while let block = box.receive() { giveBack(block, driver) }
    if case .pool = source {
      guard let last = take(driver) else { return run.fail("the last run is lost") }
      if take(driver) != nil { return run.fail("there are two last runs") }
      giveBack(last, driver)
    }
    if case .cache(let cache) = source, Int(cache.statistics().liveItems) != others.count {
      return run.fail("a cache counts \(cache.statistics().liveItems) items that are out, not \(others.count)")
    }
    while let block = others.popLast() { giveBack(block, driver) }
    if case .cache(let cache) = source, !cache.destroyIfUnused() {
      return run.fail("a cache has items out that nobody has")
    }
    if !pool.checkInvariants() { return run.fail("the pool's invariants do not hold") }
    let left = pool.statisticsAtRest().allocatedBytes
    if left != 0 { return run.fail("the pool counts \(left) bytes that nobody has") }
    pool.destroy()
    self.pool = nil
  }
}
