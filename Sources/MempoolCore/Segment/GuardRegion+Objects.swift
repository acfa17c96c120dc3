import CMempoolShims

extension UnsafeMutablePointer where Pointee == GuardRegion {
  /// An object of so many bytes, at most a page, on a page of its own; nil when no slot is free, or the system refuses.
  func allocate(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
    // First: a program may keep what it has long, and then a sample must not cost a backtrace.
    guard let claim = slots.claim() else {
      _ = missed.fetchAddRelaxed(1)
      return nil
    }
    let object = object(claim.slot), page = page(claim.slot), saved = mp_errno_get()
    guard
      mp_pages_commit(UnsafeMutableRawPointer(bitPattern: page).unsafelyUnwrapped, Int(pointee.pageByteCount)) == 0
    else {
      mp_errno_set(saved)
      slots.cancel(claim)
      _ = missed.fetchAddRelaxed(1)
      return nil
    }
    let isAtEnd = allocated.fetchAddRelaxed(1) % 2 == 0
    let alignment: UInt = byteCount < 16 ? 8 : 16
    let room = (max(byteCount, 1) + alignment - 1) & ~(alignment - 1)
    object.become(isAtEnd ? page + pointee.pageByteCount - room : page, byteCount, Backtrace.here())
    let address = object.address
    GuardPattern.fill(from: page, to: address)
    GuardPattern.fill(from: object.behind, to: page + pointee.pageByteCount)
    slots.publish(claim)
    return UnsafeMutableRawPointer(bitPattern: address)
  }

  /// The live object that begins at an address of the region; anything else is reported, and the process aborts.
  func locate(_ address: UInt, _ call: CallName) -> GuardedObjectPointer {
    guard let object = object(at: address) else { misuse(call, address, "not the start of an object") }
    if slots.object(in: slot(object)) != nil, object.address == address { return object }
    endByMisuse(call, address, object)
  }

  /// Takes a live object back, and makes its page inaccessible. One that another thread has freed meanwhile, or around which
  /// something was written, is reported, and the process aborts.
  func deallocate(_ object: GuardedObjectPointer, _ address: UInt, _ call: CallName) {
    let backtrace = Backtrace.here(), slot = slot(object)
    guard take(object, address) else { endByMisuse(call, address, object) }
    let page = page(slot), end = page + pointee.pageByteCount
    let written =
      GuardPattern.firstOther(from: object.behind, to: end) ?? GuardPattern.lastOther(from: page, to: address)
    if let written { endByMisuse(call, address, object, written: written) }
    object.end(backtrace)
    // Should the system refuse, what touches it now goes unseen.
    _ = mp_pages_protect(UnsafeMutableRawPointer(bitPattern: page).unsafelyUnwrapped, Int(pointee.pageByteCount))
    slots.release(slot)
  }

  /// Claims the slot of the object that begins at an address, in order to give it back: of all who try one succeeds, however often the slot
  /// was used meanwhile.
  func take(_ object: GuardedObjectPointer, _ address: UInt) -> Bool {
    let slot = slot(object)
    // Between the two, the address is this object's: another one would have another word.
    guard let word = slots.object(in: slot), object.address == address else { return false }
    return slots.take(slot, word)
  }

  /// In a child process just forked: what other threads had begun, which are not in it, is as if it had never been; what they had
  /// finished stays.
  func recoverAfterFork() {
    if interval.loadRelaxed() == 0 { return }
    reporter.storeRelaxed(0)
    slots.recoverAfterFork { slot in
      // One that says it is live was not handed out yet, or was being freed.
      if object(slot).isLive || !object(slot).isWhole { object(slot).forget() }
      _ = mp_pages_protect(
        UnsafeMutableRawPointer(bitPattern: page(slot)).unsafelyUnwrapped, Int(pointee.pageByteCount))
    }
  }

  /// The address of some live object; nil when there is none. Right only when no other call is running.
  var firstLive: UInt? {
    for slot in 0..<slotCount where slots.object(in: slot) != nil { return object(slot).address }
    return nil
  }

  /// Whether slots and records agree. Only while nobody uses the region.
  func checkInvariants() -> Bool {
    for slot in 0..<slotCount {
      let object = object(slot), isLive = slots.object(in: slot) != nil
      if !object.isWhole { return broken("a record half written") }
      if object.isLive != isLive { return broken("a slot and a record that disagree") }
      if object.address != 0, self.object(at: object.address) != object { return broken("an object on another's page") }
    }
    return slots.checkInvariants()
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("guard region", UInt(bitPattern: self), what) }
}
