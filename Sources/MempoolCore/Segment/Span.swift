import CMempoolShims

/// A large object straight from the system: above 1 MiB, in pools that may ask it.
///
/// A record in the metadata arena of the pool's first segment, found from any address in the span by the address map in
/// O(1). The object is the span's first byte on, aligned to 1 MiB.
struct Span {
  var address: UInt
  var byteCount: UInt
  // The list that it is in, and its neighbours there.
  var list: SpanListPointer
  var next: SpanPointer?
  var previous: SpanPointer?
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
  let metadata: SegmentPointer

  /// Objects above this many bytes are spans.
  static var threshold: UInt { 1 << 20 }
}

typealias SpanListPointer = UnsafeMutablePointer<SpanList>

extension UnsafeMutablePointer where Pointee == SpanList {
  var liveCount: AtomicPointer { AtomicPointer(self, word: 0) }
  var liveBytes: AtomicPointer { AtomicPointer(self, word: 1) }
  var peakBytes: AtomicPointer { AtomicPointer(self, word: 3) }
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 16).assumingMemoryBound(to: Mutex.self) }

  private static func rounded(_ byteCount: UInt) -> UInt? {
    let page = UInt(mp_system_page_size())
    let (sum, overflow) = byteCount.addingReportingOverflow(page - 1)
    return overflow || sum > UInt(Int.max) ? nil : sum & ~(page - 1)
  }

  /// A span of at least `byteCount` zero bytes; nil when the system has none.
  func allocate(_ byteCount: UInt, alignment: UInt) -> SpanPointer? {
    guard let size = Self.rounded(byteCount) else { return nil }
    guard let block = pointee.metadata.allocateMetadata(UInt(MemoryLayout<Span>.size)) else { return nil }
    let record = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: Span.self)
    guard let memory = mp_pages_map(Int(size), Int(max(alignment, AddressMap.granule))) else {
      pointee.metadata.deallocateMetadata(block, UInt(MemoryLayout<Span>.size))
      return nil
    }
    let address = UInt(bitPattern: memory)
    record.initialize(to: Span(address: address, byteCount: size, list: self, next: nil, previous: nil))
    guard AddressMap.set(AddressMap.word(record), from: address, to: address + size) else {
      _ = mp_pages_release(memory, Int(size))
      pointee.metadata.deallocateMetadata(block, UInt(MemoryLayout<Span>.size))
      return nil
    }
    mutex.withLock { link(record) }
    count(1, size)
    return record
  }

  /// Unmaps a span. Only one thread may; the pool's front door sees to it by ``take(_:)``.
  func deallocate(_ span: SpanPointer) {
    let address = span.pointee.address, size = span.pointee.byteCount
    let memory = UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
    mutex.withLock { unlink(span) }
    count(0 &- 1, 0 &- size)
    // A kernel that cannot split its map of areas may refuse; the memory at least goes back.
    if mp_pages_release(memory, Int(size)) != 0 { _ = mp_pages_purge(memory, Int(size)) }
    pointee.metadata.deallocateMetadata(UInt(bitPattern: span), UInt(MemoryLayout<Span>.size))
  }

  /// Takes the span that begins at `address` out of the map: true for exactly one of the threads that try.
  func take(_ span: SpanPointer) -> Bool {
    let address = span.pointee.address
    guard AddressMap.take(AddressMap.word(span), at: address) else { return false }
    AddressMap.set(0, from: address, to: address + span.pointee.byteCount)
    return true
  }

  /// Makes a span `byteCount` bytes long, in place or elsewhere; its address after, or nil and nothing changed.
  func resize(_ span: SpanPointer, to byteCount: UInt) -> UInt? {
    guard let size = Self.rounded(byteCount) else { return nil }
    let address = span.pointee.address, old = span.pointee.byteCount
    if size == old { return address }
    let memory = UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
    let word = AddressMap.word(span)
    // Granules leave the map before their memory does: what is unmapped may be another thread's span at once, which must not
    // be taken out of the map again.
    let end = address + old
    let mapped = (end + AddressMap.granule - 1) & ~(AddressMap.granule - 1)
    let rest = (address + size + AddressMap.granule - 1) & ~(AddressMap.granule - 1)
    AddressMap.set(0, from: rest, to: end)
    if mp_pages_resize(memory, Int(old), Int(size)) == 0 {
      if address + size > mapped, !AddressMap.set(word, from: mapped, to: address + size) {
        _ = mp_pages_resize(memory, Int(size), Int(old))
        return nil
      }
      span.pointee.byteCount = size
      count(0, size &- old)
      return address
    }
    AddressMap.set(word, from: rest, to: end)
    guard let place = mp_pages_reserve(Int(size), Int(AddressMap.granule)) else { return nil }
    let moved = UInt(bitPattern: place)
    guard AddressMap.set(word, from: moved, to: moved + size) else {
      _ = mp_pages_release(place, Int(size))
      return nil
    }
    AddressMap.set(0, from: address, to: end)
    guard mp_pages_move(memory, Int(old), place, Int(size)) == 0 else {
      AddressMap.set(word, from: address, to: end)
      AddressMap.set(0, from: moved, to: moved + size)
      _ = mp_pages_release(place, Int(size))
      return nil
    }
    span.pointee.address = moved
    span.pointee.byteCount = size
    count(0, size &- old)
    return moved
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
