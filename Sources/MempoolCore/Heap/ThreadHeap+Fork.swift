/// After a fork, in the child.
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// In the child, by its only thread: forgets lists, which another thread may have been changing. Slabs are then given back
  /// one by one to ``recover(_:)``.
  func forgetLists(isOwn: Bool) {
    pending.storeRelaxed(0)
    returning.storeRelaxed(0)
    for sizeClass in 0..<64 {
      pointee.room[sizeClass] = nil
      pointee.made[sizeClass] = 0
      pointee.relieved[sizeClass] = 0
    }
    pointee.classesWithRoom = 0
    for sizeClass in 0..<SizeClass.count { spares(sizeClass).storeRelaxed(0) }
    spareBytes.storeRelaxed(0)
    slabs.storeRelaxed(0)
    quarantine?.forget()
    if !isOwn {
      clearCurrent()
      // What another thread kept is lost to the child: it may have been in the middle of keeping it.
      pointee.runs = RunCache()
      cachedRunBytes.storeRelaxed(0)
    }
  }

  /// Rebuilds a slab's free set from its links and cells, whatever another thread was about to do to it.
  func recover(_ slab: SlabPointer) {
    for index in 0..<slab.cellCount {
      var freed = ~slab.cell(index << 6).loadRelaxed()
      slab.cell(index << 6).storeRelaxed(Cell.busy)
      while freed != 0 {
        let item = index << 6 + UInt(freed.trailingZeroBitCount)
        freed &= freed &- 1
        slab.setLink(item, 0)
      }
    }
    if slab.isHardened { slab.recoverNotes() }
    slab.pointee.uncollected = 0
    slab.pointee.returned = 0
    slab.summary.storeRelaxed(0)
    slab.pendingNext.storeRelaxed(0)
    var used: UInt = 0
    slab.pointee.head = 0
    var item = UInt(slab.pointee.carved)
    while item > 0 {
      if slab.link(item) == SlabPointer.taken {
        used += 1
      } else {
        slab.setLink(item, slab.pointee.head)
        slab.pointee.head = UInt16(item)
      }
      item -= 1
    }
    slab.used = used
    let sizeClass = Int(slab.pointee.sizeClass)
    slabs.addUnshared(1)
    if pointee.made[sizeClass] < .max { pointee.made[sizeClass] += 1 }
    // The forking thread was in no allocation: its own slabs' places are right. One may be current in another heap of its own.
    if owner.loadRelaxed() != 0, slab.pointee.place == .current { return }
    slab.pointee.staysEmpty = false
    slab.setPlace(.full)
    settle(slab)
  }
}

extension UnsafeMutablePointer where Pointee == Segment {
  /// In a forked child, of a hardened pool: frees the run that begins at this page, if it was given back and no thread goes on
  /// with it.
  func recoverRun(_ page: UInt) {
    let entry = entry(page)
    guard entry.kind == .longRun, LargeNote.isGivenBack(entry.slab) else { return }
    let head = address(ofPage: page), count = entry.base.loadRelaxed()
    // Its thread may have been clearing it.
    if !LargeNote.isQuarantined(entry.slab) {
      let used = Self.usedByteCount(LargeNote.formerByteCount(entry.slab), count << Page.fragmentShift)
      Wipe.clear(head, used, mayReturn: false)
    }
    _ = releaseRun(head, count)
  }
}
