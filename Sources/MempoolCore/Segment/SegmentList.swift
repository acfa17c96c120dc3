import CMempoolShims

/// The segments of one pool: one at first, and a further one each time that an elastic pool is full.
///
/// A record in the pool, used by any thread. Claims try the newest segment first; making one takes a lock. Segments are
/// never given back before the pool is destroyed, only purged.
struct SegmentList {
  var newest = AtomicWord()  // 0: the newest segment, linked to older ones by Segment.next
  var lock = Mutex()  // 1
  var limitHits = AtomicWord()  // 2: times that all segments were full
  var patience = AtomicWord()  // 3: claims that may sleep in a full segment, because no further one can be had
  // What a further reservation asks for; 0: there is none.
  var furtherReserve: UInt = 0
  var settings = Segment.Settings()
}

typealias SegmentListPointer = UnsafeMutablePointer<SegmentList>

extension UnsafeMutablePointer where Pointee == SegmentList {
  var newestWord: AtomicPointer { AtomicPointer(self, word: 0) }
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: Mutex.self) }

  var limitHits: AtomicPointer { AtomicPointer(self, word: 2) }
  var patience: AtomicPointer { AtomicPointer(self, word: 3) }

  /// Whether a claim that finds a segment full waits for others, rather than for the next segment. A hint.
  var isPatient: Bool { pointee.furtherReserve == 0 || patience.loadRelaxed() != 0 }

  var newest: SegmentPointer? {
    newestWord.loadPointerAcquire()?.assumingMemoryBound(to: Segment.self)  // acquire: pairs with insert(_:)
  }

  /// Makes a segment one of the list. Under the lock, or before anybody else knows the list.
  func insert(_ segment: SegmentPointer) {
    segment.pointee.list = UInt(bitPattern: self)
    segment.next.storeRelaxed(newestWord.loadRelaxed())
    newestWord.storeRelease(UInt(bitPattern: segment))  // release: pairs with the acquire in newest
  }

  /// Visits the segments, newest first, until `body` returns true; whether one did.
  @discardableResult
  func first(where body: (SegmentPointer) -> Bool) -> Bool {
    var segment = newest
    while let current = segment {
      if body(current) { return true }
      segment = current.next.loadPointerRelaxed()?.assumingMemoryBound(to: Segment.self)
    }
    return false
  }

  /// Runs `claim` on each segment, newest first, and on further ones as long as they can be had. Sleeps, as the settings say,
  /// only when they cannot: with one sleep a full segment, many small segments would make every claim slow.
  func claim<Claimed>(pages: UInt, _ claim: (SegmentPointer) -> Claimed?) -> (Claimed, SegmentPointer)? {
    while true {
      let known = newest
      if let claimed = claimOnce(from: known, claim) { return claimed }
      if extend(atLeast: pages, known: known) { continue }
      if pointee.furtherReserve == 0 { return nil }
      _ = patience.fetchAddRelaxed(1)
      defer { _ = patience.fetchAddRelaxed(0 &- 1) }
      return claimOnce(from: newest, claim)
    }
  }

  /// A zeroed record of the pool's: from the newest segment that has room, or from a further one; nil when none can be had.
  /// Where the newest segment's own range has room that the system refuses, no further one is asked for.
  func allocateRecord(_ byteCount: UInt) -> UInt? {
    if let record = claimOnce(from: newest, { $0.allocateMetadata(byteCount) })?.0 { return record }
    if let newest, newest.hasRoomForMetadata(byteCount) { return nil }
    return claim(pages: (byteCount + Page.byteCount - 1) >> Page.shift) { $0.allocateMetadata(byteCount) }?.0
  }

  /// Takes back what ``allocateRecord(_:)`` returned for the same `byteCount`.
  func deallocateRecord(_ block: UInt, _ byteCount: UInt) {
    first { segment in
      guard block &- segment.pointee.start < segment.pointee.byteCount else { return false }
      segment.deallocateMetadata(block, byteCount)
      return true
    }
  }

  private func claimOnce<Claimed>(
    from newest: SegmentPointer?, _ claim: (SegmentPointer) -> Claimed?
  ) -> (Claimed, SegmentPointer)? {
    var segment = newest
    while let current = segment {
      if let claimed = claim(current) { return (claimed, current) }
      segment = current.next.loadPointerRelaxed()?.assumingMemoryBound(to: Segment.self)
    }
    return nil
  }

  // A further reservation, unless another thread made one since `known` was the newest.
  private func extend(atLeast pages: UInt, known: SegmentPointer?) -> Bool {
    _ = limitHits.fetchAddRelaxed(1)
    guard pointee.furtherReserve > 0 else { return false }
    mutex.lock()
    defer { mutex.unlock() }
    if newest != known { return true }
    let wanted = max(pointee.furtherReserve, (pages + 1) << Page.shift)
    let segment = SegmentPointer.elastic(byteCount: wanted, pointee.settings)
    guard let segment else { return false }
    guard segment.pageBytes >= pages << Page.shift else {
      segment.destroy()
      return false
    }
    insert(segment)
    return true
  }
}

extension UnsafeMutablePointer where Pointee == SegmentList {
  /// Whether the list's segments are its own and nobody waits for one; not whether each is sound in itself. Only while nobody
  /// uses them.
  func checkInvariants() -> Bool {
    if newest == nil { return broken("no segment") }
    if patience.loadRelaxed() != 0 { return broken("claims that wait, and none is running") }
    var isSound = true
    var count: UInt = 0
    first { segment in
      if segment.pointee.list != UInt(bitPattern: self) { isSound = broken("a segment of another list") }
      count += 1
      // As many as address space could hold: it leads back into itself.
      if count > 1 << 28 { isSound = broken("a list without an end") }
      return !isSound
    }
    return isSound
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("list of segments", UInt(bitPattern: self), what) }
}
