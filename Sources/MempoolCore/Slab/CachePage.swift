/// One page of a slab cache: its items in one to a few neighbouring pages of the segment, and a bit an item.
///
/// A record in the metadata arena of the page's segment, out of the items' reach; in its cache's list until it is retired. It
/// is followed by the cells, one more than the items need at most, so that what is left over behind the last item has a bit,
/// always 0; then by two words a cell: its free set, and its lessee.
///
/// | cell's bit | free set's bit | the item is |
/// | --- | --- | --- |
/// | 0 | 0 | free, for anybody to claim |
/// | 1 | 0 | handed out |
/// | 1 | 1 | free, held by the cell's lessee |
///
/// Anybody may change a cell, by read-modify-write. A cell has one lessee at most, and only it writes the free set, by plain stores;
/// anybody may read it. So a second put of an item is seen by whoever does it, on whatever thread the first one was.
public struct CachePage {
  // What the fast paths read, never written after the start.
  @usableFromInline let base: UInt
  // ⌈2^63 / stride⌉: doubled offsets, so that a stride of 1 fits.
  @usableFromInline let reciprocal: UInt
  @usableFromInline let cacheID: UInt
  // The free set and the lessee of cell 0.
  @usableFromInline let pairs: UnsafeMutablePointer<UInt>

  let itemCount: UInt
  let stride: UInt
  let segment: SegmentPointer
  let pageCount: UInt
  let recordBytes: UInt
  // Under the cache's lock.
  var next: CachePagePointer?

  /// Words of the record before the cells.
  @usableFromInline static var cellsWord: Int { 16 }
}

public typealias CachePagePointer = UnsafeMutablePointer<CachePage>

extension UnsafeMutablePointer where Pointee == CachePage {
  @inlinable @inline(__always)
  func cell(_ index: UInt) -> AtomicPointer {
    AtomicPointer(self, word: CachePage.cellsWord &+ Int(bitPattern: index))
  }

  /// The free set of a cell's lessee. `held & ~cell == 0`; 0 while nobody leases the cell.
  @inlinable @inline(__always)
  func held(_ index: UInt) -> AtomicPointer { AtomicPointer(pointee.pairs + Int(bitPattern: index &* 2)) }

  /// The ``CacheLeases`` record of a cell's lessee; 0: none.
  @inlinable @inline(__always)
  func lessee(_ index: UInt) -> AtomicPointer { AtomicPointer(pointee.pairs + Int(bitPattern: index &* 2 &+ 1)) }

  var cellCount: UInt { (pointee.itemCount + 63) >> 6 }

  /// Bits of a cell that stand for no item. They are 0 in the cell, but while a search holds it whole.
  func surplus(_ index: UInt) -> UInt {
    Cell.surplus(beyond: Int(bitPattern: pointee.itemCount) - Int(bitPattern: index << 6))
  }

  func address(ofItem item: UInt) -> UInt { pointee.base &+ item &* pointee.stride }

  /// The cells as a bitmap, for runs.
  var bitmap: AtomicBitmap {
    AtomicBitmap(bareCells: cell(0), itemCount: Int(pointee.itemCount), wait: pointee.segment.wait)
  }

  /// Takes pages and a record; nil when the segment is full. In no list, and with no cell leased.
  static func make(_ cache: SlabCachePointer, _ layout: CacheLayout, in segment: SegmentPointer) -> CachePagePointer? {
    let cells = (layout.itemCount + 1 + 63) >> 6
    let recordBytes = (UInt(CachePage.cellsWord) + cells * 3) * 8
    guard let block = segment.allocateMetadata(recordBytes) else { return nil }
    guard let run = segment.claimPages(layout.pageCount) else {
      segment.deallocateMetadata(block, recordBytes)
      return nil
    }
    let record = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped
    let page = record.assumingMemoryBound(to: CachePage.self)
    let stride = cache.pointee.stride
    page.initialize(
      to: CachePage(
        base: run.address, reciprocal: UInt.max / (2 * stride) &+ 1, cacheID: cache.pointee.id,
        pairs: record.assumingMemoryBound(to: UInt.self) + CachePage.cellsWord + Int(cells),
        itemCount: layout.itemCount,
        stride: stride, segment: segment, pageCount: layout.pageCount, recordBytes: recordBytes))
    for back in 0..<layout.pageCount {
      let entry = segment.entry(of: run.address + back << Page.shift)
      entry.slab.storeRelaxed(block)
      entry.setKind(.cache, pagesBack: back)
    }
    return page
  }

