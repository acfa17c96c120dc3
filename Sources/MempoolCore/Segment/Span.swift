import CMempoolShims

/// A large object straight from the system: above 32 MiB, or above 1 MiB when it grows, in pools that may ask it.
///
/// A record in the metadata arena of one of the pool's segments, found from any address in the span by the address map in
/// O(1). The object is the span's first byte on, aligned to 1 MiB.
struct Span {
  var address: UInt
  var byteCount: UInt
  // The list that it is in, and its neighbours there.
  var list: SpanListPointer
  var next: SpanPointer?
  var previous: SpanPointer?
  var note = AtomicWord()  // 5: LargeNote, in a hardened pool
  // Bytes of address space in front of it and behind it that nobody may access, and that go with it.
  var front: UInt = 0
  var back: UInt = 0
}

typealias SpanPointer = UnsafeMutablePointer<Span>

/// The spans of one pool. A record in the pool; any thread may call it. Each call takes the lock for the list alone, never
/// over a system call.
struct SpanList {
  var liveCount = AtomicWord()  // 0
  var liveBytes = AtomicWord()  // 1
  var mutex = Mutex()  // 2
  var peakBytes = AtomicWord()  // 3
  var head: SpanPointer?
  // Where records come from.
  let segments: SegmentListPointer
  // Under the lock: where spans lay that were given back or moved last, as long as no other span of the list lies there; and
  // the next of these words to use.
  var former = InlineArray<32, AtomicWord>(repeating: AtomicWord())  // 6…37
  var nextFormer = AtomicWord()  // 38

  /// Objects above this many bytes are spans. Below, pages of the segment that were used before cost less than new ones:
  /// docs/decisions/0012.
  static var threshold: UInt { 32 << 20 }
  /// No span is smaller: what a granule of the address map holds.
  static var least: UInt { 1 << 20 }
}

typealias SpanListPointer = UnsafeMutablePointer<SpanList>

