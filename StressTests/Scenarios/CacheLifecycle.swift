import MempoolCore

/// Slab caches made, used by all threads, and destroyed; the next one lies where the last one was, and threads still have leases of the
/// last one.
///
/// Four places for a cache. Who uses one holds its lock shared; who destroys it alone, after putting back what all threads
/// took.
final class CacheLifecycle: Scenario {
  static let name = "cache-lifecycle"
  static let summary = "slab caches are destroyed and made again at the same address while threads keep stale leases"
  static let mustCount: [Counter] = [.caches, .takes, .puts]

  private let places: [Place]

  init(_ setting: Setting) {
    places = (0..<4).map { _ in Place(threads: setting.threads) }
  }

  /// Where one cache at a time lives. Everything in it is touched under the lock only: shared for a thread's own table and the
  /// cache's calls, alone for the rest.
  private final class Place: @unchecked Sendable {
    let lock = SharedLock()
    var items: CacheItems?
    let tables: UnsafeMutableBufferPointer<ShadowTable>
    let mailbox = Mailbox(capacity: 64)

    init(threads: Int) {
      tables = .allocate(capacity: threads)
      tables.initialize(repeating: ShadowTable())
    }

    deinit {
      tables.deinitialize()
      tables.deallocate()
    }
  }

  func work(_ worker: Worker) {
    while worker.step() {
      let place = places.randomElement(using: &worker.random)!
      let hasCache = place.lock.withReadLock {
        guard let items = place.items else { return false }
        use(place, items, worker)
        return true
      }
      if !hasCache {
        place.lock.withWriteLock {
          if place.items == nil {
            place.items = CacheItems(
              in: worker.pool, mayExhaust: worker.poolMayExhaust, &worker.random, worker.run)
            if place.items != nil { worker.counters[.caches] += 1 }
          }
        }
      } else if worker.random.oneIn(64) {
        place.lock.withWriteLock { destroy(place, worker) }
      }
    }
  }

  /// A few operations on a cache that cannot go away meanwhile.
  private func use(_ place: Place, _ items: CacheItems, _ worker: Worker) {
    let table = place.tables.baseAddress! + worker.index
    for _ in 0..<worker.random.below(64) where !worker.run.hasFailed {
      if worker.random.oneIn(4), let block = place.mailbox.receive() { table.pointee.add(block) }
      if table.pointee.count < 100 && worker.random.below(5) < 3 {
        guard let block = items.take(worker) else { continue }
        if worker.random.oneIn(4), place.mailbox.send(block) { continue }
        table.pointee.add(block)
      } else if let block = table.pointee.takeAny(&worker.random) {
        items.put(block, worker)
      }
    }
  }

  /// With nobody else in the place.
  private func destroy(_ place: Place, _ worker: Worker) {
    guard let items = place.items, !worker.run.hasFailed else { return }
    while let block = place.mailbox.receive() { place.tables[worker.index].add(block) }
    items.check(worker.run, out: place.tables.flatMap(\.blocks))
    for i in place.tables.indices {
      while let block = place.tables[i].takeLast() { items.put(block, worker) }
    }
    guard !worker.run.hasFailed else { return }
    if !items.cache.destroyIfUnused() { worker.run.fail("a cache has items out that nobody has", in: worker) }
    place.items = nil
  }

  func settle(_ run: Run) {
    for place in places { place.lock.withWriteLock { destroy(place, run.workers[0]) } }
  }
}
