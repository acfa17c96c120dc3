import CMempoolShims

/// All object pools of the process, in the order in which they were made, the newest first.
///
/// In the storage that floor 6 keeps for families, under the process's lock. What happens to threads and processes comes by way of
/// a hook.
public enum ObjectPools {
  // The first pool; the others through ObjectPool.next.
  private static var head: AtomicPointer { AtomicPointer(Process.familyStorage.assumingMemoryBound(to: UInt.self)) }
  /// What the sweeper is doing, and how often.
  static var sweeperState: AtomicPointer { head.advanced(by: 1) }
  static var sweeperPeriod: AtomicPointer { head.advanced(by: 2) }
  private static var locks: LockGroupPointer { (Process.familyStorage + 3 * 8).assumingMemoryBound(to: LockGroup.self) }
  private static var originsOffset: Int { (3 * 8 + MemoryLayout<LockGroup>.size + 63) & ~63 }
  static var origins: UnsafeMutableRawPointer { Process.familyStorage + originsOffset }
  static var byteCount: Int { originsOffset + ObjectOrigins.byteCount }

  /// Sees that this is told of what happens to the process; false when it cannot be.
  static func register() -> Bool {
    let group = LockGroup(
      first: UInt(bitPattern: ObjectOrigins.mutex(0)), stride: UInt(MemoryLayout<ObjectOrigins.Part>.stride),
      count: UInt(ObjectOrigins.partCount))
    guard MemoryPoolPointer.shared.start(), Process.add({ ObjectPools.heard($0, $1) }, group, at: locks) else {
      return false
    }
    // The system's allocator has the tables, which memcheck is to find.
    Memcheck.keepNot(UInt(bitPattern: origins), UInt(ObjectOrigins.byteCount))
    Memcheck.define(UInt(bitPattern: origins), UInt(ObjectOrigins.byteCount))
    return true
  }

  static func enter(_ pool: ObjectPoolPointer) {
    Process.lock.withLock {
      pool.next.storeRelaxed(head.loadRelaxed())
      head.storeRelaxed(UInt(bitPattern: pool))
    }
  }

  // Under the lock, or in a fork's handlers.
  private static func visit(_ body: (ObjectPoolPointer) -> Void) {
    var next = head.loadPointerRelaxed()
    while let pool = next?.assumingMemoryBound(to: ObjectPool.self) {
      next = pool.next.loadPointerRelaxed()
      body(pool)
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

  /// Whether it is one that was made, and neither destroyed nor orphaned. Does not look at it. Under the lock: O(pools).
  public static func hasPool(_ pool: ObjectPoolPointer) -> Bool {
    var isFound = false
    forEach { if $0 == pool { isFound = true } }
    return isFound
  }

  // MARK: Pools that go

  /// Destroys pools that no object is out of; how many.
  ///
  /// Under the lock to its end: who then finds that a pool is not there may let its memory pool go.
  static func destroy(where isWanted: (ObjectPoolPointer) -> Bool) -> Int {
    var count = 0
    Process.lock.withLock {
      remove { pool in
        guard isWanted(pool), pool.objectsOut() == 0 else { return false }
        count += 1
        return true
      } then: { pool in
        pool.release()
      }
    }
    return count
  }

  /// Under the lock, so that whoever sees it there sees also what was acquired before.
  static func markOrphaned(_ pool: ObjectPoolPointer) { Process.lock.withLock { pool.orphaned.storeRelaxed(1) } }

  /// Destroys the orphans that no object is out of. One that was just being released when its pool became an orphan may have been
  /// the last and not have seen that; the next pool that is made or becomes one finds it, and so does a sweep of all.
  static func destroyOrphans() { _ = destroy { $0.isOrphaned } }

  // Under the lock.
  private static func remove(where isGoing: (ObjectPoolPointer) -> Bool, then: (ObjectPoolPointer) -> Void) {
    var previous = head
    visit { pool in
      guard isGoing(pool) else {
        previous = pool.next
        return
      }
      previous.storeRelaxed(pool.next.loadRelaxed())
      then(pool)
    }
  }

  // MARK: What happens

  private static func heard(_ event: UInt, _ argument: UInt) {
    switch event {
    case ProcessEvent.threadExit: visit { $0.returnLeases(of: argument) }
    case ProcessEvent.poolEnd: poolEnds(argument)
    case ProcessEvent.forkedChild:
      sweeperState.storeRelaxed(0)
      visit { $0.forkedChild(own: threadBlock().pointee.number) }
    default: break
    }
  }

  // A memory pool goes with all that is in it. What came from the system does not go by itself, nor do records of a pool that passes
  // through, which lie in the shared one.
  private static func poolEnds(_ memory: UInt) {
    remove { pool in
      UInt(bitPattern: pool.pointee.memory) == memory
    } then: { pool in
      ObjectOrigins.releaseAll(of: UInt(bitPattern: pool))
      if pool.pointee.memory.isPassThrough { pool.release() } else { pool.forget() }
    }
  }
}

extension UnsafeMutablePointer where Pointee == ObjectPool {
  /// In the child, by its only thread: ends the leases of all others. An object that one of them was about to acquire or release
  /// may be lost.
  fileprivate func forkedChild(own number: UInt) {
    firstPage { page in
      for cell in 0..<page.cellCount {
        guard let leases = page.lessee(cell).loadPointerRelaxed()?.assumingMemoryBound(to: ObjectLeases.self) else {
          continue
        }
        if UInt(bitPattern: leases) != nobody, leases.thread.loadRelaxed() != number { page.giveBack(cell) }
      }
      return false
    }
    forEachLeases { leases in
      if leases.thread.loadRelaxed() == number { return }
      leases.forget()
      leases.thread.storeRelaxed(ObjectLeases.nobody)
    }
    threadCount.storeRelaxed(leases(of: number) == nil ? 0 : 1)
  }
}
