import CMempoolShims

/// Pages for sampled objects: each object alone on one, with a page that nobody may touch before it and one behind.
///
/// One for the process, of the shared pool, in static memory; tests make others. Any thread; no lock: an object's slot is claimed by a swap, and given
/// back by another, which decides who of several gives it back. A thread that stops in the middle keeps its slot from others, no more. Each
/// of the two makes a system call, as one allocation in many comes here. Objects lie by turns at the end of their page, so that the
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
  var allocated = AtomicWord()  // 3: objects ever
  var missed = AtomicWord()  // 4: samples that found no slot
  var draws = AtomicWord()  // 5: random numbers drawn
  var reporter = AtomicWord()  // 6: the thread that reports a fault
  // Who may touch which slot's page and record
  var claims = GuardSlots()  // 7…13
  var pageByteCount: UInt = 0
  var seed: UInt = 0
  // One for each slot; behind the slots' words
  var objects: GuardedObjectPointer?
}

typealias GuardRegionPointer = UnsafeMutablePointer<GuardRegion>

extension UnsafeMutablePointer where Pointee == GuardRegion {
  /// The shared pool's.
  static var process: GuardRegionPointer { mp_guard_address().assumingMemoryBound(to: GuardRegion.self) }

  var interval: AtomicPointer { AtomicPointer(self, word: 0) }
  var startWord: AtomicPointer { AtomicPointer(self, word: 1) }
  var byteCount: AtomicPointer { AtomicPointer(self, word: 2) }
  var allocated: AtomicPointer { AtomicPointer(self, word: 3) }
  var missed: AtomicPointer { AtomicPointer(self, word: 4) }
  var draws: AtomicPointer { AtomicPointer(self, word: 5) }
  var reporter: AtomicPointer { AtomicPointer(self, word: 6) }
  var slots: GuardSlotsPointer { (UnsafeMutableRawPointer(self) + 56).assumingMemoryBound(to: GuardSlots.self) }

  var slotCount: UInt { slots.pointee.count }

  /// Whether objects are sampled; who sees that sees the region whole.
  var isOn: Bool { interval.loadAcquire() != 0 }  // acquire: pairs with the release in turnOn(_:)

  /// From now on one allocation in `interval` is sampled, in a region that was started.
  func turnOn(_ interval: UInt) { self.interval.storeRelease(interval) }  // release: pairs with the acquire in isOn

  /// What the records take, and the words of the slots before them.
  var recordByteCount: UInt { Self.wholePages(slotCount, pointee.pageByteCount) }

  private static func wholePages(_ slotCount: UInt, _ page: UInt) -> UInt {
    let each = MemoryLayout<AtomicWord>.stride + MemoryLayout<GuardedObject>.stride
    return (slotCount * UInt(each) + page - 1) & ~(page &- 1)
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
    pointee.seed = UInt(truncatingIfNeeded: mp_clock_nanoseconds()) ^ UInt(bitPattern: pages)
    let states = records.assumingMemoryBound(to: AtomicWord.self)
    let objects = UnsafeMutableRawPointer(states + Int(slotCount)).assumingMemoryBound(to: GuardedObject.self)
    for slot in 0..<Int(slotCount) { (objects + slot).initialize(to: GuardedObject()) }
    pointee.objects = objects
    slots.start(states, count: slotCount)
    startWord.storeRelaxed(UInt(bitPattern: pages))
    self.byteCount.storeRelaxed(byteCount)
    return true
  }

  /// Gives the pages back. No other call may be running or follow.
  func destroy() {
    guard let records = slots.pointee.states else { return }
    _ = mp_pages_release(records, Int(recordByteCount))
    let start = UnsafeMutableRawPointer(bitPattern: startWord.loadRelaxed()).unsafelyUnwrapped
    _ = mp_pages_release(start, Int(byteCount.loadRelaxed()))
    initialize(to: GuardRegion())
  }

  func object(_ slot: UInt) -> GuardedObjectPointer { pointee.objects.unsafelyUnwrapped + Int(slot) }

  func slot(_ object: GuardedObjectPointer) -> UInt {
    UInt(bitPattern: object - pointee.objects.unsafelyUnwrapped)
  }

  /// Where the page of a slot starts.
  func page(_ slot: UInt) -> UInt { startWord.loadRelaxed() + (2 * slot + 1) * pointee.pageByteCount }

  /// The slot that an address lies in; nil for a page that is nobody's.
  func object(at address: UInt) -> GuardedObjectPointer? {
    let page = (address &- startWord.loadRelaxed()) / pointee.pageByteCount
    return page % 2 == 1 ? object(page / 2) : nil
  }
}
