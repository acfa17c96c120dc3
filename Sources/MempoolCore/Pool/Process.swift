import CMempoolShims

/// What all pools of the process have in common: the list of them, and the threads.
///
/// A static record behind the shared pool's. The lock is the first in the order that ``prepareFork()`` takes them in.
enum Process {
  private static var start: UnsafeMutableRawPointer {
    mp_process_address() + MemoryPoolPointer.recordByteCount
  }

  static var lock: MutexPointer { start.assumingMemoryBound(to: Mutex.self) }
  private static var word: AtomicPointer { AtomicPointer(start.assumingMemoryBound(to: UInt.self)) }
  private static var lastID: AtomicPointer { word.advanced(by: 1) }
  private static var threads: AtomicPointer { word.advanced(by: 2) }
  // The first pool; the others through MemoryPool.next.
  private static var head: AtomicPointer { word.advanced(by: 3) }
  // The first slab cache; the others through its own link.
  static var cacheHead: AtomicPointer { word.advanced(by: 4) }

  // Threads that have a heap.
  private static var liveThreads: AtomicPointer { word.advanced(by: 5) }

  // The first group of locks; the others through LockGroup.next.
  private static var groupHead: AtomicPointer { word.advanced(by: 6) }

  // Hooks of those above, and what these keep for all of the process.
  static var hooks: AtomicPointer { word.advanced(by: 7) }
  static var familyStorage: UnsafeMutableRawPointer { start + (7 + hookCount) * 8 }
  static var familyByteCount: Int { 1024 }

  static var byteCount: Int { (7 + hookCount) * 8 + familyByteCount }

  /// An id that no pool and no cache has had.
  static func makeID() -> UInt { lastID.fetchAddRelaxed(1) + 1 }

  static func enter(_ pool: MemoryPoolPointer) {
    pool.pointee.id = makeID()
    lock.withLock {
      pool.pointee.next = head.loadPointerRelaxed()?.assumingMemoryBound(to: MemoryPool.self)
      head.storeRelaxed(UInt(bitPattern: pool))
    }
  }

  /// False, and nothing has been looked at there, when it is no pool of the list.
  static func leave(_ pool: MemoryPoolPointer) -> Bool {
    lock.withLock {
      var previous: MemoryPoolPointer?, isThere = false
      forEachPool { candidate in
        if candidate == pool { isThere = true } else if candidate.pointee.next == pool { previous = candidate }
      }
      guard isThere else { return false }
      tell(ProcessEvent.poolEnd, UInt(bitPattern: pool))
      if let previous {
        previous.pointee.next = pool.pointee.next
      } else {
        head.storeRelaxed(UInt(bitPattern: pool.pointee.next))
      }
      return true
    }
  }

  /// Visits the pools, under the lock.
  static func forEachPool(_ body: (MemoryPoolPointer) -> Void) {
    var pool = head.loadPointerRelaxed()?.assumingMemoryBound(to: MemoryPool.self)
    while let current = pool {
      pool = current.pointee.next
      body(current)
    }
  }

  /// Whether some pool has this: in its first segment, which may be a caller's buffer, that the address map does not know, or from
  /// the system's allocator. For reports: waits for the lock, unless this thread has it.
  static func isOfSomePool(_ address: UInt) -> Bool {
    if lock.isHeldByThisThread { return false }
    var isFound = false
    lock.withLock {
      forEachPool { pool in
        guard !isFound, pool.isReady else { return }
        let finding = pool.fallbackSet.finding(address)
        isFound = finding == .live || finding == .inside || pool.pointee.first.contains(address)
      }
    }
    return isFound
  }

  // MARK: Slab caches

  static func enter(_ cache: SlabCachePointer) {
    lock.withLock {
      cache.pointee.next = cacheHead.loadPointerRelaxed()?.assumingMemoryBound(to: SlabCache.self)
      cacheHead.storeRelaxed(UInt(bitPattern: cache))
    }
  }

  /// Takes caches out of the list: one that goes, or all of a pool that goes with everything in it. A thread that exits gives
  /// its leases back before or never: `isGoing` is asked under the lock.
  static func leave(where isGoing: (SlabCachePointer) -> Bool) {
    lock.withLock {
      var previous: SlabCachePointer?
      forEachCache { cache in
        guard isGoing(cache) else {
          previous = cache
          return
        }
        if let previous {
          previous.pointee.next = cache.pointee.next
        } else {
          cacheHead.storeRelaxed(UInt(bitPattern: cache.pointee.next))
        }
      }
    }
  }

  /// Visits the caches, under the lock.
  private static func forEachCache(_ body: (SlabCachePointer) -> Void) {
    var cache = cacheHead.loadPointerRelaxed()?.assumingMemoryBound(to: SlabCache.self)
    while let current = cache {
      cache = current.pointee.next
      body(current)
    }
  }