  /// Gives pages and record back. By whoever took it out of the list, no item being out.
  func destroy() {
    let segment = pointee.segment
    segment.releasePages(pointee.base, pointee.pageCount)
    segment.deallocateMetadata(UInt(bitPattern: self), pointee.recordBytes)
  }

  // MARK: Leasing

  /// Which cells to lease.
  enum Choice {
    /// With at least a sixteenth of their items free: a lease costs two read-modify-writes, however many it brings.
    case worthIt
    /// With any.
    case any
  }

  /// Leases a cell that nobody leases; which one, or nil. Under the cache's read lock, or while the thread leases another cell
  /// of the page.
  func lease(to leases: CacheLeasesPointer, _ choice: Choice) -> UInt? {
    for index in 0..<cellCount {
      let surplus = surplus(index)
      let free = ~(cell(index).loadRelaxed() | surplus)
      if free == 0 { continue }
      if choice == .worthIt, free.nonzeroBitCount * 16 < (~surplus).nonzeroBitCount { continue }
      if lease(index, to: leases) { return index }
    }
    return nil
  }

  /// The same, and the first item of it.
  func leaseItem(to leases: CacheLeasesPointer, _ choice: Choice) -> UInt? {
    guard let index = lease(to: leases, choice) else { return nil }
    leases.add(self, index)
    return leases.take(pointee.stride).map { UInt(bitPattern: $0) }
  }

  /// Whether `leases` now leases a cell that nobody leased, with at least one item in its free set. Under the cache's read
  /// lock, or by who made the page.
  func lease(_ index: UInt, to leases: CacheLeasesPointer) -> Bool {
    let word = UInt(bitPattern: leases)
    guard lessee(index).loadRelaxed() == 0 else { return false }
    // acquire: pairs with the one below, and with giveBack(_:)
    guard lessee(index).compareAndSwapAcquire(0, word) == 0 else { return false }
    if collect(index) { return true }
    lessee(index).storeRelease(0)  // release: pairs with the one above, and with retire()
    return false
  }

  /// Claims free items of a cell for its free set; whether there were any. By the cell's lessee.
  func collect(_ index: UInt) -> Bool {
    let cell = cell(index), surplus = surplus(index)
    var seen = cell.loadRelaxed()
    while true {
      let free = ~(seen | surplus)
      guard free != 0 else { return false }
      let claimed = lowest(of: free)
      // acquire: pairs with a release
      let found = cell.compareAndSwapAcquire(seen, seen | claimed)
      if found == seen {
        let held = self.held(index).loadRelaxed()
        if held & claimed != 0 { doubleFree(index, held & claimed) }
        self.held(index).storeRelaxed(held | claimed)
        return true
      }
      seen = found
    }
  }

  /// The lowest bits of a cell, as many items as a lease may hold back.
  private func lowest(of bits: UInt) -> UInt {
    let most = max(1, Page.byteCount / pointee.stride)
    guard most < UInt(bits.nonzeroBitCount) else { return bits }
    var rest = bits
    for _ in 0..<most { rest &= rest &- 1 }
    return bits & ~rest
  }

  /// Ends the lease of a cell; what is in its free set is free for anybody. By its lessee.
  func giveBack(_ index: UInt) {
    let held = self.held(index).loadRelaxed()
    if held != 0 {
      // First, so that nobody is told of a double free who got one of these items by a claim.
      self.held(index).storeRelaxed(0)
      let old = cell(index).fetchAndRelease(~held)  // release: pairs with a claim
      if old & held != held { doubleFree(index, held & ~old) }
    }
    lessee(index).storeRelease(0)  // release: pairs with the acquire in lease(_:to:) and in retire()
  }

  private func doubleFree(_ index: UInt, _ bits: UInt) -> Never {
    misuse("slab cache", address(ofItem: index << 6 + UInt(bits.trailingZeroBitCount)), "double free")
  }
}
