import CMempoolShims

extension UnsafeMutablePointer where Pointee == GuardRegion {
  /// Reports that no live object begins at an address, though one did, or may have: as of any other object, then who allocated it and who
  /// freed it; and aborts.
  func endByMisuse(_ call: CallName, _ address: UInt, _ object: GuardedObjectPointer) -> Never {
    let history = settledHistory(object)
    if let history, history.address == 0 { misuse(call, address, "never allocated") }
    let isStart = history.map { $0.address == address } ?? true
    var line = ReportLine(call, address)
    line.append(isStart ? call.purpose.freed : "not the start of an object")
    line.write()
    // One that has come to live at this address since was not meant.
    let isAnother = isStart && history?.isLive == true && !slots.isClaimed(slot(object))
    if let history, !isAnother { history.write() }
    end()
  }

  /// The same of an object that was taken back, where something had been written around it.
  func endByMisuse(_ call: CallName, _ address: UInt, _ object: GuardedObjectPointer, written: UInt) -> Never {
    var line = ReportLine(call, address)
    // This thread has the claim, so nobody changes it.
    if let history = object.history {
      line.append(written, asSeenFrom: history, verb: "written ")
      line.write()
      history.write()
    }
    end()
  }

  // Last, where the calling thread is: its stack may be broken, or small.
  private func end() -> Never {
    Backtrace.here().write("noticed")
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
    let history = settledHistory(object)
    if let history {
      line.append(address, asSeenFrom: history)
    } else {
      line.append("an object that is being allocated or freed")
    }
    line.write()
    history?.write()
    Backtrace.here().write("noticed")
    return true
  }

  /// All that is known of an object, when who is changing it has come to its end: after a tenth of a second what there is by then, if it is
  /// whole, as that thread may have stopped.
  private func settledHistory(_ object: GuardedObjectPointer) -> GuardedHistory? {
    let slot = slot(object)
    for _ in 0..<100 {
      if !slots.isClaimed(slot), let history = object.history { return history }
      mp_sleep_nanoseconds(1_000_000)
    }
    return object.history
  }

  /// The object that an access was probably meant for: that of the page, or, between two, a live one, or the nearer one; nil where
  /// none has been.
  func nearestObject(_ address: UInt) -> GuardedObjectPointer? {
    let page = (address &- startWord.loadRelaxed()) / pointee.pageByteCount
    func used(_ slot: UInt) -> GuardedObjectPointer? {
      slot < slotCount && object(slot).address != 0 ? object(slot) : nil
    }
    let next = used(page / 2)
    guard page % 2 == 0, let before = used(page / 2 &- 1) else { return next }
    guard let next else { return before }
    if before.isLive != next.isLive { return before.isLive ? before : next }
    return before.distance(to: address) <= next.distance(to: address) ? before : next
  }
}
