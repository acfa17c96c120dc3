public import CMempoolShims

extension UnsafeMutablePointer where Pointee == ObjectPool {
  /// An object, its content being whatever was there before; nil when there is no memory, with errno ENOMEM. Any thread. The
  /// usual case is some twenty instructions, without a call, a lock or an atomic read-modify-write. Worst case: a look at all
  /// prepared objects, and then what the fallback costs.
  ///
  /// Memory ordering: what the object's last user wrote before releasing it is visible to the caller.
  @inlinable @inline(__always)
  public func acquire() -> UnsafeMutableRawPointer? {
    if let leases = rememberedLeases, let object = leases.take(pointee.stride) { return object }
    let object = acquireSlow()
    fenceCompiler()  // no tail call: so the usual case sets up no frame
    return object
  }

  /// The same, its ``itemSize`` bytes zeroed.
  public func acquireZeroed() -> UnsafeMutableRawPointer? {
    guard let object = acquire() else { return nil }
    object.initializeMemory(as: UInt8.self, repeating: 0, count: Int(bitPattern: pointee.itemSize))
    return object
  }

  /// The calling thread's leases, if it remembers them.
  @inlinable @inline(__always)
  var rememberedLeases: ObjectLeasesPointer? {
    let entry = (UnsafeMutableRawPointer(mp_thread_recent(threadBlock())) + Int(bitPattern: pointee.recentOffset))
      .assumingMemoryBound(to: mp_thread_entry.self)
    guard entry.pointee.owner == pointee.id else { return nil }
    return entry.pointee.value.unsafelyUnwrapped.assumingMemoryBound(to: ObjectLeases.self)
  }

  @inline(never) @usableFromInline
  func acquireSlow() -> UnsafeMutableRawPointer? {
    guard let object = acquirePrepared() else { return acquireElsewhere() }
    if pointee.isWatched {
      mp_sanitizer_unpoison(object, Int(bitPattern: pointee.itemSize))
      Memcheck.allocated(UInt(bitPattern: object), pointee.itemSize, in: UInt(bitPattern: self))
    }
    return object
  }

  private func acquirePrepared() -> UnsafeMutableRawPointer? {
    guard !passesThrough else { return nil }
    guard let leases = ownLeases() else { return search(nil, 1) }
    noticeSweep(leases)
    if let object = leases.take(pointee.stride) { return object }
    if leases.selectHeld() { return leases.take(pointee.stride) }
    let most = portion(leases)
    if leases.collect(atMost: most) {
      leases.noteRoom()
      return leases.take(pointee.stride)
    }
    if leases.pointee.skips > 0 {
      leases.pointee.skips -= 1
      return nil
    }
    return search(leases, most)
  }

  // MARK: How many at once

  /// How many objects this thread, which has none at hand, is to claim at once, at most; notes a new peak.
  ///
  /// A thread that is alone claims no more than have been out before, and one: so the peak is exact, as what is held and what
  /// is out are never more than it. With others it claims a fair share, and looks at what all have counted less often the more
  /// they are.
  private func portion(_ leases: ObjectLeasesPointer) -> UInt {
    let threads = threadCount.loadRelaxed()
    leases.pointee.claims &+= 1
    if threads > 1, leases.pointee.claims % (threads / 8 + 1) != 0 { return fairShare(threads) }
    let out = hotNow()
    if out < pointee.count { raise(hotPeak, to: out + 1) }
    if threads > 1 { return fairShare(threads) }
    return min(max(hotPeak.loadRelaxed().minus(out), 1), 64)
  }

  /// Cells that a thread may lease now.
  private var mostLeases: Int {
    let threads = threadCount.loadRelaxed()
    if threads <= 1 { return ObjectLeases.slotCount }
    return min(max(Int(truncatingIfNeeded: pointee.cellCount / (2 * threads)), 1), ObjectLeases.slotCount)
  }

  private func fairShare(_ threads: UInt) -> UInt { min(max(pointee.count / (4 * threads), 1), 64) }

  // MARK: Searching

  /// Pages that a thread looks at, where there are others: free objects may be held by them; and pages that it goes on for a cell
  /// to lease, where it has seen a free object of another thread's.
  private static var searchLimit: UInt { 64 }
  private static var leaseLimit: UInt { 4 }

  /// A prepared object of a cell that nobody leases, leasing it; or else, or without `leases`, a single one of another's cell; nil: none
  /// was found.
  private func search(_ leases: ObjectLeasesPointer?, _ most: UInt) -> UnsafeMutableRawPointer? {
    let isAlone = leases != nil && threadCount.loadRelaxed() <= 1
    // Known for sure then, and not worth a walk over all pages.
    if isAlone, hotNow() >= pointee.count { return nil }
    guard let first = cursor.loadPointerRelaxed()?.assumingMemoryBound(to: ObjectPage.self) else { return nil }
    var page = first
    var left = isAlone ? .max : Self.searchLimit
    var single: ObjectPagePointer?
    repeat {
      if let leases, let object = lease(page, leases, most) { return object }
      if single == nil, page.hasFree {
        single = page
        left = leases == nil ? 1 : min(left, Self.leaseLimit)
      }
      page = page.pointee.next
      left -= 1
    } while page != first && left > 0
    // Others may be faster.
    while let found = single {
      if let object = takeSingle(found, leases) { return object }
      single = found.pointee.next == first ? nil : found.pointee.next
    }
    cursor.storeRelaxed(UInt(bitPattern: page))
    if !isAlone { leases?.noteFruitless() }
    return nil
  }

