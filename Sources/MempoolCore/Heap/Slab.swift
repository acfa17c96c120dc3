import CMempoolShims

/// Items of one size class in one to four neighbouring pages, leased as a whole by one heap.
///
/// A record in the metadata arena of the slab's segment, out of the objects' reach. Items are numbered from 1, so that 0 says
/// *none* and a slab of zeroes is one without room. The owner of the heap takes and puts with plain loads and stores; any
/// other thread frees by one read-modify-write on a cell, most of the time.
///
/// The record is followed by the cells (a bit an item; 0: freed by another thread, told or being told, not yet collected) and
/// by the free set's links (16 bits an item).
public struct Slab {
  // The owner's line.
  // `base + n * itemSize` is item n; so the first item lies at the start of the first page.
  @usableFromInline var base: UInt
  @usableFromInline var links: UnsafeMutablePointer<UInt16>
  @usableFromInline var itemSize: UInt
  // used == items handed out and not yet back in the free set; others may read it
  @usableFromInline var used: AtomicWord  // 3
  // The first item of the free set, 0: none.
  @usableFromInline var head: UInt16
  // Items 1…carved have been in the free set; 0 ≤ carved ≤ itemCount
  var carved: UInt16
  var itemCount: UInt16
  var sizeClass: UInt8
  var place: Place
  var segment: SegmentPointer
  var heap: ThreadHeapPointer
  var next: SlabPointer?
  var previous: SlabPointer?

  // What others write.
  // Bit c: cell c has been told of since the last collection
  var summary: AtomicWord  // 9
  var pendingNext: AtomicWord  // 10
  var pageCount: UInt
  var recordBytes: UInt

  /// The one place where a slab is, other than in the page table.
  enum Place: UInt8 {
    /// Its class's current slab.
    case current = 0
    /// In its class's list of slabs with room.
    case room = 1
    /// In no list.
    case full = 2
  }

  /// Words of the record before the cells.
  @usableFromInline static var cellsWord: Int { 16 }
  /// The most items, so that 1…itemCount + 1 have cells under one summary word.
  static var largestItemCount: UInt { 4094 }
}

public typealias SlabPointer = UnsafeMutablePointer<Slab>

extension UnsafeMutablePointer where Pointee == Slab {
  @inlinable @inline(__always) public var used: AtomicPointer { AtomicPointer(self, word: 3) }
  var summary: AtomicPointer { AtomicPointer(self, word: 9) }
  var pendingNext: AtomicPointer { AtomicPointer(self, word: 10) }

  /// The cell of `item`. Set: not freed by another thread.
  @inlinable @inline(__always)
  func cell(_ item: UInt) -> AtomicPointer { AtomicPointer(self, word: Slab.cellsWord &+ Int(bitPattern: item >> 6)) }

  @inlinable @inline(__always)
  func isUncollected(_ item: UInt) -> Bool { cell(item).loadRelaxed() >> (item & 63) & 1 == 0 }

  var cellCount: UInt { (UInt(pointee.itemCount) + 2 + 63) / 64 }

  var address: UInt { pointee.base &+ pointee.itemSize }

  var hasRoom: Bool { pointee.head != 0 || pointee.carved < pointee.itemCount }

  /// Takes pages and a record for a slab of `sizeClass`; nil when the segment is full.
  static func make(
    _ sizeClass: Int, pages: UInt, in segment: SegmentPointer, for heap: ThreadHeapPointer
  ) -> SlabPointer? {
    let itemSize = SizeClass.itemSize(sizeClass)
    let itemCount = min((pages << Page.shift) / itemSize, Slab.largestItemCount)
    let cells = (itemCount + 2 + 63) / 64
    let recordBytes = (UInt(Slab.cellsWord) + cells) * 8 + (itemCount + 2) * 2
    guard let record = segment.allocateMetadata(recordBytes) else { return nil }
    guard let run = segment.claimPages(pages) else {
      segment.deallocateMetadata(record, recordBytes)
      return nil
    }
    let memory = UnsafeMutableRawPointer(bitPattern: record).unsafelyUnwrapped
    let slab = memory.assumingMemoryBound(to: Slab.self)
    let links = memory + (Slab.cellsWord + Int(cells)) * 8
    slab.pointee.base = run.address &- itemSize
    slab.pointee.links = links.assumingMemoryBound(to: UInt16.self)
    slab.pointee.itemSize = itemSize
    slab.pointee.itemCount = UInt16(itemCount)
    slab.pointee.sizeClass = UInt8(sizeClass)
    slab.pointee.place = .full
    slab.pointee.segment = segment
    slab.pointee.heap = heap
    slab.pointee.pageCount = pages
    slab.pointee.recordBytes = recordBytes
    for cell in 0..<Int(cells) { AtomicPointer(slab, word: Slab.cellsWord + cell).storeRelaxed(Cell.busy) }
    let reciprocal = UInt.max / itemSize &+ 1  // ⌈2^64 / itemSize⌉, as no item size is 1
    for page in 0..<pages {
      let entry = segment.entry(of: run.address + page << Page.shift)
      entry.base.storeRelaxed(slab.pointee.base)
      entry.slab.storeRelaxed(UInt(bitPattern: slab))
      entry.heap.storeRelaxed(UInt(bitPattern: heap))
      entry.reciprocal.storeRelaxed(reciprocal)
    }
    return slab
  }

  /// Gives pages and record back. By the owner, when used == 0: nobody is on its way to it then.
  func destroy() {
    let segment = pointee.segment
    segment.releasePages(address, pointee.pageCount)
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
    if taken != used.loadRelaxed() { return broken("a wrong count of used items") }
    if uncollected > taken { return broken("more items freed than were taken") }
    for page in 0..<pointee.pageCount {
      let entry = pointee.segment.entry(of: address + page << Page.shift)
      if entry.slab.loadRelaxed() != UInt(bitPattern: self) || entry.base.loadRelaxed() != pointee.base {
        return broken("a page that names another slab")
      }
    }
    switch pointee.place {
    case .current:
      return pointee.heap.pointee.registry.isOwned(pointee.heap.pointee.index) || broken("current in no heap")
    case .room: return hasRoom || broken("in the list of slabs with room, without any")
    case .full: return !hasRoom || broken("in no list, with room")
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
