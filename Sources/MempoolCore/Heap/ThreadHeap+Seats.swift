/// Which slab an allocation of a class comes from: its current slab sits in the seat of its class, and, where neighbouring classes share
/// it, in theirs.
///
/// By the owner. O(1): a slab is in four seats at most.
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// The class whose slabs a class is served from. Of larger objects a small program has a few in each of many classes, and would
  /// hold a slab for each: neighbouring classes begin with 48 KiB of slabs together.
  func source(_ sizeClass: Int) -> Int {
    let shared = SizeClass.shared(sizeClass)
    let begins = pointee.made[shared] < (SizeClass.itemSize(shared) > 1024 ? 2 : 3)
    return begins ? shared : sizeClass
  }

  /// Puts a slab with room in the seat of a class, and in that of its own class, instead of those that were there and have none; its
  /// first item.
  func seat(_ next: SlabPointer, _ sizeClass: Int, instead old: SlabPointer) -> UnsafeMutableRawPointer? {
    let own = Int(next.pointee.sizeClass)
    if old != Self.emptySlab { leaveSeats(old) }
    if current(own) != next {
      if current(own) != Self.emptySlab { leaveSeats(current(own)) }
      next.pointee.staysEmpty = next.pointee.place == .spare && mayStayEmpty(own, next.byteCount)
      next.setPlace(.current)
      currents[own] = next
    }
    if own != sizeClass {
      currents[sizeClass] = next
      pointee.sharing |= 1 << UInt(own) | 1 << UInt(sizeClass)
    }
    if next.pointee.head == 0 { _ = next.carve() }
    return next.take()
  }

  /// Whether the slab in a class's seat is in others, too, or stays when it is empty: then it must not just be replaced. Or whether it is to
  /// be by a new one.
  @inline(__always)
  func needsCare(_ sizeClass: Int) -> Bool {
    (pointee.staysEmpty | pointee.sharing | pointee.short) & 1 &<< UInt(sizeClass) != 0
  }

  func leaveSeats(_ slab: SlabPointer) {
    clearSeats(of: slab)
    slab.setPlace(.full, from: .current)
    // It may belong to an adopted heap, which has been drained since.
    slab.pointee.heap.settle(slab)
  }

  /// Whether a slab that was spare, and is now the current one of this class, may stay so when it is empty again: a program that
  /// takes and frees one object over and over would otherwise keep and take it each time. A few at a time, as nobody takes a current slab
  /// from an idle thread.
  private func mayStayEmpty(_ sizeClass: Int, _ byteCount: UInt) -> Bool {
    guard pointee.staysEmpty.nonzeroBitCount < Self.mostStayingEmpty, byteCount <= Self.largestStayingEmpty else {
      return false
    }
    pointee.staysEmpty |= 1 << UInt(sizeClass)
    return true
  }

  /// 256 KiB in all.
  private static var mostStayingEmpty: Int { 4 }
  private static var largestStayingEmpty: UInt { 64 << 10 }

  /// Empties all seats that a current slab is in. It may go then, and does not stay when it is empty.
  func clearSeats(of slab: SlabPointer) {
    let sizeClass = Int(slab.pointee.sizeClass)
    if slab.pointee.staysEmpty {
      slab.pointee.staysEmpty = false
      pointee.staysEmpty &= ~(1 << UInt(sizeClass))
    }
    if pointee.sharing >> UInt(sizeClass) & 1 != 0 {
      for seat in max(sizeClass - 3, 0)...sizeClass where currents[seat] == slab {
        pointee.sharing &= ~(1 << UInt(seat))
        currents[seat] = Self.emptySlab
      }
    }
    currents[sizeClass] = Self.emptySlab
  }

  /// Whether a class whose slabs are all full, and take each other's seat at every free, may have another: one for each 32 that it has had, but one from the fourth on.
  /// Items that come back then gather in many slabs before one of these is needed again, and half of the instructions are saved.
  func mayBeRelieved(_ sizeClass: Int) -> Bool {
    pointee.relieved[sizeClass] < Self.reliefs(pointee.made[sizeClass])
      && pointee.registry.pointee.segments.newest?.pointee.backing == .elastic
  }

  // Below four the other slab of two is soon found to have room.
  private static func reliefs(_ made: UInt16) -> UInt16 { made < 4 ? 0 : max(made / 32, 1) }

  /// That slab, for a refill of the class.
  func relief(_ sizeClass: Int) -> SlabPointer? {
    guard pointee.short >> UInt(sizeClass) & 1 != 0 else { return nil }
    pointee.short &= ~(1 << UInt(sizeClass))
    guard mayBeRelieved(sizeClass) else { return nil }
    pointee.relieved[sizeClass] += 1
    let extra = makeSlab(sizeClass)
    // Not tried again before the class has many more.
    if extra == nil { pointee.relieved[sizeClass] = Self.reliefs(pointee.made[sizeClass]) }
    return extra
  }

  /// Pages of a class's next slab: about a quarter of what it has had, so that a class of few objects stays small. Where a page holds few
  /// items, larger slabs come sooner; of medium items, two, then four, then eight.
  func slabPages(_ sizeClass: Int, made: UInt16) -> UInt {
    if sizeClass >= SizeClass.smallCount { return Self.pages(made < 1 ? 2 : made < 3 ? 4 : 8, sizeClass) }
    let isLarge = SizeClass.itemSize(sizeClass) > 1024
    return made < (isLarge ? 1 : 4) ? 1 : made < (isLarge ? 2 : 8) ? 2 : 4
  }

  /// The fewest pages of a slab: it has two items at least, so that a full one in which one becomes free is not empty.
  func leastPages(_ sizeClass: Int) -> UInt { Self.pages(2, sizeClass) }

  private static func pages(_ items: UInt, _ sizeClass: Int) -> UInt {
    (items * SizeClass.itemSize(sizeClass) + Page.byteCount - 1) >> Page.shift
  }
}
