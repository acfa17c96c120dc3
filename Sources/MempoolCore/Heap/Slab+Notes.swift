import CMempoolShims

/// What a hardened pool knows of an item beyond whether it is out: 16 bits each, behind the cells, out of the objects' reach.
///
/// Links and cells say what they say in every pool; to them an item that waits in a ``Quarantine`` is out. Its user writes an
/// item's note when it is handed out; who gives it back changes it by a swap, so of two threads that do, one is told. Relaxed: only
/// the note itself decides. Beside each link its note is the whole state: a fork finds nothing half done.
extension UnsafeMutablePointer where Pointee == Slab {
  private static var never: UInt16 { 0 }
  // Up to 0xf00: handed out, for one byte less.
  private static var mostLive: UInt16 { UInt16(SizeClass.largest) + 1 }
  private static var moving: UInt16 { 0xfffd }
  private static var quarantined: UInt16 { 0xfffe }
  private static var free: UInt16 { 0xffff }

  var isHardened: Bool { pointee.notes != nil }

  private func noteAddress(_ item: UInt) -> UnsafeMutablePointer<UInt16> {
    pointee.notes.unsafelyUnwrapped + Int(bitPattern: item)
  }

  private func note(_ item: UInt) -> UInt16 { mp_load16_relaxed(noteAddress(item)) }
  private func setNote(_ item: UInt, _ note: UInt16) { mp_store16_relaxed(noteAddress(item), note) }

  private static func isLive(_ note: UInt16) -> Bool { note != never && note <= mostLive }

  /// Bytes that were asked for; nil: the item is not out.
  func requested(_ item: UInt) -> UInt? {
    let note = note(item)
    return Self.isLive(note) ? UInt(note) - 1 : nil
  }

  func wasNeverOut(_ item: UInt) -> Bool { note(item) == Self.never }

  /// Says that an item just taken is out. Before anything is written to it.
  func setRequested(_ item: UInt, _ byteCount: UInt) {
    setNote(item, UInt16(byteCount + 1))
    fenceCompiler()
  }

  /// Changes what was asked for; false: the item is not out any more, or not with so many bytes.
  func resize(_ item: UInt, from old: UInt, to new: UInt) -> Bool {
    let note = UInt16(old + 1)
    return mp_compare_and_swap16_relaxed(noteAddress(item), note, UInt16(new + 1)) == note
  }

  /// Takes back an item that is out: true for exactly one of those who try.
  func takeBack(_ item: UInt, _ byteCount: UInt) -> Bool {
    let note = UInt16(byteCount + 1)
    return mp_compare_and_swap16_relaxed(noteAddress(item), note, Self.moving) == note
  }

  /// Says that the item, cleared by now, waits in a quarantine.
  func setQuarantined(_ item: UInt) {
    fenceCompiler()
    setNote(item, Self.quarantined)
  }

  /// Frees an item that was taken back and is clear. By the thread that did, or that took it from the quarantine.
  func release(_ item: UInt, _ call: CallName) {
    fenceCompiler()
    setNote(item, Self.free)
    deallocate(item, call)
  }

  /// Items given back and not free yet.
  var givenBackCount: UInt {
    var found: UInt = 0
    for item in 1..<UInt(pointee.itemCount) + 1 {
      let note = note(item)
      if note == Self.moving || note == Self.quarantined { found &+= 1 }
    }
    return found
  }

  /// All items at once, beginning with a random one: where the next one lies is not to be guessed from the last.
  func carveAll(_ secret: UInt) {
    let count = UInt(pointee.itemCount)
    let first = Hardening.scramble(secret, pointee.base ^ UInt(mp_clock_nanoseconds())) % count + 1
    for item in 1...count { setLink(item, UInt16(item == count ? 1 : item + 1)) }
    setLink(first == 1 ? count : first - 1, 0)
    pointee.carved = UInt16(count)
    pointee.head = UInt16(first)
    fenceCompiler()
  }

  /// In a forked child, before the free set is made anew: items that no thread has are free.
  func recoverNotes() {
    for item in 1..<UInt(pointee.carved) + 1 where link(item) == Self.taken && requested(item) == nil {
      // Its thread may have been clearing it.
      if note(item) == Self.moving { Wipe.clear(address(item), pointee.itemSize, mayReturn: false) }
      if note(item) != Self.never { setNote(item, Self.free) }
      setLink(item, 0)
    }
  }

  /// Whether each item's note and link agree. Only while nobody uses the slab.
  func checkNotes() -> Bool {
    guard isHardened else { return true }
    for item in 1..<UInt(pointee.itemCount) + 1 {
      let isOut = link(item) == Self.taken && !isUncollected(item)
      if isOut != (requested(item) != nil || note(item) == Self.quarantined) { return false }
    }
    return true
  }
}
