import CMempoolShims

/// Where a slab belongs after items came back, and what others have freed.
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// The same as ``settle(_:)``, by the thread whose first heap this is, and which may allocate next: a slab that was full
  /// takes the seat of a current one that is. Replacing objects of slabs that are all full then takes one slow path, not two. Each
  /// replacement comes here then, and waits for memory elsewhere: the fewer instructions, the more of them are under way at once.
  @inline(never)
  func settleOwn(_ slab: SlabPointer) {
    if slab.pointee.place == .full {
      let sizeClass = Int(slab.pointee.sizeClass)
      let seat = current(sizeClass)
      if !seat.hasRoom, !needsCare(sizeClass) {
        pointee.changes[sizeClass & 63] &+= 1
        if pointee.changes[sizeClass & 63] == 0 { return settleAgain(slab) }
        return change(seat, slab, sizeClass)
      }
    }
    settleOther(slab)
  }

  @inline(__always)
  private func change(_ seat: SlabPointer, _ slab: SlabPointer, _ sizeClass: Int) {
    if seat != Self.emptySlab { seat.giveUpSeat() }
    slab.takeSeat()
    currents[sizeClass] = slab
  }

  /// Every 256th time without a step to another slab in between.
  @inline(never)
  private func settleAgain(_ slab: SlabPointer) {
    let sizeClass = Int(slab.pointee.sizeClass)
    guard mayBeRelieved(sizeClass) else { return change(current(sizeClass), slab, sizeClass) }
    pointee.short |= 1 << UInt(sizeClass)
    settleOther(slab)
  }

  /// What ``settleOwn(_:)`` leaves over.
  @inline(never)
  private func settleOther(_ slab: SlabPointer) {
    switch slab.pointee.place {
    case .full: link(slab)  // Not empty: slabs have more than one item.
    case .room, .spare: settle(slab)
    case .current:
      if current(Int(slab.pointee.sizeClass)) == slab, slab.used == 0 {
        clearSeats(of: slab)
        retire(slab)
      }
    }
  }

  /// Puts a slab where it belongs after items came back: it may have room again, or be empty. By the owner.
  func settle(_ slab: SlabPointer) {
    switch slab.pointee.place {
    case .current, .spare: break
    case .room:
      if slab.used == 0 {
        unlink(slab)
        retire(slab)
      }
    case .full:
      if slab.used == 0 { retire(slab) } else if slab.hasRoom { link(slab) }
    }
  }

  private func retire(_ slab: SlabPointer) {
    if !keepSpare(slab) { destroy(slab) }
  }

  func destroy(_ slab: SlabPointer) {
    slabs.addUnshared(~0)
    slab.destroy()
  }

  // At the end: what has been in the list for longest has had time to gather free items.
  private func link(_ slab: SlabPointer) {
    let sizeClass = Int(slab.pointee.sizeClass)
    slab.setPlace(.room, from: .full)
    if let head = pointee.room[sizeClass] {
      let last = head.pointee.previous
      slab.pointee.next = head
      slab.pointee.previous = last
      last?.pointee.next = slab
      head.pointee.previous = slab
    } else {
      slab.pointee.next = slab
      slab.pointee.previous = slab
      pointee.room[sizeClass] = slab
      pointee.classesWithRoom |= 1 << UInt(sizeClass)
    }
    pointee.newsOfRoom |= 1 << UInt(sizeClass)
  }

  func unlink(_ slab: SlabPointer) {
    let sizeClass = Int(slab.pointee.sizeClass)
    let next = slab.pointee.next
    if next == slab {
      pointee.room[sizeClass] = nil
      pointee.classesWithRoom &= ~(1 << UInt(sizeClass))
      return
    }
    next?.pointee.previous = slab.pointee.previous
    slab.pointee.previous?.pointee.next = next
    if pointee.room[sizeClass] == slab { pointee.room[sizeClass] = next }
  }

  /// Takes the whole pending list and collects its slabs; whether there was one. By the owner.
  @discardableResult
  func drain() -> Bool {
    if pending.loadRelaxed() == 0 { return false }
    var slab = pending.exchangeAcquire(0)  // acquire: pairs with the swap in enqueue(_:)
    if uncollectedBytes.loadRelaxed() != 0 { uncollectedBytes.storeRelaxed(0) }
    while slab != 0 {
      let record = UnsafeMutableRawPointer(bitPattern: slab).unsafelyUnwrapped.assumingMemoryBound(to: Slab.self)
      slab = record.pendingNext.loadRelaxed()
      collected.addUnshared(record.collect())
      settle(record)
    }
    return true
  }

  /// Puts a slab on the pending list, by the one thread that told its summary first; and looks after the heap if nobody owns
  /// it. The slab may be gone when this returns.
  func push(_ slab: SlabPointer) {
    let mediumBytes = slab.isMedium ? slab.byteCount : 0
    enqueue(slab)
    if mediumBytes > 0 { noteMediumPending(mediumBytes) }
    lookAfter()
  }

  /// Puts a slab on the pending list that nobody else will put there.
  func enqueue(_ slab: SlabPointer) {
    var head = pending.loadRelaxed()
    while true {
      slab.pendingNext.storeRelaxed(head)
      // release: pairs with the exchanges in drain() and returnUncollected(all:)
      let seen = pending.compareAndSwapRelease(head, UInt(bitPattern: slab))
      if seen == head { break }
      head = seen
    }
    // pairs with the fence in abandon(afterVisit:): one of the two sees what the other wrote; and with the fence in
    // returnUncollected(all:)
    fenceFull()
  }

  /// Collects what is pending if nobody owns the heap; after something was put on one of its pending lists, and a full fence.
  func lookAfter() {
    if pointee.registry.isOwned(pointee.index) { return }
    if pointee.registry.tryAdopt(pointee.index) {
      drain()
      abandon(afterVisit: true)
    }
  }
}
