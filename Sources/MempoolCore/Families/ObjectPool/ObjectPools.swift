import CMempoolShims

/// All object pools of the process, in the order in which they were made, the newest first.
///
/// In the storage that floor 6 keeps for families, under the lock of all pools. What happens to threads and processes comes by
/// way of a hook.
public enum ObjectPools {
  // The first pool; the others through ObjectPool.next.
  private static var head: AtomicPointer { AtomicPointer(Process.familyStorage.assumingMemoryBound(to: UInt.self)) }
  private static var registered: AtomicPointer { head.advanced(by: 1) }
  /// What the sweeper is doing, and how often.
  static var sweeperState: AtomicPointer { head.advanced(by: 3) }
  static var sweeperPeriod: AtomicPointer { head.advanced(by: 4) }
  static var origins: UnsafeMutableRawPointer { Process.familyStorage + 8 * 8 }
  static var byteCount: Int { 8 * 8 + ObjectOrigins.byteCount }

  /// Asks to be told of what happens, once.
  static func register() -> Bool {
    // acquire: pairs with the release below
    if registered.loadAcquire() != 0 { return true }
    guard Process.addHook({ ObjectPools.heard($0, $1) }) else { return false }
    registered.storeRelease(1)  // release: pairs with the acquire above
    return true
  }

  static func enter(_ pool: ObjectPoolPointer) {
    Process.lock.withLock {
      pool.pointee.next = first
      head.storeRelaxed(UInt(bitPattern: pool))
    }
  }

  private static var first: ObjectPoolPointer? {
    head.loadPointerRelaxed()?.assumingMemoryBound(to: ObjectPool.self)
  }

  /// Takes pools out of the list: `isGoing` is asked under the lock.
  static func leave(where isGoing: (ObjectPoolPointer) -> Bool) { Process.lock.withLock { remove(where: isGoing) } }

  // Under the lock, or in a fork's handlers.
  private static func visit(_ body: (ObjectPoolPointer) -> Void) {
    var pool = first
    while let current = pool {
      pool = current.pointee.next
      body(current)
    }
  }

  /// Visits the pools that are not orphans, under the lock: `body` must not make or destroy a pool.
  public static func forEach(_ body: (ObjectPoolPointer) -> Void) {
    Process.lock.withLock { visit { if !$0.isOrphaned { body($0) } } }
  }

  /// Whether the pool of an id is there, be it as an orphan. No id is used twice.
  public static func isThere(_ id: UInt) -> Bool {
    var isFound = false
    Process.lock.withLock { visit { if $0.id == id { isFound = true } } }
    return isFound
  }

  /// Destroys every orphan of which no object is out. One that was just being released when its pool became an orphan may have
  /// been the last and not have seen that; the next pool that is made or becomes one finds it.
  ///
  /// Under the lock to its end: who then finds that a pool is not there may let its memory pool go.
  @usableFromInline
  static func destroyOrphans() {
    Process.lock.withLock {
      remove { pool in
        pool.isOrphaned && pool.objectsOut() == 0
      } then: { pool in
        pool.release()
      }
    }
  }

  private static func remove(
    where isGoing: (ObjectPoolPointer) -> Bool, then: (ObjectPoolPointer) -> Void = { _ in }
  ) {
    var previous: ObjectPoolPointer?
    visit { pool in
      guard isGoing(pool) else {
        previous = pool
        return
      }
      if let previous {
        previous.pointee.next = pool.pointee.next
      } else {
        head.storeRelaxed(UInt(bitPattern: pool.pointee.next))
      }
      then(pool)
    }
  }

  // MARK: What happens

  private static func heard(_ event: UInt, _ argument: UInt) {
    switch event {
    case ProcessEvent.threadExit: visit { $0.returnLeases(of: argument) }
    case ProcessEvent.poolEnd: poolEnds(argument)
    case ProcessEvent.forkPrepare:
      for index in 0..<ObjectOrigins.partCount { ObjectOrigins.mutex(index).lockForFork() }
    case ProcessEvent.forkParent:
      for index in 0..<ObjectOrigins.partCount { ObjectOrigins.mutex(index).unlockAfterFork() }
    case ProcessEvent.forkChild:
      for index in 0..<ObjectOrigins.partCount { ObjectOrigins.mutex(index).resetAfterFork() }
      sweeperState.storeRelaxed(0)
      visit { $0.forkedChild(own: threadBlock().pointee.number) }
    default: break
    }
  }

  // A memory pool goes with all that is in it; what came from the system does not go by itself.
  private static func poolEnds(_ memory: UInt) {
    remove { pool in
      guard UInt(bitPattern: pool.pointee.memory) == memory else { return false }
      ObjectOrigins.releaseAll(of: UInt(bitPattern: pool))
      pool.unwatch()
      return true
    }
  }
}

extension UnsafeMutablePointer where Pointee == ObjectPool {
  /// In the child, by its only thread: ends the leases of all others. An object that one of them was about to acquire or release
  /// may be lost.
  fileprivate func forkedChild(own number: UInt) {
    firstPage { page in
      for cell in 0..<page.cellCount {
        let word = page.lessee(cell).loadRelaxed()
        if word != nobody, AtomicPointer(address: word).loadRelaxed() != number { page.giveBack(cell) }
      }
      return false
    }
    forEachLeases { leases in
      if leases.owner.loadRelaxed() == number { return }
      leases.forkedChild()
      leases.owner.storeRelaxed(ObjectLeases.nobody)
    }
    threadCount.storeRelaxed(leases(of: number) == nil ? 0 : 1)
  }
}

extension UnsafeMutablePointer where Pointee == ObjectLeases {
  // The cells have been given back already.
  fileprivate func forkedChild() {
    forget()
    for slot in 0..<ObjectLeases.slotCount { pointee.slots[slot].page = nil }
  }
}
