import CMempoolShims

/// Where the parts of a segment lie in its reservation, for a number of pages.
struct SegmentLayout {
  static var arenaOffset: Int { (MemoryLayout<Segment>.stride + 63) & ~63 }
  static var waitOffset: Int { (arenaOffset + MemoryLayout<MetadataArena>.stride + 63) & ~63 }
  /// Pages become accessible in steps of this many bytes.
  static var commitStep: UInt { 4 << 20 }
  static var largestSystemPage: UInt { 64 << 10 }
  /// The arena's own range of an elastic segment is this part of its pages: enough for slabs of 32-byte items throughout.
  static var arenaShare: UInt { 8 }

  let pageCapacity: UInt
  let entries: UInt
  let bitmap: UInt
  let touched: UInt
  let lent: UInt
  let arenaStart: UInt
  let arenaLimit: UInt
  let base: UInt
  let end: UInt

  /// Run lengths that searches ask for, each with a hint tree: 1 fragment, 4 KiB, 8 KiB, a page.
  static var runLengths: RunLengths { [.one, .sixteen, .thirtyTwo, .sixtyFour] }

  /// Offsets from the start of the reservation. `pageAlignment` is that of the first page.
  init(pageCapacity: UInt, elastic: Bool, pageAlignment: UInt) {
    func aligned(_ offset: UInt, _ alignment: UInt) -> UInt { (offset + alignment - 1) & ~(alignment - 1) }
    self.pageCapacity = pageCapacity
    entries = aligned(UInt(Self.waitOffset + MemoryLayout<BoundedWait>.stride), 64)
    bitmap = aligned(entries + pageCapacity * UInt(MemoryLayout<PageEntry>.stride), 64)
    let bitmapBytes = UInt(AtomicBitmap.byteCount(cellCount: Int(pageCapacity), runLengths: Self.runLengths))
    touched = aligned(bitmap + bitmapBytes, 64)
    lent = touched + (pageCapacity + 63) / 64 * 8
    let lentEnd = lent + (pageCapacity + 63) / 64 * 8
    // Pages of the system's are up to 64 KiB, and become accessible as a whole.
    arenaStart = elastic ? aligned(lentEnd, Self.largestSystemPage) : lentEnd
    let arenaBytes = elastic ? aligned((pageCapacity << Page.shift) / Self.arenaShare, Self.largestSystemPage) : 0
    arenaLimit = arenaStart + arenaBytes
    base = aligned(arenaLimit, pageAlignment)
    end = base + pageCapacity << Page.shift
  }

  /// The most pages that fit `byteCount` bytes beginning at `start`; nil when not one does.
  init?(fitting byteCount: UInt, at start: UInt) {
    var pages = byteCount >> Page.shift
    // Offsets count from `start`, which need not be aligned to a page; the first page is.
    let lead = (0 &- start) & (Page.byteCount - 1)
    while pages > 0 {
      let layout = SegmentLayout(pageCapacity: pages, elastic: false, pageAlignment: 64)
      let first = layout.base <= lead ? lead : lead + (layout.base - lead + Page.byteCount - 1) & ~(Page.byteCount - 1)
      if first + pages << Page.shift <= byteCount {
        self = layout
        return
      }
      pages -= 1 + (first + pages << Page.shift - byteCount) >> (Page.shift + 1)
    }
    return nil
  }
}

extension UnsafeMutablePointer where Pointee == Segment {
  /// Reserves address space for `byteCount` bytes of pages, halving until it fits; errno tells why when nil.
  static func elastic(byteCount: UInt, _ settings: Segment.Settings) -> SegmentPointer? {
    var pages = max(byteCount, smallestReserve) >> Page.shift
    while pages << Page.shift >= smallestReserve {
      let layout = SegmentLayout(pageCapacity: pages, elastic: true, pageAlignment: SegmentLayout.largestSystemPage)
      let end = (layout.end + SegmentLayout.largestSystemPage - 1) & ~(SegmentLayout.largestSystemPage - 1)
      if let memory = mp_pages_reserve(Int(end), Int(AddressMap.granule)) {
        if mp_pages_commit(memory, Int(layout.arenaStart)) == 0 {
          _ = mp_pages_huge(memory, Int(end), 0)
          return place(layout, UInt(bitPattern: memory), end, .elastic, settings)
        }
        _ = mp_pages_release(memory, Int(end))
      }
      pages /= 2
    }
    return nil
  }

