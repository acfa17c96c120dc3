import CMempoolShims

extension UnsafeMutablePointer where Pointee == ObjectPool {
  /// Gives back what is idle: the calling thread's leases, so that others may have these objects, and to the system what the
  /// memory pool does not need any more of what served as fallback. Other threads give their leases back the next time that they
  /// have nothing at hand, or release an object that is not of a cell of theirs. The bytes given to the system. Any thread.
  @discardableResult
  public func sweep() -> UInt {
    giveBackLeases()
    return passesThrough ? 0 : pointee.memory.purge()
  }

  func giveBackLeases() {
    raise(hotPeak, to: hotNow())
    _ = sweeps.fetchAddRelaxed(1)
    _ = revision.fetchAddRelaxed(1)
    if let leases = leases(of: threadBlock().pointee.number) { noticeSweep(leases) }
  }

  /// Does what a sweep by another thread asked this one to do.
  @inline(__always)
  func noticeSweep(_ leases: ObjectLeasesPointer) {
    let revision = revision.loadRelaxed()
    if leases.pointee.revision == revision { return }
    leases.pointee.revision = revision
    leases.giveBackAll()
    leases.noteRoom()
  }
}

extension ObjectPools {
  /// Sweeps all pools; the bytes given to the system.
  @discardableResult
  public static func sweep() -> UInt {
    destroyOrphans()
    forEach { $0.giveBackLeases() }
    var bytes: UInt = 0
    var purged: MemoryPoolPointer?
    // Most lie in the shared pool, which is purged once.
    forEach { pool in
      guard !pool.passesThrough, pool.pointee.memory != purged, pool.pointee.memory != .shared else { return }
      purged = pool.pointee.memory
      bytes += pool.pointee.memory.purge()
    }
    return bytes + MemoryPoolPointer.shared.purge()
  }
}
