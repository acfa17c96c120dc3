import CMempoolShims

/// Items of one size class in neighbouring pages, up to four of small ones and sixteen of medium ones, leased as a whole by one heap.
///
/// A record in the metadata arena of the slab's segment, out of the objects' reach. Items are numbered from 1, so that 0 says
/// *none* and a slab of zeroes is one without room. The owner of the heap takes and puts with plain loads and stores; any
/// other thread frees by one read-modify-write on a cell, most of the time.
///
/// The record is followed by the free set's links (16 bits for each item that an address in the pages may name) and by the
/// cells (a bit an item; 0: freed by another thread, told or being told, not yet collected).
public struct Slab {
  // One cache line: all that a take and a put need, but for the item's link.
  // used + place's head start == the puts after which settle(_:) has work. First, as an in-out access to any field is, to
  // ThreadSanitizer, one to the record's first word: one that only the owner looks at.
  @usableFromInline var left: UInt
  @usableFromInline var itemSize: UInt
  // The first item of the free set, 0: none.
  @usableFromInline var head: UInt16
  // Items 1…carved have been in the free set; 0 ≤ carved ≤ itemCount
  var carved: UInt16
  var itemCount: UInt16
  var sizeClass: UInt8
  fileprivate(set) var place: Place
  // `base + n * itemSize` is item n; so the first item lies at the start of the first page.
  @usableFromInline var base: UInt
  // Bit c: cell c has been told of since the last collection. Others write it, once a cell and collection.
  @usableFromInline var summary: AtomicWord  // 4
  var heap: ThreadHeapPointer
  var segment: SegmentPointer

  // In a ring of slabs with room, or, `next` alone, among the spares
  var next: SlabPointer?
  var previous: SlabPointer?
  var pendingNext: AtomicWord  // 9
  var cells: UnsafeMutablePointer<UInt>
  var pageCount: UInt
  var recordBytes: UInt
  // The owner keeps it as the current one also when it is empty; only of a current one.
  var staysEmpty: Bool
  // The page behind its own is a guard.
  var hasGuard: Bool
  // Of medium items, those that somebody saw freed by others and not collected, and those whose pages have gone back meanwhile. Of who
  // has taken the slab from the pending list.
  var uncollected: UInt16
  var returned: UInt16
  // Of a hardened pool, a word's quarter for each link; nil: of another
  var notes: UnsafeMutablePointer<UInt16>?

  /// The one place where a slab is, other than in the page table.
  enum Place: UInt8 {
    /// Its class's current slab.
    case current = 0
    /// In its class's list of slabs with room.
    case room = 1
    /// In no list.
    case full = 2
    /// Empty, and kept by its heap for its next need.
    case spare = 3
  }

  /// Words of the record before the links.
  @usableFromInline static var linksWord: Int { 16 }
  /// The most items, so that 1…itemCount + 1 have cells under one summary word.
  static var largestItemCount: UInt { 4094 }
}

public typealias SlabPointer = UnsafeMutablePointer<Slab>

extension UnsafeMutablePointer where Pointee == Slab {
  @inlinable @inline(__always) public var summary: AtomicPointer { AtomicPointer(self, word: 4) }
  var pendingNext: AtomicPointer { AtomicPointer(self, word: 9) }

  /// Items handed out and not yet back in the free set. The owner's to read and to write.
  var used: UInt {
    @inline(__always) get { used(in: pointee.place) }
    @inline(__always) nonmutating set { setUsed(newValue, in: pointee.place) }
  }

  private static var never: UInt { 1 << 32 }

  @inline(__always)
  private func used(in place: Slab.Place) -> UInt {
    switch place {
    case .current: return pointee.left & (Self.never - 1)
    case .room, .spare: return pointee.left
    case .full: return pointee.left &+ UInt(pointee.itemCount) &- 1
    }
  }

  // What keeps a put from looking after its slab: `left` counts down to 0.
  @inline(__always)
  private func setUsed(_ used: UInt, in place: Slab.Place) {
    switch place {
    // When it is empty, if that is worth while: a program that uses many classes a little would make slabs all the time.
    case .current:
      let stays = pointee.pageCount == 1 || pointee.staysEmpty || isMostlyUntouched
      pointee.left = stays ? used | Self.never : used
    case .room, .spare: pointee.left = used  // when it is empty
    case .full: pointee.left = used &+ 1 &- UInt(pointee.itemCount)  // at once: it has room again
    }
  }

  /// Items that are carved at first: a system page of them, so that one sees whether a slab was hardly used.
  var leastCarveCount: UInt { max(4096 / pointee.itemSize, pointee.itemSize <= SizeClass.largest ? 4 : 1) }

