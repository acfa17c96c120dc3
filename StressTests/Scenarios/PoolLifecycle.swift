import Glibc
import MempoolCore

/// Pools made, used by all threads, and destroyed with everything in them; the next one often lies where the last one was.
///
/// Four places for a pool. Who uses one holds its lock shared; who destroys it alone, after checking its invariants and
/// the blocks of all threads in it. A thread's table then still has entries for pools long gone.
final class PoolLifecycle: Scenario {
  static let name = "pool-lifecycle"
  static let summary = "pools are made, shared and destroyed while threads keep stale table entries"
  static let ownPools = true
  static let leastThreads = 32
  static let mustCount: [Counter] = [.pools, .allocations, .remoteFrees]

  private static let bufferBytes = 8 << 20
  private let places: [Place]

  init(_ setting: Setting) {
    places = (0..<4).map { _ in Place(threads: setting.threads, byteBudget: 16 << 20) }
  }

  /// Where one pool at a time lives. Everything in it is touched under the lock only: shared for a thread's own table and the pool's
  /// own calls, alone for the rest.
  private final class Place: @unchecked Sendable {
    let lock = SharedLock()
    var pool: MemoryPoolPointer?
    var mayExhaust = false
    var tables: UnsafeMutableBufferPointer<ShadowTable>
    let byteBudget: Int
    // The memory of a pool in a caller's buffer.
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: PoolLifecycle.bufferBytes, alignment: 65536)
    let mailbox = Mailbox(capacity: 64)

    init(threads: Int, byteBudget: Int) {
      tables = .allocate(capacity: threads)
      tables.initialize(repeating: ShadowTable())
      self.byteBudget = byteBudget / threads
    }

    deinit {
      tables.deinitialize()
      tables.deallocate()
      buffer.deallocate()
    }
  }

  func work(_ worker: Worker) {
    while worker.step() {
      let place = places.randomElement(using: &worker.random)!
      let hasPool = place.lock.withReadLock {
        guard let pool = place.pool else { return false }
        worker.pool = pool
        worker.poolMayExhaust = place.mayExhaust
        use(place, worker)
        return true
      }
      if !hasPool {
        place.lock.withWriteLock { if place.pool == nil { make(place, worker) } }
      } else if worker.random.oneIn(64) {
        place.lock.withWriteLock { destroy(place, worker) }
      }
    }
  }

  /// A few operations on a pool that cannot go away meanwhile.
  private func use(_ place: Place, _ worker: Worker) {
    for _ in 0..<worker.random.below(64) where !worker.run.hasFailed {
      let table = place.tables.baseAddress! + worker.index
      if worker.random.oneIn(4), let block = place.mailbox.receive() { table.pointee.add(block) }
      if table.pointee.byteCount < place.byteBudget && worker.random.below(5) < 3 {
        guard let block = worker.allocate(Sizes.any(&worker.random)) else { continue }
        if worker.random.oneIn(4), place.mailbox.send(block) { continue }
        table.pointee.add(block)
      } else if let block = table.pointee.takeAny(&worker.random) {
        worker.free(block)
      }
    }
  }

  private func make(_ place: Place, _ worker: Worker) {
    var options = PoolOptions()
    place.mayExhaust = false
    switch worker.random.below(6) {
    case 0: options.backing = .elastic(reserve: 64 << 20)
    case 1:
      options.backing = .fixed(size: 8 << 20, locked: false, prefault: false)
      place.mayExhaust = true
    case 2:
      options.backing = .buffer(start: UInt(bitPattern: place.buffer), count: Self.bufferBytes)
      place.mayExhaust = true
    case 3: options.smallObjects = .dense
    default: break
    }
    options.hardening = [.off, .off, .zeroing, .canaries, .guards].randomElement(using: &worker.random)!
    if worker.random.oneIn(2) { options.maxRetries = 0 }
    do {
      place.pool = try .create(options)
      worker.counters[.pools] += 1
    } catch {
      worker.run.fail("cannot make a pool (\(options.backing)): \(error)", in: worker)
    }
  }

  /// With nobody else in the place: checks all, then drops some of it block by block, and the rest with the pool.
  private func destroy(_ place: Place, _ worker: Worker) {
    guard let pool = place.pool, !worker.run.hasFailed else { return }
    worker.pool = pool
    while let block = place.mailbox.receive() { place.tables[worker.index].add(block) }
    for i in place.tables.indices {
      for block in place.tables[i].blocks where !worker.check(block, "before destroy") { return }
    }
    guard pool.checkInvariants() else { return worker.run.fail("a pool's invariants do not hold", in: worker) }
    // None, all, or some.
    let choice = worker.random.below(4)
    for i in place.tables.indices where choice == 1 || choice > 1 && worker.random.oneIn(2) {
      while let block = place.tables[i].takeLast() { worker.free(block) }
    }
    let left = pool.statisticsAtRest().allocatedBytes, held = place.tables.reduce(0) { $0 + $1.byteCount }
    if left < held || choice == 1 && left != 0 {
      return worker.run.fail("a pool counts \(left) bytes, and \(held) are held", in: worker)
    }
    for i in place.tables.indices { place.tables[i].forgetAll() }
    pool.destroy()
    place.pool = nil
  }

  func settle(_ run: Run) {
    for place in places { place.lock.withWriteLock { destroy(place, run.workers[0]) } }
  }
}
