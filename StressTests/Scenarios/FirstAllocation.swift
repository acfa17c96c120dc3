import MempoolCore

/// 64 threads whose first allocation is at the same moment, in a pool, and in a slab cache, that nobody has used before.
///
/// Each needs a heap, the heap's first slabs, leases, pages of the cache: all of it made while all others make theirs. The first thread
/// of the run sends them off again and again; the pool goes each time.
final class FirstAllocation: Scenario {
  static let name = "first-allocation"
  static let summary = "64 threads at a barrier, each with its first allocation in a new pool and a new slab cache"
  static let ownPools = true
  static let everyThreadWorks = false
  static let mustCount: [Counter] = [.pools, .threads, .takes, .allocations]

  private static let racers = 64
  private let visitors: Visitors

  /// What the threads of one race share.
  private struct Race: @unchecked Sendable {  // the cache is made to be shared
    let cache: SlabCachePointer
    let shot = StartShot(threads: FirstAllocation.racers)
    let gate = Gate(threads: FirstAllocation.racers)
  }

  init(_ setting: Setting) { visitors = Visitors(threads: setting.threads) }

  func work(_ worker: Worker) {
    guard worker.index == 0 else { return }
    repeat { race(worker) } while worker.step() && !worker.run.hasFailed
  }

  private func race(_ worker: Worker) {
    // Each kind but the one that is always there, and the one in which not all have room.
    let kind = PoolKind.allCases.filter { $0 != .shared && $0 != .cramped }.randomElement(using: &worker.random)!
    let pool: MemoryPoolPointer, cache: SlabCachePointer
    do {
      pool = try kind.make()
      cache = try pool.makeCache(itemSize: 64)
    } catch {
      return worker.run.fail("cannot make a pool and a cache: \(error)", in: worker)
    }
    worker.counters[.pools] += 1
    let race = Race(cache: cache)
    var threads: [(thread: OwnThread, visitor: Worker)] = []
    for _ in 0..<Self.racers {
      let visitor = visitors.next(for: worker)
      (visitor.pool, visitor.poolMayExhaust) = (pool, kind.mayExhaust)
      if let thread = OwnThread({ Self.take(part: race, visitor) }) {
        threads.append((thread, visitor))
      } else {
        worker.run.fail("no thread could be started", in: worker)
        race.shot.comeForAnother()
        race.gate.comeForAnother()
      }
    }
    for (thread, visitor) in threads {
      thread.join()
      worker.counters[.threads] += 1
      worker.counters.add(visitor.counters)
    }
    guard !worker.run.hasFailed else { return }
    if !cache.destroyIfUnused() { return worker.run.fail("a cache has items out that nobody has", in: worker) }
    if !pool.checkInvariants() { return worker.run.fail("the \(kind) pool's invariants do not hold", in: worker) }
    let statistics = pool.statisticsAtRest()
    if statistics.allocatedBytes != 0 {
      return worker.run.fail("the \(kind) pool counts \(statistics.allocatedBytes) bytes that nobody has", in: worker)
    }
    pool.destroy()
  }

  private static func take(part race: Race, _ visitor: Worker) {
    // Half of them begin with the cache.
    let itemFirst = visitor.index % 2 == 0
    var item: Block?
    race.shot.wait()
    if itemFirst { item = race.cache.take().map { visitor.fill($0, 64) } }
    for _ in 0..<4 {
      if let block = visitor.allocate(Sizes.medium(&visitor.random)) { visitor.shadow.add(block) }
    }
    if !itemFirst { item = race.cache.take().map { visitor.fill($0, 64) } }
    visitor.counters[.takes] += 1
    // What two have been given shows when both have written to it.
    race.gate.pass()
    if let item {
      if visitor.check(item, "put") { race.cache.put(item.pointer) }
    } else if !visitor.poolMayExhaust {
      visitor.run.fail("no memory for an item", in: visitor)
    }
    visitor.freeAll()
  }
}
