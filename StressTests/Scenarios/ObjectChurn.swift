import MempoolCore

/// Object pools and every thread: more objects than are prepared, released by others, while the pools are swept and their threads
/// exit with leases; at the end a pool is destroyed, or goes with its last object.
final class ObjectChurn: Scenario {
  static let name = "object-pool"
  static let summary =
    "objects of a pool change hands while it is swept, its threads exit and another pool comes and goes"
  static let mustCount: [Counter] = [.takes, .puts, .handoffs, .pools]

  private let threads: Int
  private nonisolated(unsafe) var exchange: any Exchange
  private nonisolated(unsafe) var objects: Objects?

  init(_ setting: Setting) {
    threads = setting.threads
    exchange = OneWayMesh(threads: threads, capacity: 1)
  }

  /// A pool of a round.
  private struct Objects: @unchecked Sendable {  // the pool is made to be shared
    let pool: ObjectPoolPointer
    let itemSize: Int
    let count: Int

    init?(in memory: MemoryPoolPointer, mayExhaust: Bool, _ random: inout SplitMix64, _ run: Run) {
      itemSize = [1, 16, 24, 48, 100, 256, 700, 2048, 5000].randomElement(using: &random)!
      var count = [1, 5, 64, 100, 500, 2000].randomElement(using: &random)!
      var options = ObjectPool.Options()
      options.fallback = random.oneIn(4) ? .system : .segment
      options.isPassThrough = random.oneIn(16)
      while true {
        do {
          pool = try memory.makeObjectPool(
            itemSize: UInt(itemSize), count: UInt(count), name: ObjectChurn.name, options)
          self.count = count
          return
        } catch {
          // Of fewer objects, and at last of none that are prepared: else the round would have nothing to do.
          guard mayExhaust, !options.isPassThrough else {
            run.fail("cannot make a pool of \(count) objects of \(itemSize) bytes: \(error)")
            return nil
          }
          options.isPassThrough = count == 1
          count = max(count / 4, 1)
        }
      }
    }

    func check(_ run: Run) {
      if !pool.checkInvariants() { run.fail("the invariants of a pool of \(itemSize)-byte objects do not hold") }
    }
  }

  func prepare(round: Int, _ run: Run) {
    exchange = makeExchange(threads: threads, round: round, depth: 64, run)
    let first = run.workers[0]
    objects = Objects(in: first.pool, mayExhaust: first.poolMayExhaust, &first.random, run)
  }

  func work(_ worker: Worker) {
    guard let objects else { return }
    var goal = 0
    while worker.step() {
      if worker.random.oneIn(1024) {
        goal = worker.random.oneIn(2) ? 0 : worker.random.below(2 * objects.count / threads + 10)
      }
      if worker.random.oneIn(2048) {
        // A thread that leases cells, and gives them back when it exits; this one waits, so it may use this one's tables.
        let count = worker.random.below(200)
        guard let thread = OwnThread({ for _ in 0..<count { self.act(objects, 200, worker) } }) else {
          return worker.run.fail("no thread could be started", in: worker)
        }
        thread.join()
        worker.counters[.threads] += 1
      }
      if worker.random.oneIn(4096) {
        objects.pool.sweep()
        worker.counters[.purges] += 1
      }
      if worker.random.oneIn(4096) { comeAndGo(worker) }
      act(objects, goal, worker)
    }
  }

  private func act(_ objects: Objects, _ goal: Int, _ worker: Worker) {
    if worker.random.oneIn(2), let block = exchange.receive(worker.index, &worker.random) { worker.shadow.add(block) }
    let grows = worker.shadow.count < goal ? !worker.random.oneIn(4) : worker.random.oneIn(4)
    if grows && !worker.isFull {
      guard let block = acquire(objects, worker) else { return }
      if worker.random.oneIn(3) {
        worker.handOff(block) { exchange.send($0, from: worker) }
      } else {
        worker.shadow.add(block)
      }
    } else if let block = worker.shadow.takeAny(&worker.random) {
      release(block, worker)
    }
  }

  private func acquire(_ objects: Objects, _ worker: Worker) -> Block? {
    let isZeroed = worker.random.oneIn(8)
    worker.counters[.takes] += 1
    guard let object = isZeroed ? objects.pool.acquireZeroed() : objects.pool.acquire() else {
      worker.counters[.exhausted] += 1
      if !worker.poolMayExhaust { worker.run.fail("no memory for an object of \(objects.itemSize) bytes", in: worker) }
      return nil
    }
    if UInt(bitPattern: object) % 16 != 0 {
      worker.run.fail("an object at \(object) is not aligned to 16", in: worker)
      return nil
    }
    if isZeroed,
      let offset = (0..<objects.itemSize).first(where: { object.load(fromByteOffset: $0, as: UInt8.self) != 0 })
    {
      worker.run.fail("a zeroed object at \(object): byte \(offset) is not zero", in: worker)
      return nil
    }
    return worker.fill(object, objects.itemSize)
  }

  private func release(_ block: Block, _ worker: Worker) {
    guard worker.check(block, "release") else { return }
    worker.counters[.puts] += 1
    ObjectPoolPointer.release(block.pointer)
  }

  /// A pool of this thread's own, which becomes an orphan with objects out.
  private func comeAndGo(_ worker: Worker) {
    guard let own = try? worker.pool.makeObjectPool(itemSize: 64, count: 20, name: "own") else {
      if !worker.poolMayExhaust { worker.run.fail("no memory for a pool", in: worker) }
      return
    }
    let objects = (0..<30).compactMap { _ in own.acquire() }
    if worker.random.oneIn(2) {
      own.orphan()
      for object in objects { ObjectPoolPointer.release(object) }
    } else {
      if !objects.isEmpty && own.destroy() { worker.run.fail("a pool with objects out was destroyed", in: worker) }
      for object in objects { ObjectPoolPointer.release(object) }
      if !own.destroy() { worker.run.fail("a pool without an object out was not destroyed", in: worker) }
    }
    worker.counters[.pools] += 1
  }

  func settle(_ run: Run) {
    guard let objects else { return }
    bringHome(exchange, run)
    objects.check(run)
    let id = objects.pool.id, isOrphan = run.workers[0].random.oneIn(2)
    if isOrphan { objects.pool.orphan() }
    for worker in run.workers {
      while !run.hasFailed, let block = worker.shadow.takeLast() { release(block, worker) }
    }
    guard !run.hasFailed else { return }
    ObjectPools.sweep()
    // The threads' leases and what they remember go stale here.
    if isOrphan ? ObjectPools.isThere(id) : !objects.pool.destroy() {
      run.fail("a pool without an object out is still there")
    }
  }
}
