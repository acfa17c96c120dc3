extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// Whether lists, places and ownership agree. Only while nobody uses the heap; what is broken goes to standard error.
  func checkInvariants() -> Bool {
    let isOwned = pointee.registry.isOwned(pointee.index)
    if !isOwned {
      // Else what others freed stays there until somebody happens to adopt the heap.
      if pending.loadRelaxed() != 0 { return broken("abandoned with slabs pending") }
      if owner.loadRelaxed() != 0 { return broken("abandoned, and somebody's") }
      if pointee.nextOwned != nil { return broken("abandoned with heaps beside it") }
    }
    var spareBytes: UInt = 0
    for sizeClass in 0..<SizeClass.count {
      var spare = SlabPointer(bitPattern: spares(sizeClass).loadRelaxed())
      while let slab = spare, spareBytes <= self.spareBytes.loadRelaxed() {
        if slab.pointee.place != .spare || slab.pointee.heap != self || Int(slab.pointee.sizeClass) != sizeClass {
          return broken("a spare slab that is elsewhere")
        }
        spareBytes += slab.byteCount
        spare = slab.pointee.next
      }
    }
    if spareBytes != self.spareBytes.loadRelaxed() { return broken("a wrong count of spare bytes") }
    if !isOwned, spareBytes != 0 { return broken("abandoned with spare slabs") }
    for sizeClass in 0..<SizeClass.count {
      let seat = current(sizeClass)
      if seat != Self.emptySlab {
        if !isOwned { return broken("abandoned with a current slab") }
        let own = Int(seat.pointee.sizeClass)
        if seat.pointee.place != .current
          || own != sizeClass && (own != SizeClass.shared(sizeClass) || current(own) != seat)
        {
          return broken("a current slab that is elsewhere")
        }
        let both: UInt = 1 << UInt(own) | 1 << UInt(sizeClass)
        if own != sizeClass, pointee.sharing & both != both { return broken("a shared seat that is not noted") }
        if own == sizeClass, seat.pointee.staysEmpty != (pointee.staysEmpty >> UInt(sizeClass) & 1 != 0) {
          return broken("a current slab that stays, which is not noted")
        }
      }
      if (pointee.room[sizeClass] != nil) != (pointee.classesWithRoom >> UInt(sizeClass) & 1 != 0) {
        return broken("a list of slabs with room that is not noted")
      }
      guard let head = pointee.room[sizeClass] else { continue }
      var slab = head
      repeat {
        if slab.pointee.place != .room || slab.pointee.heap != self || Int(slab.pointee.sizeClass) != sizeClass {
          return broken("a slab in a list that is not its own")
        }
        guard let next = slab.pointee.next, next.pointee.previous == slab else {
          return broken("a list whose links disagree")
        }
        slab = next
      } while slab != head
    }
    return true
  }

  private func broken(_ what: StaticString) -> Bool {
    var line = ReportLine()
    line.append("heap ")
    line.append(decimal: pointee.index)
    line.append(" is broken: ")
    line.append(what)
    line.write()
    return false
  }
}
