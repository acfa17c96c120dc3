/// What an object pool counted: read while threads run, one after the other.
public struct ObjectPoolStatistics: Sendable {
  /// Bytes of one object, as asked for.
  public var itemSize: UInt = 0
  /// Bytes from one prepared object to the next.
  public var stride: UInt = 0
  /// Objects that were prepared.
  public var count: UInt = 0
  /// Of these, out now; and not, whether anybody may have them or threads hold them ready for themselves.
  public var hot: UInt = 0
  public var cold: UInt = 0
  /// The most that were out.
  public var maxHot: UInt = 0
  /// Objects acquired, wherever they came from: cumulative.
  public var allocations: UInt = 0
  /// Of these, the ones that were no prepared objects: cumulative.
  public var misses: UInt = 0
  /// Of those, out now; and the most that were.
  public var fallback: UInt = 0
  public var maxFallback: UInt = 0
  /// Bytes of the prepared objects' pages.
  public var pageBytes: UInt = 0
  /// Bytes of the pool's records.
  public var metadataBytes: UInt = 0
  /// Threads that have leased cells and not ended.
  public var threads: UInt = 0
  /// Times that it was swept: cumulative.
  public var sweeps: UInt = 0

  public init() {}
}

extension UnsafeMutablePointer where Pointee == ObjectPool {
  /// What this pool has counted so far. Any thread; O(threads + pages), no lock.
  ///
  /// `maxHot` is exact for a pool that one thread uses. With several it is the most that was seen when one of them had nothing at
  /// hand, when the pool was swept, or here: a peak in between that none of these saw is missing.
  public func statistics() -> ObjectPoolStatistics {
    var statistics = ObjectPoolStatistics()
    let hot = hotNow()
    raise(hotPeak, to: hot)
    statistics.itemSize = pointee.itemSize
    statistics.stride = pointee.stride
    statistics.count = pointee.count
    statistics.hot = hot
    statistics.cold = pointee.count - hot
    statistics.maxHot = hotPeak.loadRelaxed()
    statistics.misses = misses.loadRelaxed()
    statistics.fallback = fallbackNow()
    statistics.maxFallback = fallbackPeak.loadRelaxed()
    statistics.allocations = statistics.misses &+ sharedTaken.loadRelaxed()
    var records: UInt = 0
    forEachLeases { leases in
      statistics.allocations &+= leases.taken.loadRelaxed()
      records += 1
    }
    statistics.pageBytes = pointee.pageBytes
    statistics.metadataBytes =
      UInt(MemoryLayout<ObjectPool>.size) &+ records &* UInt(MemoryLayout<ObjectLeases>.size)
    firstPage { page in
      statistics.metadataBytes &+= page.byteCount
      return false
    }
    statistics.threads = threadCount.loadRelaxed()
    statistics.sweeps = sweeps.loadRelaxed()
    return statistics
  }

  /// Whether cells, free sets, leases, pages and counts agree. Only while no other call on the pool is running; what is broken
  /// goes to standard error.
  public func checkInvariants() -> Bool {
    var isSound = true
    var items: UInt = 0, leased: UInt = 0, slots: UInt = 0, out: UInt = 0
    firstPage { page in
      items += page.pointee.itemCount
      out += page.itemsOut()
      if !check(page) { isSound = false }
      for cell in 0..<page.cellCount where page.lessee(cell).loadRelaxed() != nobody { leased += 1 }
      return false
    }
    var threads: UInt = 0
    forEachLeases { leases in
      if leases.thread.loadRelaxed() != ObjectLeases.nobody { threads += 1 }
      for slot in 0..<ObjectLeases.slotCount {
        guard let page = leases.pointee.slots[slot].page else { continue }
        slots += 1
        if slot >= leases.pointee.limit { isSound = broken("a lease in a slot that counts as free") }
        if page.lessee(leases.pointee.slots[slot].cell).loadRelaxed() != UInt(bitPattern: leases) {
          isSound = broken("a lease that its cell does not know")
        } else if leases.thread.loadRelaxed() == ObjectLeases.nobody {
          isSound = broken("a lease of nobody's")
        }
      }
    }
    if slots != leased { isSound = broken("a leased cell that its lessee does not know") }
    if threads != threadCount.loadRelaxed() { isSound = broken("a wrong count of threads") }
    if items != pointee.count { isSound = broken("a wrong count of objects") }
    if out != hotNow() { isSound = broken("cells and counts that do not agree on how many are out") }
    return isSound
  }

  private func check(_ page: ObjectPagePointer) -> Bool {
    if page.pointee.pool != self { return broken("a page of another pool") }
    for cell in 0..<page.cellCount {
      let taken = page.cell(cell).loadRelaxed(), held = page.held(cell).loadRelaxed()
      if taken & page.surplus(cell) != 0 { return broken("an object beyond the last one") }
      if held & ~taken != 0 { return broken("an object free twice: for its lessee, and for all") }
      if held != 0, page.lessee(cell).loadRelaxed() == nobody { return broken("objects held by nobody") }
    }
    for back in 0..<page.pointee.pageCount {
      let entry = page.pointee.segment.entry(of: page.pointee.base + back << Page.shift)
      if entry.isSlab || entry.kind != .object || entry.slab.loadRelaxed() != UInt(bitPattern: page) {
        return broken("a page whose entry names something else")
      }
    }
    return true
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("object pool", UInt(bitPattern: self), what) }
}