  /// Whether no more than the first items have ever been in the free set: what they touched is not worth giving back.
  var isMostlyUntouched: Bool {
    let touched = UInt(pointee.carved) &* pointee.itemSize
    return touched <= 4096 || pointee.carved <= 4 && touched <= 4 * SizeClass.largest
  }

  var byteCount: UInt { pointee.pageCount << Page.shift }

  /// The cell of `item`. Set: not freed by another thread.
  func cell(_ item: UInt) -> AtomicPointer { AtomicPointer(pointee.cells + Int(bitPattern: item >> 6)) }

  func isUncollected(_ item: UInt) -> Bool { cell(item).loadRelaxed() >> (item & 63) & 1 == 0 }

  var cellCount: UInt { (UInt(pointee.itemCount) + 2 + 63) / 64 }

  var address: UInt { pointee.base &+ pointee.itemSize }

  @inlinable @inline(__always)
  func address(_ item: UInt) -> UInt { pointee.base &+ item &* pointee.itemSize }

  var hasRoom: Bool { pointee.head != 0 || pointee.carved < pointee.itemCount }

  /// Makes this full slab, in which one item has just become free, a current one: ``setPlace(_:)`` where the count is known. All of its
  /// items have been used, so that only the size of the slab says whether it stays when it is empty.
  @inline(__always)
  func takeSeat() {
    let count = UInt(pointee.itemCount)
    pointee.place = .current
    // Whether it has one page, told without another cache line of the record.
    pointee.left = (count &- 1) | (count &* pointee.itemSize <= 1 << Page.shift ? Self.never : 0)
  }

  /// Makes this current slab, which has no room and does not stay when it is empty, a full one.
  @inline(__always)
  func giveUpSeat() {
    pointee.place = .full
    pointee.left = 1
  }

  /// Says where the slab is from now on.
  func setPlace(_ place: Slab.Place) { setPlace(place, from: pointee.place) }

  /// The same, of a slab of which the caller knows where it is.
  @inline(__always)
  func setPlace(_ place: Slab.Place, from old: Slab.Place) {
    let used = used(in: old)
    pointee.place = place
    setUsed(used, in: place)
  }

  /// What a record of that many pages holds: items, words of links, and cells. A link for each number that an address in the
  /// pages gives, so that looking one up needs no test; in whole words.
  static func shape(_ itemSize: UInt, pages: UInt) -> (items: UInt, links: UInt, cells: UInt) {
    let items = min((pages << Page.shift) / itemSize, Slab.largestItemCount)
    return (items, ((pages << Page.shift + itemSize - 1) / itemSize + 1 + 3) / 4, (items + 2 + 63) / 64)
  }

  /// Takes pages and a record for a slab of `sizeClass`; nil when the segment is full.
  static func make(
    _ sizeClass: Int, pages: UInt, in segment: SegmentPointer, for heap: ThreadHeapPointer,
    _ hardening: Hardening = .off, _ secret: UInt = 0
  ) -> SlabPointer? {
    let itemSize = SizeClass.itemSize(sizeClass)
    let (itemCount, links, cells) = shape(itemSize, pages: pages)
    let notes = hardening == .off ? 0 : links
    let recordBytes = (UInt(Slab.linksWord) + links + cells + notes) * 8
    let hasGuard = hardening == .guards && segment.mayGuard
    guard let record = segment.allocateMetadata(recordBytes) else { return nil }
    guard let run = segment.claimPages(hasGuard ? pages + 1 : pages) else {
      segment.deallocateMetadata(record, recordBytes)
      return nil
    }
    let memory = UnsafeMutableRawPointer(bitPattern: record).unsafelyUnwrapped
    let slab = memory.assumingMemoryBound(to: Slab.self)
    slab.pointee.base = run.address &- itemSize
    slab.pointee.cells = memory.assumingMemoryBound(to: UInt.self) + Slab.linksWord + Int(links)
    slab.pointee.itemSize = itemSize
    slab.pointee.itemCount = UInt16(itemCount)
    slab.pointee.sizeClass = UInt8(sizeClass)
    slab.pointee.place = .full
    slab.used = 0
    slab.pointee.segment = segment
    slab.pointee.heap = heap
    slab.pointee.pageCount = pages
    slab.pointee.recordBytes = recordBytes
    for cell in 0..<Int(cells) { AtomicPointer(slab.pointee.cells + cell).storeRelaxed(Cell.busy) }
    // Before the pages name it: a fork in another thread finds it whole, or not at all.
    if hardening != .off {
      // What is written in an item that nobody has had yet counts as written after it was freed. A caller's buffer may hold anything, and
      // a page may come from a slab cache, which clears nothing.
      if !run.isZero { Wipe.clear(run.address, pages << Page.shift, mayReturn: false) }
      slab.harden(links + cells, hasGuard, secret)
    }
    let reciprocal = UInt.max / itemSize &+ 1  // ⌈2^64 / itemSize⌉, as no item size is 1
    for page in 0..<pages {
      let entry = segment.entry(of: run.address + page << Page.shift)
      entry.base.storeRelaxed(slab.pointee.base)
      entry.slab.storeRelease(UInt(bitPattern: slab))  // release: pairs with the acquire in keptSlab
      entry.heap.storeRelaxed(UInt(bitPattern: heap))
      entry.reciprocal.storeRelaxed(reciprocal)
    }
    return slab
  }

