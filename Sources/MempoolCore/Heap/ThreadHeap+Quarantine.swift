/// What a hardened pool's thread has given back, and others may not have yet.
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  var quarantineWord: AtomicPointer { AtomicPointer(self, word: 141) }

  var quarantine: QuarantinePointer? {
    // acquire: pairs with the release in makeQuarantine()
    quarantineWord.loadPointerAcquire()?.assumingMemoryBound(to: Quarantine.self)
  }

  private func makeQuarantine() -> QuarantinePointer? {
    let segments = pointee.registry.pointee.segments
    guard let block = segments.allocateRecord(QuarantinePointer.recordByteCount) else { return nil }
    let made = QuarantinePointer(bitPattern: block).unsafelyUnwrapped
    made.start()
    quarantineWord.storeRelease(block)  // release: pairs with the acquire in quarantine
    return made
  }

  /// Lets an object wait that was taken back; others go free for it. False: there is no memory for a quarantine. By the owner.
  func keepBack(_ entry: Quarantine.Entry, in queue: Int, _ call: CallName) -> Bool {
    guard let quarantine = quarantine ?? makeQuarantine() else { return false }
    while let oldest = quarantine.put(entry, in: queue) { Self.release(oldest, from: queue, call) }
    return true
  }

  /// Releases all that waits; how many objects that were. By any thread.
  @discardableResult
  func releaseQuarantine(_ call: CallName) -> UInt {
    guard let quarantine else { return 0 }
    var count: UInt = 0
    for queue in 0..<Quarantine.queueCount {
      while let oldest = quarantine.take(queue) {
        Self.release(oldest, from: queue, call)
        count += 1
      }
    }
    return count
  }

  // Items are looked at when they are handed out again.
  private static func release(_ entry: Quarantine.Entry, from queue: Int, _ call: CallName) {
    if queue == Quarantine.spans {
      let span = SpanPointer(bitPattern: entry.owner).unsafelyUnwrapped
      if span.pointee.list.take(span) { span.pointee.list.deallocate(span) }
    } else if queue == Quarantine.runs {
      SegmentPointer(bitPattern: entry.owner).unsafelyUnwrapped.releaseQuarantined(entry.place, entry.byteCount, call)
    } else {
      SlabPointer(bitPattern: entry.owner).unsafelyUnwrapped.release(entry.place, call)
    }
  }
}

extension UnsafeMutablePointer where Pointee == Segment {
  /// The bytes of a run of `capacity` that its user may have written to, and what watches over their end.
  static func usedByteCount(_ requested: UInt, _ capacity: UInt) -> UInt {
    min(capacity, (requested + Canary.most + 7) & ~7)
  }

  /// Gives back a run that waited, and must still be clear.
  func releaseQuarantined(_ head: UInt, _ capacity: UInt, _ call: CallName) {
    let requested = LargeNote.formerByteCount(entry(of: head).slab)
    if !Wipe.isClear(head, Self.usedByteCount(requested, capacity)) { misuse(call, head, "written after it was freed") }
    _ = releaseRun(head, capacity >> Page.fragmentShift)
  }
}

extension UnsafeMutablePointer where Pointee == HeapRegistry {
  /// Releases all that waits in quarantines; how many objects that were. By any thread.
  @discardableResult
  func releaseQuarantines(_ call: CallName) -> UInt {
    guard pointee.hardening.hasCanaries else { return 0 }
    var released: UInt = 0
    for index in 0..<count { released += heap(index)?.releaseQuarantine(call) ?? 0 }
    return released
  }
}