extension UnsafeMutablePointer where Pointee == SpanList {
  var liveCount: AtomicPointer { AtomicPointer(self, word: 0) }
  var liveBytes: AtomicPointer { AtomicPointer(self, word: 1) }
  var peakBytes: AtomicPointer { AtomicPointer(self, word: 3) }
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 16).assumingMemoryBound(to: Mutex.self) }
  func former(_ index: Int) -> AtomicPointer { AtomicPointer(self, word: 6 + index) }
  var nextFormer: AtomicPointer { AtomicPointer(self, word: 38) }

  private static var formerCount: Int { 32 }

  private static func rounded(_ byteCount: UInt) -> UInt? {
    let page = UInt(mp_system_page_size())
    let (sum, overflow) = byteCount.addingReportingOverflow(page - 1)
    return overflow || sum > UInt(Int.max) ? nil : sum & ~(page - 1)
  }

  /// A span of at least `byteCount` zero bytes; nil when the system has none, or not so many: the entries in the address map of what nobody
  /// could ever use would take real memory.
  func allocate(_ byteCount: UInt, alignment: UInt) -> SpanPointer? {
    guard let size = Self.rounded(byteCount) else { return nil }
    guard let block = pointee.segments.allocateRecord(UInt(MemoryLayout<Span>.size)) else { return nil }
    let record = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: Span.self)
    guard let memory = mp_pages_take(Int(size), Int(max(alignment, AddressMap.granule))) else {
      pointee.segments.deallocateRecord(block, UInt(MemoryLayout<Span>.size))
      return nil
    }
    let address = UInt(bitPattern: memory)
    Memcheck.close(address, size)
    record.initialize(to: Span(address: address, byteCount: size, list: self, next: nil, previous: nil))
    guard enter(record) else {
      _ = mp_pages_release(memory, Int(size))
      pointee.segments.deallocateRecord(block, UInt(MemoryLayout<Span>.size))
      return nil
    }
    return record
  }

  private func enter(_ record: SpanPointer) -> Bool {
    let address = record.pointee.address, size = record.pointee.byteCount
    guard AddressMap.set(AddressMap.word(record), from: address, to: address + size) else { return false }
    mutex.withLock {
      link(record)
      forget(address)
    }
    count(1, size)
    return true
  }

  /// The same between two stretches of address space that nobody may access: at least a granule and a page.
  func allocateGuarded(_ byteCount: UInt, alignment: UInt) -> SpanPointer? {
    let front = max(alignment, AddressMap.granule), back = UInt(mp_system_page_size())
    guard let size = Self.rounded(byteCount), size <= UInt(Int.max) - front - back else { return nil }
    guard let block = pointee.segments.allocateRecord(UInt(MemoryLayout<Span>.size)) else { return nil }
    let record = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: Span.self)
    if let place = mp_pages_take(Int(front + size + back), Int(front)) {
      let address = UInt(bitPattern: place) + front
      record.initialize(to: Span(address: address, byteCount: size, list: self, next: nil, previous: nil))
      record.pointee.front = front
      record.pointee.back = back
      if mp_pages_protect(place, Int(front)) == 0, mp_pages_protect(Self.memory(address + size), Int(back)) == 0,
        enter(record)
      {
        return record
      }
      _ = mp_pages_release(place, Int(front + size + back))
    }
    pointee.segments.deallocateRecord(block, UInt(MemoryLayout<Span>.size))
    return nil
  }

  /// Takes the memory of a span that its user gave back, and leaves its addresses to nobody: any access is a fault. False: the
  /// system refuses. By the thread that took it back.
  func setAside(_ span: SpanPointer) -> Bool {
    guard mp_pages_guard(Self.memory(span.pointee.address), Int(span.pointee.byteCount)) == 0 else { return false }
    count(0 &- 1, 0 &- span.pointee.byteCount)
    LargeNote.setQuarantined(span.note)
    return true
  }

  /// In a forked child, by its only thread: gives back what another thread was about to give back, or had set aside.
  func recoverAfterFork() {
    var next = pointee.head
    while let span = next {
      next = span.pointee.next
      if LargeNote.isGivenBack(span.note), take(span) { deallocate(span) }
    }
    // Who set one aside may have been about to count it.
    var spans: UInt = 0, bytes: UInt = 0
    next = pointee.head
    while let span = next {
      next = span.pointee.next
      spans += 1
      bytes &+= span.pointee.byteCount
    }
    liveCount.storeRelaxed(spans)
    liveBytes.storeRelaxed(bytes)
  }

  /// Unmaps a span. Only one thread may; the pool's front door sees to it by ``take(_:)``.
  func deallocate(_ span: SpanPointer) {
    let address = span.pointee.address, size = span.pointee.byteCount
    let memory = Self.memory(address - span.pointee.front), total = span.pointee.front + size + span.pointee.back
    mutex.withLock { unlink(span) }
    if !LargeNote.isQuarantined(span.note) { count(0 &- 1, 0 &- size) }
    // A kernel that cannot split its map of areas may refuse; the memory at least goes back.
    if mp_pages_release(memory, Int(total)) != 0 { _ = mp_pages_purge(memory, Int(total)) }
    pointee.segments.deallocateRecord(UInt(bitPattern: span), UInt(MemoryLayout<Span>.size))
  }

  /// Takes the span that begins at `address` out of the map: true for exactly one of the threads that try.
  func take(_ span: SpanPointer) -> Bool {
    let address = span.pointee.address, end = address + span.pointee.byteCount
    // Together: who does not find it in the map any more, and asks whether it was there, is told so.
    let isTaken = mutex.withLock {
      guard AddressMap.take(AddressMap.word(span), at: address) else { return false }
      remember(address)
      return true
    }
    if isTaken { AddressMap.set(0, from: address, to: end) }
    return isTaken
  }

  /// Makes a span `byteCount` bytes long, in place or elsewhere; its address after, or nil and nothing changed.
  func resize(_ span: SpanPointer, to byteCount: UInt) -> UInt? {
    guard let size = Self.rounded(byteCount) else { return nil }
    let address = span.pointee.address, old = span.pointee.byteCount
    if size == old { return address }
    let end = address + old
    return size < old
      ? shorten(span, end, to: size) : lengthen(span, end, to: size) ?? move(span, end, to: size)
  }

  private static func memory(_ address: UInt) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }

  private static func granuleEnd(_ address: UInt) -> UInt {
    (address + AddressMap.granule - 1) & ~(AddressMap.granule - 1)
  }

  // In place or not at all. Granules leave the map before their memory does: what is unmapped may be another thread's span at
  // once, which must not be taken out of the map again.
  private func shorten(_ span: SpanPointer, _ end: UInt, to size: UInt) -> UInt? {
    let address = span.pointee.address
    let rest = Self.granuleEnd(address + size)
    AddressMap.set(0, from: rest, to: end)
    guard mp_pages_resize(Self.memory(address), Int(end - address), Int(size)) == 0 else {
      AddressMap.set(AddressMap.word(span), from: rest, to: end)
      return nil
    }
    return resized(span, address, size)
  }

  private func lengthen(_ span: SpanPointer, _ end: UInt, to size: UInt) -> UInt? {
    let address = span.pointee.address
    let mapped = Self.granuleEnd(end)
    // First room in the map: once the memory is there, nothing may fail any more.
    guard AddressMap.prepare(from: mapped, to: address + size),
      mp_pages_resize(Self.memory(address), Int(end - address), Int(size)) == 0
    else { return nil }
    AddressMap.set(AddressMap.word(span), from: mapped, to: address + size)
    return resized(span, address, size)
  }

  private func move(_ span: SpanPointer, _ end: UInt, to size: UInt) -> UInt? {
    let address = span.pointee.address
    guard let place = mp_pages_reserve(Int(size), Int(AddressMap.granule)) else { return nil }
    let moved = UInt(bitPattern: place)
    guard AddressMap.prepare(from: moved, to: moved + size) else {
      _ = mp_pages_release(place, Int(size))
      return nil
    }
    AddressMap.set(0, from: address, to: end)
    guard mp_pages_move(Self.memory(address), Int(end - address), place, Int(size)) == 0 else {
      // Nothing is ours at the place any more, and another thread's span may be there: it is not in the map yet.
      AddressMap.set(AddressMap.word(span), from: address, to: end)
      return nil
    }
    AddressMap.set(AddressMap.word(span), from: moved, to: moved + size)
    mutex.withLock {
      remember(address)
      forget(moved)
    }
    return resized(span, moved, size)
  }

  private func resized(_ span: SpanPointer, _ address: UInt, _ size: UInt) -> UInt {
    count(0, size &- span.pointee.byteCount)
    span.pointee.address = address
    span.pointee.byteCount = size
    return address
  }

  /// Unmaps all spans, for a pool that goes.
  func destroy() {
    while let span = pointee.head {
      _ = take(span)
      deallocate(span)
    }
  }

  private func count(_ spans: UInt, _ bytes: UInt) {
    if spans != 0 { _ = liveCount.fetchAddRelaxed(spans) }
    let live = liveBytes.fetchAddRelaxed(bytes) &+ bytes
    if live > peakBytes.loadRelaxed() { peakBytes.storeRelaxed(live) }
  }

  /// Whether a span began at `address` not long ago, and none of this list does since. Takes the lock: for reports.
  func wasSpan(_ address: UInt) -> Bool {
    mutex.withLock {
      for index in 0..<Self.formerCount where former(index).loadRelaxed() == address { return true }
      return false
    }
  }

  private func remember(_ address: UInt) {
    let index = nextFormer.loadRelaxed()
    former(Int(index)).storeRelaxed(address)
    nextFormer.storeRelaxed((index + 1) % UInt(Self.formerCount))
  }

  private func forget(_ address: UInt) {
    for index in 0..<Self.formerCount where former(index).loadRelaxed() == address { former(index).storeRelaxed(0) }
  }

  private func link(_ span: SpanPointer) {
    span.pointee.next = pointee.head
    pointee.head?.pointee.previous = span
    pointee.head = span
  }

  private func unlink(_ span: SpanPointer) {
    if let previous = span.pointee.previous {
      previous.pointee.next = span.pointee.next
    } else {
      pointee.head = span.pointee.next
    }
    span.pointee.next?.pointee.previous = span.pointee.previous
  }
}

