import CMempoolShims

// Handles that callers pass in: freeing, mapping and measuring what they name.

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Where an object should be, and what its region is.
  struct Finding {
    let region: UInt
    let byte: UInt
    let record: CompactRegionPointer
    let owner: UInt

    var isRun: Bool { owner & CompactRegion.Kind.mask == CompactRegion.Kind.run }
    var unit: UInt { byte / CompactRegion.unitBytes - 1 }
  }

  // What a handle leads to.
  private func locate(_ handle: CompactHandle) throws(CompactFault) -> Finding {
    let region: UInt, byte: UInt
    if isMovable {
      guard let block = CompactSlots(pool: self).block(handle) else { throw .notLive }
      (region, byte) = (block.region, (block.unit + 1) * CompactRegion.unitBytes)
    } else {
      guard let place = place(handle) else { throw .noHandle }
      (region, byte) = place
    }
    guard region > 0 else { throw .noHandle }
    guard let record = pointee.isForeign ? makeRecord(region) : record(region) else { throw .notLive }
    guard byte % CompactRegion.unitBytes == 0, byte >= CompactRegion.unitBytes else { throw .notAnObject }
    if pointee.isForeign, record.owner.loadRelaxed() == CompactRegion.Kind.none {
      record.owner.storeRelaxed(CompactRegion.Kind.foreign | (region % pointee.shardCount) << 8)
      raiseRegionLimit(to: region + 1)
    }
    let owner = record.owner.loadAcquire()  // acquire: pairs with the release in claimRegion() and allocateRun(_:)
    if owner == CompactRegion.Kind.none { throw .notLive }
    return Finding(region: region, byte: byte, record: record, owner: owner)
  }

  // The same, to use it; one that leads nowhere is reported.
  private func place(of handle: CompactHandle, _ call: StaticString) -> Finding {
    do throws(CompactFault) { return try locate(handle) } catch { report(call, handle, error.text(.use)) }
  }

  // Runs `body` with the lock of the shard of a handle's region, which holds an object there. An object that may move does so within
  // its region, under that lock.
  private func withObject<Result>(
    _ handle: CompactHandle, _ body: (CompactHold, Finding) -> Result
  ) throws(CompactFault) -> Result {
    while true {
      let finding = try locate(handle)
      let hold = CompactHold(self, finding.owner >> 8)
      defer { hold.end() }
      guard finding.record.owner.loadRelaxed() == finding.owner else { continue }
      if isMovable {
        guard CompactSlots(pool: self).block(handle)?.number == number(of: finding) else { continue }
      }
      if finding.isRun {
        if finding.byte != CompactMemory.runOffset { throw .notAnObject }
      } else if let fault = hold.fault(hold.bytes(finding.region), finding.unit) {
        throw fault
      }
      return body(hold, finding)
    }
  }

  private func number(of finding: Finding) -> UInt32 {
    CompactBlock(region: finding.region, unit: finding.unit).number
  }

  // MARK: Free

  /// The same as ``tryFree(_:)``; what is no live object is reported on one line, and the process aborts.
  public func free(_ handle: CompactHandle, call: StaticString = "free") {
    do throws(CompactFault) { try tryFree(handle) } catch { report(call, handle, error.text(.free)) }
  }

  /// Takes an object back, on any thread. O(1), one lock; gives the memory of pages back in which nothing lies any more, but for the
  /// reserve. Keeps errno. (0, 0) is nothing to do. Uses are counted by the region: an object that is mapped is told from the others only where it
  /// is the last of its region.
  public func tryFree(_ handle: CompactHandle) throws(CompactFault) {
    if handle == CompactHandle(page: 0, offset: 0) { return }
    if !isOwner { throw .foreign }
    let saved = mp_errno_get()
    let isMapped = try withObject(handle) { hold, finding in
      let isAlone = finding.isRun || finding.record.pointee.liveBlocks == 1
      if isAlone, finding.record.isPinned { return true }
      if isMovable { CompactSlots(pool: self).release(handle.page, hold) }
      finding.isRun ? hold.freeRun(finding.region, finding.record) : hold.free(finding)
      return false
    }
    if isMapped { throw .mapped }
    // By default a pool without an object holds nothing.
    if pointee.options.reservePages == nil {
      let now = pageCounts()
      if now.idle > 0, now.held == now.idle { trim() }
    }
    mp_errno_set(saved)
  }

  /// Gives back all pages that are kept for the next allocation; the bytes.
  @discardableResult
  public func trim() -> UInt {
    guard isOwner else { return 0 }
    let before = pageCounts().held
    // Whoever is about to keep a page in a shard looks himself, when he is done, whether anything is left.
    for index in 0..<pointee.shardCount where shard(index).idle.loadRelaxed() != 0 {
      let hold = CompactHold(self, index)
      hold.giveBackIdle(UInt.max)
      hold.end()
    }
    return (before - min(before, pageCounts().held)) << pointee.pageShift
  }

  // MARK: Size

  /// The size that was asked for, exactly. A handle that names no live object is reported, and the process aborts.
  public func size(_ handle: CompactHandle, call: StaticString = "size") -> UInt {
    if pointee.isForeign {
      guard let object = map(handle, call: call) else { report(call, handle, "cannot be mapped") }
      unmap(handle, call: call)
      return object.byteCount
    }
    do throws(CompactFault) {
      return try withObject(handle) { hold, finding in
        finding.isRun ? finding.record.runBytes.loadRelaxed() : hold.bytes(finding.region).header(finding.unit).size
      }
    } catch { report(call, handle, error.text(.use)) }
  }

  // MARK: Map

  /// An object's bytes, which stay where they are until ``unmap(_:call:)``, as often as this was called. Nil, with errno, when the
  /// system refuses to map them, which it does for no pool but one in a file.
  ///
  /// Any thread; one compare-and-swap when the object's region is mapped, else a system call under its shard's lock. A handle
  /// that names no live object is reported where the object's header shows it, and the process aborts.
  public func map(
    _ handle: CompactHandle, call: StaticString = "map"
  ) -> (start: UnsafeMutableRawPointer, byteCount: UInt)? {
    while true {
      let finding = place(of: handle, call)
      if !pin(finding.record) {
        guard let isPinned = pinUnmapped(finding) else { return nil }
        if !isPinned { continue }
      }
      if isMovable, CompactSlots(pool: self).block(handle)?.number != number(of: finding) {
        // Moved, or freed, which the next look will tell.
        _ = unpin(finding.record)
        continue
      }
      let start = finding.record.address.loadRelaxed()
      if finding.isRun, finding.byte == CompactMemory.runOffset {
        return (pointer(start + finding.byte), finding.record.runBytes.loadRelaxed())
      }
      let header = header(at: finding)
      if isObject(header, finding) { return (pointer(start + finding.byte), header.size) }
      if isForeignRun(header, finding) {
        if let object = mapForeignRun(finding) { return object }
        _ = unpin(finding.record)
        return nil
      }
      _ = unpin(finding.record)
      report(call, handle, noObject(header, finding))
    }
  }

  // What stands before an object in a region that is mapped.
  private func header(at finding: Finding) -> CompactHeader {
    Memcheck.silence()
    defer { Memcheck.listen() }
    return CompactMemory(start: finding.record.address.loadRelaxed()).header(finding.unit)
  }

  private func isObject(_ header: CompactHeader, _ finding: Finding) -> Bool {
    header.state == CompactHeader.State.allocated && !finding.isRun
      && finding.byte + header.size <= CompactRegion.byteCount
  }

  private func isForeignRun(_ header: CompactHeader, _ finding: Finding) -> Bool {
    pointee.isForeign && header.state == CompactHeader.State.run && finding.byte == CompactMemory.runOffset
  }

  private func noObject(_ header: CompactHeader, _ finding: Finding) -> StaticString {
    header.isFree && !finding.isRun ? Purpose.use.freed : CompactFault.notAnObject.text(.use)
  }

  private func pointer(_ address: UInt) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }

  // Maps a region, and pins it. Or waits until its objects have been moved. False: it is another region by now. Nil: the system
  // refuses.
  private func pinUnmapped(_ finding: Finding) -> Bool? {
    let hold = CompactHold(self, finding.owner >> 8)
    defer { hold.end() }
    guard finding.record.owner.loadRelaxed() == finding.owner else { return false }
    if pin(finding.record) { return true }
    let byteCount = finding.isRun ? runPages(finding.record.runBytes.loadRelaxed()) : CompactRegion.byteCount
    guard hold.map(finding.region, finding.record, byteCount) != nil else { return nil }
    return pin(finding.record)
  }

  // An object with pages of its own, of which the first 64 KiB are mapped and pinned. Mapped anew when they do not suffice.
  private func mapForeignRun(_ finding: Finding) -> (start: UnsafeMutableRawPointer, byteCount: UInt)? {
    let hold = CompactHold(self, finding.owner >> 8)
    defer { hold.end() }
    let record = finding.record
    let byteCount = CompactMemory(start: record.address.loadRelaxed()).runBytes
    guard byteCount > 0, byteCount <= largest else {
      mp_errno_set(Int32(MP_EINVAL))
      return nil
    }
    let wanted = runPages(byteCount)
    if record.mappedBytes.loadRelaxed() < wanted {
      _ = unpin(record)
      let isAlone = hold.unmap(record)
      let mapped = isAlone && hold.map(finding.region, record, wanted) != nil
      if !isAlone { mp_errno_set(Int32(MP_EBUSY)) }
      // The caller gives back one pin in any case.
      if !pin(record) {
        if hold.map(finding.region, record, CompactRegion.byteCount) == nil {
          fatal("compact pool", byteCount: CompactRegion.byteCount, "cannot map its own pages")
        }
        _ = pin(record)
      }
      if !mapped { return nil }
    }
    return (pointer(record.address.loadRelaxed() + finding.byte), byteCount)
  }

  /// Ends a use of an object's bytes. Where nothing is mapped, and where no live object is, is reported, and the process aborts. Uses are
  /// counted by the region: one of another object there is not told from the object's own.
  public func unmap(_ handle: CompactHandle, call: StaticString = "unmap") {
    let finding = place(of: handle, call)
    let isMapped = finding.record.pins.loadRelaxed() >= CompactRegion.Pins.pin
    // Who may unmap it has pinned it, so that it can be looked at.
    if isMapped, !(finding.isRun && finding.byte == CompactMemory.runOffset) {
      let header = header(at: finding)
      if !isObject(header, finding), !isForeignRun(header, finding) { report(call, handle, noObject(header, finding)) }
    }
    if !unpin(finding.record) { report(call, handle, "not mapped") }
  }
}