  // MARK: Groups of locks

  static func enter(_ group: LockGroupPointer) { lock.withLock { link(group) } }

  /// Under the lock.
  static func link(_ group: LockGroupPointer) {
    group.pointee.next = groupHead.loadPointerRelaxed()?.assumingMemoryBound(to: LockGroup.self)
    groupHead.storeRelaxed(UInt(bitPattern: group))
  }

  /// False, and nothing has been looked at there, when it is no group of the list.
  static func leave(_ group: LockGroupPointer) -> Bool {
    lock.withLock {
      var previous: LockGroupPointer?, isThere = false
      forEachGroup { candidate in
        if candidate == group { isThere = true } else if candidate.pointee.next == group { previous = candidate }
      }
      guard isThere else { return false }
      if let previous {
        previous.pointee.next = group.pointee.next
      } else {
        groupHead.storeRelaxed(UInt(bitPattern: group.pointee.next))
      }
      return true
    }
  }

  /// Visits the groups, under the lock.
  private static func forEachGroup(_ body: (LockGroupPointer) -> Void) {
    var group = groupHead.loadPointerRelaxed()?.assumingMemoryBound(to: LockGroup.self)
    while let current = group {
      group = current.pointee.next
      body(current)
    }
  }

  // MARK: Threads

  /// Numbers the thread, on its first slow path.
  static func number(_ block: ThreadBlock) {
    if block.pointee.number == 0 { block.pointee.number = threads.fetchAddRelaxed(1) + 1 }
  }

  /// Threads that have ever allocated in this process.
  static var threadsEver: UInt { threads.loadRelaxed() }

  /// Whether more than one thread has a heap.
  static var hasThreads: Bool { liveThreads.loadRelaxed() > 1 }

  /// Counts a thread, when it gets its first heap.
  static func threadBegan(_ block: ThreadBlock) {
    if block.pointee.counted != 0 { return }
    block.pointee.counted = 1
    _ = liveThreads.fetchAddRelaxed(1)
  }

  private static func threadEnded(_ block: ThreadBlock) {
    if block.pointee.counted == 0 { return }
    block.pointee.counted = 0
    Purger.threadEnded(left: liveThreads.fetchAddRelaxed(0 &- 1) &- 1)
  }

  /// Gives up what an exiting thread holds, in the first round of key destructors that comes by. Later ones cannot be counted
  /// on: a thread may first allocate in an exit handler, and tools finish the thread in the last round. Handlers that still
  /// come free as others do, and allocate from the late heap.
  static func threadExits() {
    let block = threadBlock()
    let wasLive = block.pointee.state == UInt(MP_THREAD_LIVE)
    let heap = block.realHeapRecord.assumingMemoryBound(to: ThreadHeap.self)
    block.pointee.state = UInt(MP_THREAD_DEAD)
    block.pointee.heap = UInt(bitPattern: mp_empty_heap_address())
    block.pointee.real_heap = block.pointee.heap
    block.pointee.guard_countdown = 0
    block.pointee.base = 0
    block.pointee.byte_count = 0
    block.pointee.beside = 0
    for slot in 0..<Int(MP_THREAD_RECENT) { mp_thread_recent(block)[slot].owner = 0 }
    if wasLive { heap.abandonAll() }
    defer { threadEnded(block) }
    guard block.pointee.registered > 0 else { return }
    // Under the lock: a pool that is being destroyed by another thread is in the list, or its heaps are no concern any more.
    lock.withLock {
      forEachPool { pool in
        if pool != .shared, pool.isReady, let heap = pool.ownHeap(of: block) { heap.abandonAll() }
      }
      forEachCache { $0.returnLeases(of: UInt(bitPattern: block)) }
      tell(ProcessEvent.threadExit, block.pointee.number)
    }
  }

  // MARK: Fork

  // The order: the process, then each group of locks, then each cache's growth, then for each pool its registry, its heaps, its list of segments, then
  // for each segment's arena and growth, then its spans and what it took from the system; last the caches' lists of
  // pages. Whoever takes two takes them in this order.
  private static func forEachLock(_ body: (MutexPointer) -> Void, gate: (ForkGatePointer) -> Void) {
    body(lock)
    forEachGroup { $0.forEach(body) }
    forEachCache { body($0.growth) }
    forEachPool { pool in
      guard pool.isReady else { return }
      body(pool.registry.lateLock)
      body(pool.registry.creation)
      for index in 0..<pool.registry.count {
        guard let heap = pool.registry.heap(index) else { continue }
        gate(heap.dense.gate)
        if let quarantine = heap.quarantine { body(quarantine.mutex) }
      }
      body(pool.segments.mutex)
      body(pool.spans.mutex)
      body(pool.fallbackSet.mutex)
      pool.segments.first { segment in
        body(segment.arena.mutex)
        body(segment.growth)
        return false
      }
    }
  }

