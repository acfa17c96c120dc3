import CMempoolShims

/// Pages for sampled objects: each object alone on one, with a page that nobody may touch before it and one behind.
///
/// One for the process, of the shared pool, in static memory; tests make others. Any thread; allocating and freeing take the lock
/// and make a system call each, as one allocation in many comes here. Objects lie by turns at the end of their page, so that the
/// first access behind them faults, and at its start, so that the first one before them does. As objects are aligned to 16 (those
/// below 16 bytes to 8), up to 15 bytes behind one at the end do not fault: the rest of the page holds a pattern, which is compared
/// when the object is freed. A freed object's page keeps its content, for who looks at a core dump, and faults until it is used again, as late as can be: the one that was freed first.
struct GuardRegion {
  // One allocation in so many is sampled; 0: none, or the region is not complete
  var interval = AtomicWord()  // 0
  // start + (2 * slotCount + 1) pages: page 2 * i + 1 is slot i's, the others are never accessible
  var start = AtomicWord()  // 1
  // 0: there is none
  var byteCount = AtomicWord()  // 2
  var lock = Mutex()  // 3
  var allocated = AtomicWord()  // 4: objects ever
  var live = AtomicWord()  // 5
  var missed = AtomicWord()  // 6: samples that found no slot
  var draws = AtomicWord()  // 7: random numbers drawn
  var reporter = AtomicWord()  // 8: the thread that reports a fault
  var pageByteCount: UInt = 0
  var slotCount: UInt = 0
  var seed: UInt = 0
  var objects: GuardedObjectPointer?
  // A queue of the slots without a live object, through GuardedObject.next: number + 1; 0: none
  var oldest: UInt = 0
  var newest: UInt = 0
}

typealias GuardRegionPointer = UnsafeMutablePointer<GuardRegion>

extension UnsafeMutablePointer where Pointee == GuardRegion {
  /// The shared pool's.
  static var process: GuardRegionPointer { mp_guard_address().assumingMemoryBound(to: GuardRegion.self) }