  /// The smallest reservation that is tried, in bytes of pages.
  static var smallestReserve: UInt { 1 << 20 }

  /// Takes `byteCount` bytes, bookkeeping included, all accessible at once; errno tells why when nil. More than the machine's
  /// memory is refused now, not by the end of the process when it is touched, unless the system was told to grant everything.
  static func fixed(byteCount: UInt, _ settings: Segment.Settings) -> SegmentPointer? {
    let count = (byteCount + Page.byteCount - 1) & ~(Page.byteCount - 1)
    guard let memory = mp_pages_take(Int(count), Int(AddressMap.granule)) else { return nil }
    let start = UInt(bitPattern: memory)
    guard let layout = SegmentLayout(fitting: count, at: start) else {
      _ = mp_pages_release(memory, Int(count))
      mp_errno_set(Int32(MP_EINVAL))
      return nil
    }
    _ = mp_pages_huge(memory, Int(count), 0)
    let segment = place(layout, start, count, .fixed, settings)
    if AddressMap.set(AddressMap.word(segment), from: start, to: start + count) { return segment }
    _ = mp_pages_release(memory, Int(count))
    return nil
  }

  /// In the caller's memory, which may hold anything; nil when not one page fits.
  static func buffer(_ start: UInt, byteCount: UInt, _ settings: Segment.Settings) -> SegmentPointer? {
    let lead = (0 &- start) & 63
    guard byteCount > lead, let layout = SegmentLayout(fitting: byteCount - lead, at: start + lead) else { return nil }
    let memory = UnsafeMutableRawPointer(bitPattern: start + lead).unsafelyUnwrapped
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Int(layout.arenaStart))
    let segment = place(layout, start + lead, byteCount - lead, .buffer, settings)
    for word in 0..<Int(layout.pageCapacity + 63) / 64 { segment.pointee.touched.advanced(by: word).storeRelaxed(~0) }
    return segment
  }

  private static func place(
    _ layout: SegmentLayout, _ start: UInt, _ byteCount: UInt, _ backing: Segment.Backing,
    _ settings: Segment.Settings
  ) -> SegmentPointer {
    let memory = UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped
    let segment = memory.assumingMemoryBound(to: Segment.self)
    let pages = backing == .elastic ? 0 : layout.pageCapacity
    let wait = segment.wait
    wait.initialize(to: BoundedWait())
    if let maxRetries = settings.maxRetries { wait.maxRetries = maxRetries }
    if let nanoseconds = settings.waitNanoseconds { wait.waitNanoseconds = nanoseconds }
    segment.initialize(
      to: Segment(
        backing: backing, start: start, byteCount: byteCount,
        base: (start + layout.base + Page.byteCount - 1) & ~(Page.byteCount - 1), pageCapacity: layout.pageCapacity,
        entries: (memory + Int(layout.entries)).assumingMemoryBound(to: PageEntry.self),
        touched: AtomicPointer(address: start + layout.touched), lent: AtomicPointer(address: start + layout.lent),
        bitmap: AtomicBitmap(
          zeroed: memory + Int(layout.bitmap), cellCapacity: Int(layout.pageCapacity),
          runLengths: SegmentLayout.runLengths, itemCount: Int(pages * Page.fragmentCount), wait: wait),
        purgeDelay: settings.purgeDelay, arenaLimit: start + layout.arenaLimit,
        arenaCommitted: start + layout.arenaStart))
    segment.arena.initialize(to: MetadataArena())
    segment.pageCount.storeRelaxed(pages)
    Memcheck.keep(start, backing == .elastic ? layout.arenaLimit : segment.pointee.base - start)
    Memcheck.close(start, backing == .elastic ? layout.arenaStart : byteCount)
    return segment
  }
}
