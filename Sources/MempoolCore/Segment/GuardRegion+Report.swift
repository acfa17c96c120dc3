import CMempoolShims

extension UnsafeMutablePointer where Pointee == GuardRegion {
  /// Reports misuse of a guarded object as of any other, then who allocated and who freed it, and aborts. `written`: instead of
  /// `what`, where something was written that is not the object's.
  func endByMisuse(
    _ call: CallName, _ address: UInt, _ what: StaticString, _ object: GuardedObjectPointer, written: UInt? = nil
  ) -> Never {
    var line = ReportLine(call, address)
    if let written { line.append(written, asSeenFrom: object, verb: "written ") } else { line.append(what) }
    line.write()
    object.writeHistory()
    mp_abort()
  }

  /// Reports a fault, unless its address lies outside the region; whether it was inside. In the signal handler of the thread that
  /// caused it: nothing here allocates, or waits for a lock.
  func report(faultAt address: UInt, access: Int32) -> Bool {
    guard contains(address) else { return false }
    // One at a time: whoever comes second waits for the end that the first one brings.
    let thread = UInt(mp_thread_id())
    while reporter.compareAndSwapRelaxed(0, thread) != 0 { mp_sleep_nanoseconds(1_000_000) }
    var line = ReportLine()
    switch Int(access) {
    case Int(MP_ACCESS_READ): line.append("read of ")
    case Int(MP_ACCESS_WRITE): line.append("write to ")
    case Int(MP_ACCESS_EXECUTE): line.append("jump to ")
    default: line.append("access to ")
    }
    line.append(address: address)
    line.append(": ")
    guard let object = nearestObject(address) else {
      line.append("a guard page, and no object has been beside it")
      line.write()
      return true
    }
    line.append(address, asSeenFrom: object)
    line.write()
    object.writeHistory()
    return true
  }

  /// The object that an access was probably meant for: that of the page, or, between two, a live one, or the nearer one; nil where
  /// none has been.
  func nearestObject(_ address: UInt) -> GuardedObjectPointer? {
    let page = (address &- startWord.loadRelaxed()) / pointee.pageByteCount
    func used(_ slot: UInt) -> GuardedObjectPointer? {
      slot < pointee.slotCount && object(slot).pointee.address != 0 ? object(slot) : nil
    }
    let next = used(page / 2)
    guard page % 2 == 0, let before = used(page / 2 &- 1) else { return next }
    guard let next else { return before }
    if before.pointee.isLive != next.pointee.isLive { return before.pointee.isLive ? before : next }
    return before.distance(to: address) <= next.distance(to: address) ? before : next
  }
}
