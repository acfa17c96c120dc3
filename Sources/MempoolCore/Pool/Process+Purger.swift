import CMempoolShims

extension Process {
  /// What a process must have taken for a purger to be worth its stack.
  private static var purgerFloor: UInt { (2 << 20) >> Page.shift }

  /// Starts the purger, of which there is none, when this pool has taken enough. At the end of an allocation's slow path, where
  /// this thread holds nothing of the allocator's: starting a thread allocates. Not at the end of a free: libc frees under locks
  /// that starting a thread takes.
  static func startPurger(for pool: MemoryPoolPointer) {
    guard pool.isElastic, pool.pointee.first.pointee.purgeDelay != 0 else { return }
    guard pool.pointee.first.usedPages.loadRelaxed() > purgerFloor else { return }
    guard
      Purger.state.compareAndSwapRelaxed(Purger.State.none, Purger.State.starting) == Purger.State.none
    else { return }
    let isWanted = EnvironmentSettings.process.pointee.hasPurgeThread
    Purger.state.storeRelaxed(isWanted ? Purger.State.awake : Purger.State.off)
    if isWanted, mp_background_start({ Process.purgeWhileNeeded() }) != 0 {
      Purger.state.storeRelaxed(Purger.State.off)
    }
  }

  private static func purgeWhileNeeded() {
    var known = threadsEver
    while true {
      Purger.sleep(milliseconds: purgeDelay)
      // A process whose threads come and go keeps it.
      let isLast = !hasThreads && threadsEver == known
      known = threadsEver
      // Slabs first: their pages go with the others.
      forEachHeap {
        isLast ? _ = $0.releaseSpares() : $0.releaseIdleSpares()
        $0.returnUncollected(all: isLast)
      }
      forEachElasticSegment { isLast ? _ = $0.purgeAll() : $0.purgeUnneeded() }
      if Purger.ends(wants: isLast) {
        fenceFull()  // pairs with the fence in takesOver(): what is kept from now on is not much
        return forEachHeap {
          $0.releaseSpares()
          $0.returnUncollected(all: true)
        }
      }
      if !hasIdleMemory { Purger.park { hasIdleMemory } }
    }
  }

  // Also the late heap, which keeps nothing, but others free what came from it.
  private static func forEachHeap(_ body: (ThreadHeapPointer) -> Void) {
    forEachElasticPool { pool in
      for index in 0..<pool.registry.count {
        if let heap = pool.registry.heap(index) { body(heap) }
      }
    }
  }

  // The shortest delay of all pools, in milliseconds.
  private static var purgeDelay: UInt {
    var delay = EnvironmentSettings.process.pointee.purgeDelayMilliseconds
    forEachElasticSegment { delay = min(delay, $0.pointee.purgeDelay) }
    return min(max(delay, 10), 3_600_000)
  }

  private static var hasIdleMemory: Bool {
    var found = false
    forEachElasticSegment { if $0.hasIdleMemory { found = true } }
    forEachHeap { if $0.hasManySpares || $0.hasMediumPending { found = true } }
    return found
  }

  /// Runs `body` while the purger holds no page. Also for who has the process's lock already: a sweep of all object pools purges
  /// memory pools under it, so that none of them goes meanwhile.
  static func withoutPurger<Result>(_ body: () -> Result) -> Result {
    lock.isHeldByThisThread ? body() : lock.withLock(body)
  }

  private static func forEachElasticSegment(_ body: (SegmentPointer) -> Void) {
    forEachElasticPool { pool in
      pool.segments.first { segment in
        if segment.pointee.backing == .elastic { body(segment) }
        return false
      }
    }
  }

  // Under the lock: a pool that is being destroyed is out of the list, and a fork finds no purge half done.
  private static func forEachElasticPool(_ body: (MemoryPoolPointer) -> Void) {
    lock.withLock {
      forEachPool { pool in
        if pool.isReady, pool.isElastic { body(pool) }
      }
    }
  }
}
