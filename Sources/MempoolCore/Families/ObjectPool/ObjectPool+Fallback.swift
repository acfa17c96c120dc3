import CMempoolShims

/// Objects that are not prepared ones.
///
/// One from the segment is an object of the memory pool's heaps, with two words before it that name its object pool; one from
/// the system has nothing of ours beside it, and stands in ``ObjectOrigins``. Both are found by their address alone: the words
/// are looked at only where memory of this allocator is.
extension UnsafeMutablePointer where Pointee == ObjectPool {
  @inline(never)
  func acquireElsewhere() -> UnsafeMutableRawPointer? {
    guard let object = takeElsewhere() else {
      mp_errno_set(Int32(MP_ENOMEM))
      return nil
    }
    let taken = misses.fetchAddRelaxed(1) &+ 1
    let live = Int(bitPattern: taken &- fallbackGiven.loadRelaxed())
    raise(fallbackPeak, to: UInt(max(live, 0)))
    return object
  }

  private func takeElsewhere() -> UnsafeMutableRawPointer? {
    if pointee.fallback == .system || passesThrough || pointee.isWatched { return takeFromSystem() }
    // The words are at its end; what comes before them keeps the alignment.
    let lead = max(pointee.alignment, 16)
    guard
      let start = pointee.memory.allocateAligned(pointee.itemSize &+ lead, alignment: lead, call: "acquire")
    else { return nil }
    let object = UInt(bitPattern: start) &+ lead
    guard case .readable = ObjectPlace(object) else {
      // From wherever the memory pool goes when it has nothing itself: what lies there is not ours to look at.
      pointee.memory.deallocate(start, call: "acquire")
      return takeFromSystem()
    }
    Self.mark(object).storeRelaxed(Self.seal(object))
    Self.origin(object).storeRelaxed(UInt(bitPattern: self) | UInt(lead.trailingZeroBitCount))
    return UnsafeMutableRawPointer(bitPattern: object)
  }

  private func takeFromSystem() -> UnsafeMutableRawPointer? {
    let size = Int(bitPattern: pointee.itemSize), alignment = pointee.alignment
    let object =
      alignment > 16 ? mp_system_memalign(Int(bitPattern: alignment), size) : mp_system_malloc(size)
    guard let object else { return nil }
    if ObjectOrigins.insert(UInt(bitPattern: object), UInt(bitPattern: self)) { return object }
    mp_system_free(object)
    return nil
  }

  // The two words before an object: that it is one; and its pool, a multiple of 64, with the binary logarithm of what lies before.
  private static func mark(_ object: UInt) -> AtomicPointer { AtomicPointer(address: object - 16) }
  private static func origin(_ object: UInt) -> AtomicPointer { AtomicPointer(address: object - 8) }
  // No two objects have the same, and nobody writes one by accident.
  private static func seal(_ object: UInt) -> UInt { object ^ 0x6f62_6a70_6f6f_6c21 }

  static func releaseFromSegment(_ address: UInt, _ call: CallName) {
    guard address & 15 == 0 else { misuse(call, address, "not an object of a pool") }
    let seal = seal(address)
    let mark = mark(address)
    Memcheck.silence()
    defer { Memcheck.listen() }
    switch mark.loadRelaxed() {
    case seal: break
    case ~seal: misuse(call, address, "double free")
    default: misuse(call, address, "not an object of a pool")
    }
    let origin = origin(address).loadRelaxed()
    // Of two who release it at the same time one comes second.
    if mark.compareAndSwapRelaxed(seal, ~seal) != seal { misuse(call, address, "double free") }
    let pool = ObjectPoolPointer(bitPattern: origin & ~63).unsafelyUnwrapped
    let start = UnsafeMutableRawPointer(bitPattern: address - 1 << (origin & 63))
    pool.releaseElsewhere {
      let memory = pool.pointee.memory
      // The usual way of the shared pool keeps no slab that has become empty, also when its thread is idle from now on.
      if memory == .shared {
        memory.deallocateUntold(start, call: "release")
      } else {
        memory.deallocateSlow(start, call)
      }
    }
  }

  static func releaseFromSystem(_ address: UInt, _ call: CallName) {
    switch ObjectOrigins.take(address) {
    case .live(let pool):
      let pool = ObjectPoolPointer(bitPattern: pool).unsafelyUnwrapped
      pool.releaseElsewhere { mp_system_free(UnsafeMutableRawPointer(bitPattern: address)) }
    case .former: misuse(call, address, "double free")
    case .unknown: misuse(call, address, "not memory of this allocator")
    }
  }

  // Counting is the last thing done to the pool, which may go by it if it is an orphan.
  private func releaseElsewhere(_ release: () -> Void) {
    let isOrphaned = isOrphaned
    release()
    _ = fallbackGiven.fetchAddAcquireRelease(1)  // release: pairs with the acquire in fallbackNow()
    if isOrphaned { ObjectPools.destroyOrphans() }
  }
}
