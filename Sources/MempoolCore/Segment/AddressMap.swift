import CMempoolShims

/// Whose memory an address is, for pointers outside the shared pool's first reservation: two levels, by `address >> 20`.
///
/// One for the process. Reading takes two loads, from any thread, and never follows the pointer in question; writing is on
/// slow paths. What is entered starts at a multiple of ``granule``, so no two share one. Addresses have at most 48 bits.
enum AddressMap {
  static var granuleShift: UInt { 20 }
  static var granule: UInt { 1 << granuleShift }
  private static var leafShift: UInt { 34 }
  private static var leafCount: UInt { 1 << (leafShift - granuleShift) }
  private static var addressBits: UInt { 48 }
  private static var spanTag: UInt { 1 }

  /// What a granule belongs to.
  enum Owner {
    case segment(SegmentPointer)
    case span(SpanPointer)
  }

  static func word(_ segment: SegmentPointer) -> UInt { UInt(bitPattern: segment) }
  static func word(_ span: SpanPointer) -> UInt { UInt(bitPattern: span) | spanTag }

  private static func slot(_ address: UInt) -> AtomicPointer? {
    guard address >> addressBits == 0 else { return nil }
    let root = AtomicPointer(mp_map_root_address()).advanced(by: Int(address >> leafShift))
    let leaf = root.loadAcquire()  // acquire: pairs with the swap in makeLeaf(_:)
    return leaf == 0 ? nil : AtomicPointer(address: leaf).advanced(by: Int(address >> granuleShift & (leafCount - 1)))
  }

  static func owner(of address: UInt) -> Owner? {
    guard let word = slot(address)?.loadAcquire(), word != 0 else { return nil }  // acquire: pairs with set(_:from:to:)
    return owner(word)
  }

  private static func owner(_ word: UInt) -> Owner {
    let record = UnsafeMutableRawPointer(bitPattern: word & ~spanTag).unsafelyUnwrapped
    return word & spanTag != 0
      ? .span(record.assumingMemoryBound(to: Span.self)) : .segment(record.assumingMemoryBound(to: Segment.self))
  }

  /// Makes room for entries of `[start, end)`: false when there is no memory for it, or no such address. ``set(_:from:to:)``
  /// succeeds then, whenever.
  static func prepare(from start: UInt, to end: UInt) -> Bool {
    var address = start & ~(granule - 1)
    while address < end {
      if slot(address) == nil, !makeLeaf(address) { return false }
      address = (address | (1 << leafShift - 1)) + 1
    }
    return true
  }

  /// Enters `word` for each granule of `[start, end)`; 0 takes out. False when there is no memory for a leaf, and then
  /// nothing is entered.
  @discardableResult
  static func set(_ word: UInt, from start: UInt, to end: UInt) -> Bool {
    if word != 0, !prepare(from: start, to: end) { return false }
    var address = start & ~(granule - 1)
    while address < end {
      // acquire-release: the release pairs with the acquire in owner(of:); the acquire pairs with the releases in take(_:at:) and
      // here, of whoever took the granule out: a span that grows in place may get memory that another has just left, and
      // asks only the kernel.
      _ = slot(address)?.exchangeAcquireRelease(word)
      address += granule
    }
    return true
  }

  /// Clears the granule of `address` if it holds `word`: true for exactly one of those who try.
  static func take(_ word: UInt, at address: UInt) -> Bool {
    // acquire-release: pairs with set(_:from:to:), and with itself in another thread
    slot(address)?.compareAndSwapAcquireRelease(word, 0) == word
  }

  private static func makeLeaf(_ address: UInt) -> Bool {
    guard address >> addressBits == 0 else { return false }
    let byteCount = Int(leafCount) * MemoryLayout<UInt>.size
    guard let leaf = mp_pages_map(byteCount, 1) else { return false }
    let root = AtomicPointer(mp_map_root_address()).advanced(by: Int(address >> leafShift))
    // acquire-release: publishes the zeroed leaf, pairs with slot(_:) and checkInvariants(count:where:); or sees another's, by itself
    if root.compareAndSwapAcquireRelease(0, UInt(bitPattern: leaf)) != 0 { _ = mp_pages_release(leaf, byteCount) }
    return true
  }
}

extension AddressMap {
  /// Whether each granule of `[start, end)` holds `word`.
  static func holds(_ word: UInt, from start: UInt, to end: UInt) -> Bool {
    if start >= end { return true }
    var address = start & ~(granule - 1)
    while address < end {
      if slot(address)?.loadRelaxed() != word { return false }
      address += granule
    }
    return true
  }

  /// The granules that `[start, end)` touches.
  static func granuleCount(from start: UInt, to end: UInt) -> UInt {
    start < end ? (end - 1) >> granuleShift - start >> granuleShift + 1 : 0
  }

  /// Whether `count` granules, and no more, name records that `isOwned` knows as its own. With ``holds(_:from:to:)`` for each
  /// record: that no granule names one which has left it. Only while nobody enters or takes out such records; others may.
  static func checkInvariants(count: UInt, where isOwned: (Owner) -> Bool) -> Bool {
    var found: UInt = 0
    for index in 0..<Int(1 << (addressBits - leafShift)) {
      // acquire: pairs with the swap in makeLeaf(_:)
      let leaf = AtomicPointer(mp_map_root_address()).advanced(by: index).loadAcquire()
      if leaf == 0 { continue }
      for granule in 0..<Int(leafCount) {
        let word = AtomicPointer(address: leaf).advanced(by: granule).loadRelaxed()
        if word != 0, isOwned(owner(word)) { found += 1 }
      }
    }
    return found == count
      || reportBroken("address map", UInt(bitPattern: mp_map_root_address()), "granules of nobody's")
  }
}