  static func prepareFork() {
    forEachLock {
      $0.lockForFork()
    } gate: {
      $0.close()
    }
    forEachCache { $0.pagesLock.lockWrite() }
  }

  static func forkedParent() {
    forEachCache { $0.pagesLock.unlockWrite() }
    forEachLock {
      $0.unlockAfterFork()
    } gate: {
      $0.open()
    }
  }

  /// In a forked child whose parent was about to start the shared pool: forgets what that start did up to then. There was no
  /// other pool, and no cache; whoever held the locks is gone.
  static func forgetStart() {
    lock.resetAfterFork()
    EnvironmentRecord.lock.resetAfterFork()
    head.storeRelaxed(0)
    cacheHead.storeRelaxed(0)
    groupHead.storeRelaxed(0)
  }

  static func forkedChild() {
    forEachLock {
      $0.resetAfterFork()
    } gate: {
      $0.resetAfterFork()
    }
    forEachGroup { $0.wasForked.storeRelaxed(1) }
    liveThreads.storeRelaxed(threadBlock().pointee.counted)
    if Purger.state.loadRelaxed() != Purger.State.off { Purger.state.storeRelaxed(Purger.State.none) }
    forEachCache { $0.forkedChild(own: UInt(bitPattern: threadBlock())) }
    let block = threadBlock()
    forEachPool { pool in
      guard pool.isReady else { return }
      pool.segments.first { segment in
        segment.purging.storeRelaxed(0)
        return false
      }
      pool.registry.recoverAfterFork(own: block)
      if pool.isHardened { pool.spans.recoverAfterFork() }
    }
    GuardRegionPointer.process.recoverAfterFork()
    tell(ProcessEvent.forkedChild)
  }
}

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// Starts the shared pool, once; false when there is no address space for it. Any other pool has started.
  @discardableResult
  func start() -> Bool {
    while true {
      let seen = state.loadAcquire()  // acquire: pairs with the releases in start(_:_:) and startShared()
      if seen & MemoryPool.State.kind >= MemoryPool.State.ready { return true }
      let mine = MemoryPool.State.starting | mp_process_id() << MemoryPool.State.processShift
      if seen == mine {
        mp_sleep_nanoseconds(1000)
        continue
      }
      // Another process's number: this one was forked while a thread of its parent's was here, which is not in this one.
      // acquire: pairs with the release in startShared(), of a start that failed
      if state.compareAndSwapAcquire(seen, mine) == seen {
        if seen != MemoryPool.State.new { Process.forgetStart() }
        return startShared()
      }
    }
  }

  private func startShared() -> Bool {
    Process.tellStart()
    var options = EnvironmentSettings.process.pointee.poolOptions
    if options.exhaustion == .system, mp_replaces_malloc != 0 {
      var line = ReportLine()
      line.append("MEMPOOL_EXHAUSTION=\"system\": this is the system's malloc; using fail")
      line.write()
      options.exhaustion = .fail
    }
    guard mp_thread_exit_register({ _ in Process.threadExits() }) == 0, startAsAsked(options) else {
      state.storeRelease(MemoryPool.State.new)  // release: pairs with the load and the swap in start()
      return false
    }
    // May allocate, which is why the pool is ready by now.
    _ = mp_fork_register(
      { Process.prepareFork() }, { Process.forkedParent() }, { Process.forkedChild() })
    // The process's malloc may be called by the loader, which must not be asked then to load the unwinder.
    if mp_replaces_malloc == 0 { startGuards() }
    return true
  }

  // Of what the environment asks for, or, when the system refuses, elastic and with a warning: a value of the environment that
  // cannot be had ends no program.
  private func startAsAsked(_ options: PoolOptions) -> Bool {
    let saved = mp_errno_get()
    if startFirst(options) { return true }
    guard case .fixed(let size, let locked, _) = options.backing else { return false }
    let error = mp_errno_get()
    var elastic = options
    elastic.backing = .elastic(reserve: Int(EnvironmentSettings.process.pointee.reserveByteCount))
    guard startFirst(elastic) else { return false }
    var line = ReportLine()
    line.append("MEMPOOL_FIXED=\"")
    line.append(decimal: UInt(size))
    line.append("\": the system refuses it (errno ")
    line.append(decimal: UInt(error))
    line.append(locked ? "; see ulimit -v and ulimit -l" : "; see ulimit -v")
    line.append("); using 0")
    line.write()
    mp_errno_set(saved)
    return true
  }

  private func startFirst(_ options: PoolOptions) -> Bool {
    guard let segment = try? Self.firstSegment(options) else { return false }
    if start(options, segment) { return true }
    let isElastic = segment.pointee.backing == .elastic
    segment.destroy()
    // One of a given size is too small for what the pool needs itself.
    mp_errno_set(Int32(isElastic ? MP_ENOMEM : MP_EINVAL))
    return false
  }
}