  private func harden(_ notesWord: UInt, _ hasGuard: Bool, _ secret: UInt) {
    let words = UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt.self) + Slab.linksWord + Int(notesWord)
    pointee.notes = UnsafeMutableRawPointer(words).assumingMemoryBound(to: UInt16.self)
    // Where the system refuses, it is a page that nobody uses.
    if hasGuard { _ = pointee.segment.guardPage(address + byteCount) }
    pointee.hasGuard = hasGuard
    carveAll(secret)
  }

  /// Gives pages and record back. By the owner, when used == 0: nobody is on its way to it then.
  func destroy() {
    let segment = pointee.segment
    if pointee.hasGuard {
      segment.releaseGuardedPages(address, pointee.pageCount)
    } else {
      segment.releasePages(address, pointee.pageCount)
    }
    segment.deallocateMetadata(UInt(bitPattern: self), pointee.recordBytes)
  }
}

extension UnsafeMutablePointer where Pointee == Slab {
  /// Whether links, cells, count and place agree, and the pages name this slab. Only while nobody uses it.
  func checkInvariants() -> Bool {
    let count = UInt(pointee.itemCount), carved = UInt(pointee.carved)
    guard count > 0, carved <= count else { return broken("carved beyond its items") }
    var free: UInt = 0
    var item = UInt(pointee.head)
    while item != 0, free <= count {
      if item > carved { return broken("an item free that was never carved") }
      free += 1
      let next = link(item)
      if next == Self.taken { return broken("an item free and taken") }
      item = UInt(next)
    }
    var taken: UInt = 0, uncollected: UInt = 0
    for item in 1...count where link(item) == Self.taken { taken += 1 }
    for index in 0..<cellCount { uncollected += UInt((~cell(index << 6).loadRelaxed()).nonzeroBitCount) }
    if free + taken != carved { return broken("an item lost") }
    if taken != used { return broken("a wrong count of used items") }
    if uncollected > taken { return broken("more items freed than were taken") }
    for page in 0..<pointee.pageCount {
      let entry = pointee.segment.entry(of: address + page << Page.shift)
      if entry.slab.loadRelaxed() != UInt(bitPattern: self) || entry.base.loadRelaxed() != pointee.base {
        return broken("a page that names another slab")
      }
    }
    if !checkNotes() { return broken("a note and a link that disagree") }
    if pointee.staysEmpty, pointee.place != .current { return broken("stays when it is empty, and is not current") }
    switch pointee.place {
    case .current:
      return pointee.heap.pointee.registry.isOwned(pointee.heap.pointee.index) || broken("current in no heap")
    case .room: return hasRoom || broken("in the list of slabs with room, without any")
    case .full: return !hasRoom || broken("in no list, with room")
    case .spare: return taken == 0 || broken("spare, with items out")
    }
  }

  private func broken(_ what: StaticString) -> Bool {
    var line = ReportLine()
    line.append("slab ")
    line.append(address: UInt(bitPattern: self))
    line.append(" of ")
    line.append(decimal: pointee.itemSize)
    line.append("-byte items is broken: ")
    line.append(what)
    line.write()
    return false
  }
}

extension UnsafeMutablePointer where Pointee == PageEntry {
  /// The slab that the page belongs to, for who keeps its record from being given back: ``MetadataArena``, `withRecordsKept(_:)`.
  var keptSlab: SlabPointer? {
    let before = slab.loadAcquire()  // acquire: pairs with the release in make(_:pages:in:for:_:_:)
    // Once more, as the page may be given back, and become something else, in between.
    guard isSlab, slab.loadRelaxed() == before else { return nil }
    return SlabPointer(bitPattern: before)
  }
}
