public import CMempoolShims

extension UnsafeMutablePointer where Pointee == ObjectPool {
  /// Gives an object back to the pool that it came from. Nil is nothing to do; anything that is not an object of a pool and out
  /// is reported on one line, and the process aborts. Any thread. Into a cell that the thread leases it is some thirty
  /// instructions, without a call, a lock or an atomic read-modify-write; otherwise one read-modify-write.
  ///
  /// Memory ordering: what the caller wrote to the object is visible to whoever gets it next.
  @inlinable @inline(__always)
  public static func release(_ pointer: UnsafeMutableRawPointer?, call: StaticString = "release") {
    let address = UInt(bitPattern: pointer)
    let block = threadBlock()
    let offset = address &- block.pointee.base
    if offset < block.pointee.byte_count {
      let entry =
        block.pointee.pages.unsafelyUnwrapped.assumingMemoryBound(to: PageEntry.self)
        + Int(bitPattern: offset >> Page.shift)
      if entry.heap.loadRelaxed() & 0xff == PageEntryPointer.objectKind {
        let page = entry.slab.loadPointerRelaxed().unsafelyUnwrapped.assumingMemoryBound(to: ObjectPage.self)
        let gate = page.gate.loadRelaxed()
        let (item, rest) = (address &- page.pointee.base).multipliedFullWidth(by: gate)
        if rest < gate {
          let cell = item >> 6, bit: UInt = 1 &<< item
          // acquire: pairs with the swap in lease(_:to:atMost:)
          let lessee = page.lessee(cell).loadPointerAcquire().unsafelyUnwrapped
          let leases = lessee.assumingMemoryBound(to: ObjectLeases.self)
          if leases.thread.loadRelaxed() == block.pointee.number, page.isOut(cell, bit) {
            leases.given.addUnshared(1)
            page.putHeld(cell, bit)
            return
          }
        }
      }
    }
    releaseSlow(pointer, CallName(call))
    fenceCompiler()  // no tail call: so the usual case sets up no frame
  }

  @inline(never) @usableFromInline
  static func releaseSlow(_ pointer: UnsafeMutableRawPointer?, _ call: CallName) {
    guard let pointer else { return }
    let address = UInt(bitPattern: pointer)
    switch ObjectPlace(address) {
    case .prepared(let page): page.pointee.pool.release(address, page, call)
    case .readable: releaseFromSegment(address, call)
    case .other: misuse(call, address, "not an object of a pool")
    case .foreign: releaseFromSystem(address, call)
    }
  }

  // A prepared object. After the last one of an orphan the pool may be gone.
  private func release(_ address: UInt, _ page: ObjectPagePointer, _ call: CallName) {
    // First: what is wrong with it memcheck reports, too, and knows where it was released.
    if pointee.isWatched { Memcheck.freed(address, in: UInt(bitPattern: self)) }
    let (item, rest) = (address &- page.pointee.base).multipliedFullWidth(by: page.pointee.reciprocal)
    if rest >= page.pointee.reciprocal || item >= page.pointee.itemCount {
      misuse(call, address, "not the start of an object")
    }
    let cell = item >> 6, bit: UInt = 1 << (item & 63)
    let isOrphaned = isOrphaned
    let leases = ownLeases()
    // Before it is free, after which the pool may be gone.
    if let leases { noticeSweep(leases) }
    if !page.isOut(cell, bit) { misuse(call, address, "double free") }
    if pointee.isWatched { mp_sanitizer_poison(page.object(item), Int(bitPattern: pointee.stride)) }
    if let leases, page.lessee(cell).loadRelaxed() == UInt(bitPattern: leases) {
      leases.given.addUnshared(1)
      page.putHeld(cell, bit)
    } else {
      if let leases {
        leases.given.addUnshared(1)
        leases.noteRoom()
      } else {
        _ = sharedGiven.fetchAddRelaxed(1)
      }
      // Before it is free: the pool may go with it. Where there is something to be found already, nobody need be told.
      if !page.hasFree(cell) { cursor.storeRelaxed(UInt(bitPattern: page)) }
      if !page.free(cell, bit) { misuse(call, address, "double free") }
    }
    if isOrphaned { ObjectPools.destroyOrphans() }
  }
}

extension UnsafeMutablePointer where Pointee == PageEntry {
  /// ``PageKind/object``, as a constant of the code that it is inlined into.
  @inlinable @inline(__always) static var objectKind: UInt { 7 }
}