extension UnsafeMutablePointer where Pointee == SpanList {
  /// Whether list, counts and address map agree. Only while nobody uses the list.
  func checkInvariants() -> Bool {
    var spans: UInt = 0, bytes: UInt = 0
    var previous: SpanPointer?
    var next = pointee.head
    while let span = next {
      guard span.checkInvariants(self) else { return false }
      if span.pointee.previous != previous { return broken("links that disagree") }
      if !LargeNote.isQuarantined(span.note) {
        spans += 1
        bytes &+= span.pointee.byteCount
      }
      if spans > liveCount.loadRelaxed() { break }
      previous = span
      next = span.pointee.next
    }
    if spans != liveCount.loadRelaxed() { return broken("a wrong count of spans") }
    return bytes == liveBytes.loadRelaxed() || broken("a wrong count of bytes")
  }

  /// The granules that the address map should have of these spans.
  var granuleCount: UInt {
    var count: UInt = 0
    var next = pointee.head
    while let span = next {
      next = span.pointee.next
      count += AddressMap.granuleCount(from: span.pointee.address, to: span.pointee.address + span.pointee.byteCount)
    }
    return count
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("list of spans", UInt(bitPattern: self), what) }
}

extension UnsafeMutablePointer where Pointee == Span {
  var note: AtomicPointer { AtomicPointer(self, word: 5) }

  func contains(_ address: UInt) -> Bool { address &- pointee.address < pointee.byteCount }

  /// Whether the span is `list`'s, and the address map leads to it from all of its addresses.
  func checkInvariants(_ list: SpanListPointer) -> Bool {
    let address = pointee.address, size = pointee.byteCount
    if pointee.list != list { return broken("in a list that is not its own") }
    if address & (AddressMap.granule - 1) != 0 || size == 0 || size % UInt(mp_system_page_size()) != 0 {
      return broken("where or of a size that no span can be")
    }
    return AddressMap.holds(AddressMap.word(self), from: address, to: address + size)
      || broken("addresses that the address map does not know")
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("span", UInt(bitPattern: self), what) }
}