  private func lease(_ page: ObjectPagePointer, _ leases: ObjectLeasesPointer, _ most: UInt) -> UnsafeMutableRawPointer?
  {
    for index in 0..<page.cellCount where page.hasFree(index) && page.lease(index, to: leases, atMost: most) {
      found(page, leases)
      leases.add(page, index, most: mostLeases)
      return leases.take(pointee.stride)
    }
    return nil
  }

  private func takeSingle(_ page: ObjectPagePointer, _ leases: ObjectLeasesPointer?) -> UnsafeMutableRawPointer? {
    for index in 0..<page.cellCount where page.hasFree(index) {
      guard let item = page.claimOne(index) else { continue }
      found(page, leases)
      if let leases { leases.taken.addUnshared(1) } else { takenWithoutLeases() }
      return page.object(item)
    }
    return nil
  }

  private func found(_ page: ObjectPagePointer, _ leases: ObjectLeasesPointer?) {
    cursor.storeRelaxed(UInt(bitPattern: page))
    leases?.noteRoom()
  }

  private func takenWithoutLeases() {
    _ = sharedTaken.fetchAddRelaxed(1)
    raise(hotPeak, to: hotNow())
  }

  // MARK: The thread's leases

  /// The calling thread's leases, registered if they were not; nil when it can have none: it is past its exit handlers, there is
  /// no memory for the record, or the pool has no leases.
  func ownLeases() -> ObjectLeasesPointer? {
    if let leases = rememberedLeases { return leases }
    let block = threadBlock()
    guard block.pointee.state != UInt(MP_THREAD_DEAD), !passesThrough, !pointee.isWatched else { return nil }
    Process.number(block)
    let number = block.pointee.number
    let known = leases(of: number)
    guard let leases = known ?? adoptLeases(number) ?? makeLeases(number) else { return nil }
    if known == nil {
      _ = threadCount.fetchAddRelaxed(1)
      block.pointee.registered += 1
      mp_thread_exit_arm()  // may allocate
    }
    let entry = mp_thread_recent(block) + Int(bitPattern: pointee.id & UInt(MP_THREAD_RECENT - 1))
    entry.pointee.owner = pointee.id
    entry.pointee.value = UnsafeMutableRawPointer(leases)
    // What it releases is found the usual way, too.
    MemoryPoolPointer.shared.introduce(block)
    return leases
  }

  /// The lease record of a thread; nil when it has none.
  func leases(of number: UInt) -> ObjectLeasesPointer? {
    // acquire: pairs with the swap in push(_:_:_:)
    var next = bucket(number).loadPointerAcquire()?.assumingMemoryBound(to: ObjectLeases.self)
    while let leases = next {
      if leases.thread.loadRelaxed() == number { return leases }
      next = leases.pointee.nextInBucket
    }
    return nil
  }

  // A record of the thread's bucket that an exited thread left.
  private func adoptLeases(_ number: UInt) -> ObjectLeasesPointer? {
    // acquire: pairs with the swap in push(_:_:_:)
    var next = bucket(number).loadPointerAcquire()?.assumingMemoryBound(to: ObjectLeases.self)
    while let leases = next {
      let nobody = ObjectLeases.nobody
      // acquire: pairs with the release in returnLeases(of:)
      if leases.thread.loadRelaxed() == nobody, leases.thread.compareAndSwapAcquire(nobody, number) == nobody {
        return leases
      }
      next = leases.pointee.nextInBucket
    }
    return nil
  }

  private func makeLeases(_ number: UInt) -> ObjectLeasesPointer? {
    guard let block = pointee.segments.allocateRecord(UInt(MemoryLayout<ObjectLeases>.size)) else { return nil }
    let leases = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: ObjectLeases.self)
    leases.start(number, revision: revision.loadRelaxed())
    push(leases, bucket(number)) { leases.pointee.nextInBucket = $0 }
    push(leases, newestLeases) { leases.pointee.next = $0 }
    return leases
  }

  private func push(
    _ leases: ObjectLeasesPointer, _ head: AtomicPointer, _ link: (ObjectLeasesPointer?) -> Void
  ) {
    var seen = head.loadRelaxed()
    while true {
      link(UnsafeMutableRawPointer(bitPattern: seen)?.assumingMemoryBound(to: ObjectLeases.self))
      // release: pairs with the acquires in leases(of:), adoptLeases(_:) and forEachLeases(_:)
      let found = head.compareAndSwapRelease(seen, UInt(bitPattern: leases))
      if found == seen { return }
      seen = found
    }
  }

  /// Gives up the leases of a thread that exits; by that thread. The pool is not destroyed meanwhile.
  func returnLeases(of number: UInt) {
    guard let leases = leases(of: number) else { return }
    leases.giveBackAll()
    _ = threadCount.fetchAddRelaxed(0 &- 1)
    leases.thread.storeRelease(ObjectLeases.nobody)  // release: pairs with the acquire in adoptLeases(_:)
  }
}