  var interval: AtomicPointer { AtomicPointer(self, word: 0) }
  var startWord: AtomicPointer { AtomicPointer(self, word: 1) }
  var byteCount: AtomicPointer { AtomicPointer(self, word: 2) }
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 24).assumingMemoryBound(to: Mutex.self) }
  var allocated: AtomicPointer { AtomicPointer(self, word: 4) }
  var live: AtomicPointer { AtomicPointer(self, word: 5) }
  var missed: AtomicPointer { AtomicPointer(self, word: 6) }
  var draws: AtomicPointer { AtomicPointer(self, word: 7) }
  var reporter: AtomicPointer { AtomicPointer(self, word: 8) }

  /// What the records take.
  var recordByteCount: UInt { Self.wholePages(pointee.slotCount, pointee.pageByteCount) }

  private static func wholePages(_ slotCount: UInt, _ page: UInt) -> UInt {
    (slotCount * UInt(MemoryLayout<GuardedObject>.stride) + page - 1) & ~(page &- 1)
  }

  /// Whether an address lies in the region, be it in a page that is nobody's. Any thread: who has such an address from the region
  /// has it from somebody who knew the region.
  @inline(__always)
  func contains(_ address: UInt) -> Bool { address &- startWord.loadRelaxed() < byteCount.loadRelaxed() }

  /// Reserves the pages, in a zeroed record; false, with errno, when the system refuses. Samples nothing yet.
  func start(slotCount: UInt) -> Bool {
    let page = UInt(mp_system_page_size())
    let byteCount = (2 * slotCount + 1) * page, recordBytes = Self.wholePages(slotCount, page)
    guard let records = mp_pages_map(Int(recordBytes), 1) else { return false }
    guard let pages = mp_pages_reserve(Int(byteCount), 1) else {
      _ = mp_pages_release(records, Int(recordBytes))
      return false
    }
    pointee.pageByteCount = page
    pointee.slotCount = slotCount
    pointee.seed = UInt(truncatingIfNeeded: mp_clock_nanoseconds()) ^ UInt(bitPattern: pages)
    let objects = records.assumingMemoryBound(to: GuardedObject.self)
    pointee.objects = objects
    for slot in 0..<Int(slotCount) {
      (objects + slot).initialize(to: GuardedObject())
      enqueue(objects + slot)
    }
    startWord.storeRelaxed(UInt(bitPattern: pages))
    self.byteCount.storeRelaxed(byteCount)
    return true
  }

  /// Gives the pages back. No other call may be running or follow.
  func destroy() {
    guard let objects = pointee.objects else { return }
    _ = mp_pages_release(objects, Int(recordByteCount))
    let start = UnsafeMutableRawPointer(bitPattern: startWord.loadRelaxed()).unsafelyUnwrapped
    _ = mp_pages_release(start, Int(byteCount.loadRelaxed()))
    initialize(to: GuardRegion())
  }

  func object(_ slot: UInt) -> GuardedObjectPointer { pointee.objects.unsafelyUnwrapped + Int(slot) }

  private func slot(_ object: GuardedObjectPointer) -> UInt {
    UInt(bitPattern: object - pointee.objects.unsafelyUnwrapped)
  }

  /// Where the page of an object's slot starts.
  private func page(_ object: GuardedObjectPointer) -> UInt {
    startWord.loadRelaxed() + (2 * slot(object) + 1) * pointee.pageByteCount
  }

  /// The slot that an address lies in; nil for a page that is nobody's.
  func object(at address: UInt) -> GuardedObjectPointer? {
    let page = (address &- startWord.loadRelaxed()) / pointee.pageByteCount
    return page % 2 == 1 ? object(page / 2) : nil
  }

  private func enqueue(_ object: GuardedObjectPointer) {
    object.pointee.next = 0
    let number = slot(object) + 1
    if pointee.oldest == 0 { pointee.oldest = number } else { self.object(pointee.newest - 1).pointee.next = number }
    pointee.newest = number
  }

  // MARK: Allocating and freeing

  /// An object of so many bytes, at most a page, on a page of its own; nil when all slots hold live objects, or the system refuses.
  func allocate(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
    // A program may keep what it has long: then a sample must not cost a backtrace, and not the lock.
    if live.loadRelaxed() >= pointee.slotCount {
      _ = missed.fetchAddRelaxed(1)
      return nil
    }
    let backtrace = Backtrace.here()
    return mutex.withLock {
      guard pointee.oldest != 0 else {
        _ = missed.fetchAddRelaxed(1)
        return nil
      }
      let object = object(pointee.oldest - 1), page = page(object), saved = mp_errno_get()
      guard
        mp_pages_commit(UnsafeMutableRawPointer(bitPattern: page).unsafelyUnwrapped, Int(pointee.pageByteCount)) == 0
      else {
        mp_errno_set(saved)
        _ = missed.fetchAddRelaxed(1)
        return nil
      }
      pointee.oldest = object.pointee.next
      let isAtEnd = allocated.fetchAddRelaxed(1) % 2 == 0
      _ = live.fetchAddRelaxed(1)
      let alignment: UInt = byteCount < 16 ? 8 : 16
      let room = (max(byteCount, 1) + alignment - 1) & ~(alignment - 1)
      object.pointee.address = isAtEnd ? page + pointee.pageByteCount - room : page
      object.pointee.byteCount = byteCount
      object.pointee.allocation = backtrace
      object.pointee.isLive = true
      GuardPattern.fill(from: page, to: object.pointee.address)
      GuardPattern.fill(from: object.behind, to: page + pointee.pageByteCount)
      return UnsafeMutableRawPointer(bitPattern: object.pointee.address)
    }
  }

  /// The live object that begins at an address of the region; anything else is reported, and the process aborts.
  func locate(_ address: UInt, _ call: CallName) -> GuardedObjectPointer {
    guard let object = object(at: address) else { misuse(call, address, "not the start of an object") }
    if object.pointee.address == 0 { misuse(call, address, "never allocated") }
    if object.pointee.address != address { endByMisuse(call, address, "not the start of an object", object) }
    if !object.pointee.isLive { endByMisuse(call, address, call.purpose.freed, object) }
    return object
  }

  /// Takes a live object back, and makes its page inaccessible. One that another thread has freed meanwhile, or around which
  /// something was written, is reported, and the process aborts.
  func deallocate(_ object: GuardedObjectPointer, _ address: UInt, _ call: CallName) {
    let backtrace = Backtrace.here()
    mutex.lock()
    guard object.pointee.isLive, object.pointee.address == address else {
      mutex.unlock()
      endByMisuse(call, address, call.purpose.freed, object)
    }
    let page = page(object), end = page + pointee.pageByteCount
    let written =
      GuardPattern.firstOther(from: object.behind, to: end) ?? GuardPattern.lastOther(from: page, to: address)
    if let written {
      mutex.unlock()
      endByMisuse(call, address, "", object, written: written)
    }
    object.pointee.deallocation = backtrace
    object.pointee.isLive = false
    // Should the system refuse, what touches it now goes unseen.
    _ = mp_pages_protect(UnsafeMutableRawPointer(bitPattern: page).unsafelyUnwrapped, Int(pointee.pageByteCount))
    _ = live.fetchAddRelaxed(0 &- 1)
    enqueue(object)
    mutex.unlock()
  }

  /// The address of some live object; nil when there is none.
  var firstLive: UInt? {
    if live.loadRelaxed() == 0 { return nil }
    return mutex.withLock {
      for slot in 0..<pointee.slotCount where object(slot).pointee.isLive { return object(slot).pointee.address }
      return nil
    }
  }

  /// Whether queue, records and counts agree. Only while nobody uses the region.
  func checkInvariants() -> Bool {
    var live: UInt = 0, queued: UInt = 0
    for slot in 0..<pointee.slotCount where object(slot).pointee.isLive { live += 1 }
    var number = pointee.oldest
    while number != 0, queued <= pointee.slotCount {
      if object(number - 1).pointee.isLive { return broken("a slot queued with a live object") }
      if object(number - 1).pointee.next == 0, pointee.newest != number { return broken("a queue with a wrong end") }
      number = object(number - 1).pointee.next
      queued += 1
    }
    if live != self.live.loadRelaxed() { return broken("a wrong count of live objects") }
    return live + queued == pointee.slotCount || broken("a slot lost")
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("guard region", UInt(bitPattern: self), what) }
}
