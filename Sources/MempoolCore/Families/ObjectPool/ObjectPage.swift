import CMempoolShims

/// Some of an object pool's prepared objects: in one to a few neighbouring pages of the segment, with a line of the cache for each 64 of them.
///
/// A record in the metadata arena of the pages' segment, out of the objects' reach, made and destroyed with its pool. Between
/// those its place in the pool's ring does not change, so no lock guards it.
///
/// | cell's bit | free set's bit | the object is |
/// | --- | --- | --- |
/// | 0 | 0 | free, for anybody to claim |
/// | 1 | 0 | out |
/// | 1 | 1 | free, held by the cell's lessee |
///
/// Anybody may change a cell, by read-modify-write. A cell has one lessee at most, and only it writes the free set, by plain
/// stores; anybody may read it. So a second release is seen by whoever does it, on whatever thread the first one was.
public struct ObjectPage {
  // The address of the first object.
  @usableFromInline let base: UInt
  // ⌈2^64 / stride⌉; 0: whoever releases has to ask the pool. Word 1.
  @usableFromInline var gate: AtomicWord
  let pool: ObjectPoolPointer
  let segment: SegmentPointer
  let reciprocal: UInt
  let itemCount: UInt
  let pageCount: UInt
  // The ring of the pool's pages.
  var next: ObjectPagePointer

  /// A line of the cache for each cell, so that lessees of neighbouring ones are not in each other's way: the cell, its lessee's free
  /// set, the lessee.
  @usableFromInline static var firstLine: Int { 1 }
  @usableFromInline static var lineWords: Int { 8 }

  /// Objects that are to lie in neighbouring pages: some full cells, but not many, as a search goes through all of them.
  static func mostItems(stride: UInt) -> UInt {
    let full = min(64, max(1, 1 << 20 / stride))
    return max(full, (stride < 64 ? 1 << 14 : 1 << 16) / stride)
  }

  /// The record and its lines. There is one for whatever lies in the pages, also beyond the last object.
  static func byteCount(_ pageCount: UInt, stride: UInt) -> UInt {
    let pieces = (pageCount << Page.shift + stride - 1) / stride
    return (UInt(firstLine) + (pieces + 63) >> 6) * UInt(lineWords) * 8
  }
}

public typealias ObjectPagePointer = UnsafeMutablePointer<ObjectPage>

extension UnsafeMutablePointer where Pointee == ObjectPage {
  @inlinable @inline(__always) var gate: AtomicPointer { AtomicPointer(self, word: 1) }

  @inlinable @inline(__always)
  func word(_ word: Int, ofCell index: UInt) -> AtomicPointer {
    AtomicPointer(self, word: (ObjectPage.firstLine &+ Int(bitPattern: index)) &* ObjectPage.lineWords &+ word)
  }

  @inlinable @inline(__always)
  func cell(_ index: UInt) -> AtomicPointer { word(0, ofCell: index) }

  /// The free set of a cell's lessee. `held & ~cell == 0`; 0 while nobody leases the cell.
  @inlinable @inline(__always)
  func held(_ index: UInt) -> AtomicPointer { word(1, ofCell: index) }

  /// The ``ObjectLeases`` of a cell's lessee, or the pool's nobody. Never 0.
  @inlinable @inline(__always)
  func lessee(_ index: UInt) -> AtomicPointer { word(2, ofCell: index) }

  var cellCount: UInt { (pointee.itemCount + 63) >> 6 }

  /// Bits of a cell that stand for no object, and are 0.
  func surplus(_ index: UInt) -> UInt {
    Cell.surplus(beyond: Int(bitPattern: pointee.itemCount) - Int(bitPattern: index << 6))
  }

  /// Whether some object of a cell, of any cell, is free for anybody. A hint.
  func hasFree(_ index: UInt) -> Bool { cell(index).loadRelaxed() | surplus(index) != ~0 }

  var hasFree: Bool {
    for index in 0..<cellCount where hasFree(index) { return true }
    return false
  }

  func address(ofItem item: UInt) -> UInt { pointee.base &+ item &* pointee.pool.pointee.stride }

  func object(_ item: UInt) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: address(ofItem: item)).unsafelyUnwrapped
  }

  /// Pages and a record for `itemCount` objects; nil when the segment is full. In no ring.
  static func make(_ pool: ObjectPoolPointer, itemCount: UInt, in segment: SegmentPointer) -> ObjectPagePointer? {
    let stride = pool.pointee.stride
    let pageCount = CacheLayout.leastPageCount(stride: itemCount * stride)
    let byteCount = ObjectPage.byteCount(pageCount, stride: stride)
    guard let block = segment.allocateMetadata(byteCount) else { return nil }
    guard let run = segment.claimPages(pageCount) else {
      segment.deallocateMetadata(block, byteCount)
      return nil
    }
    let page = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: ObjectPage.self)
    let reciprocal = UInt.max / stride &+ 1
    page.initialize(
      to: ObjectPage(
        base: run.address, gate: AtomicWord(reciprocal), pool: pool, segment: segment, reciprocal: reciprocal,
        itemCount: itemCount, pageCount: pageCount, next: page))
    let lineBytes = UInt(ObjectPage.lineWords) * 8
    for cell in 0..<byteCount / lineBytes - UInt(ObjectPage.firstLine) { page.lessee(cell).storeRelaxed(pool.nobody) }
    for back in 0..<pageCount {
      let entry = segment.entry(of: run.address + back << Page.shift)
      entry.slab.storeRelaxed(block)
      entry.setKind(.object, pagesBack: back)
    }
    return page
  }

  /// Bytes of the record.
  var byteCount: UInt { ObjectPage.byteCount(pointee.pageCount, stride: pointee.pool.pointee.stride) }

  /// Gives pages and record back.
  func destroy() {
    let segment = pointee.segment, byteCount = byteCount
    segment.releasePages(pointee.base, pointee.pageCount)
    segment.deallocateMetadata(UInt(bitPattern: self), byteCount)
  }

  /// Objects that are out: when it says 0 while nobody acquires, all are back for good, and what their last users did happened
  /// before.
  func itemsOut() -> UInt {
    var count: UInt = 0
    for index in 0..<cellCount {
      let taken = cell(index).loadAcquire()  // acquire: pairs with the releases in free(_:_:) and giveBack(_:)
      let held = held(index).loadAcquire()  // acquire: pairs with the release in putHeld(_:_:)
      count += UInt((taken & ~held).nonzeroBitCount)
    }
    return count
  }

  // MARK: Claiming

  /// Claims at most `most` free objects of a cell for its free set; how many. By the cell's lessee.
  func collect(_ index: UInt, atMost most: UInt) -> UInt {
    let cell = cell(index), surplus = surplus(index)
    var seen = cell.loadRelaxed()
    while true {
      let free = ~(seen | surplus)
      guard free != 0 else { return 0 }
      let claimed = Self.lowest(most, of: free)
      // acquire: pairs with a release
      let found = cell.compareAndSwapAcquire(seen, seen | claimed)
      if found == seen {
        let held = self.held(index).loadRelaxed()
        if held & claimed != 0 { freedTwice(index, held & claimed) }
        self.held(index).storeRelaxed(held | claimed)
        return UInt(claimed.nonzeroBitCount)
      }
      seen = found
    }
  }

  private static func lowest(_ most: UInt, of bits: UInt) -> UInt {
    guard most < UInt(bits.nonzeroBitCount) else { return bits }
    var rest = bits
    for _ in 0..<most { rest &= rest &- 1 }
    return bits & ~rest
  }

  /// Claims one free object of a cell, whoever leases it; its number.
  func claimOne(_ index: UInt) -> UInt? {
    AtomicBitmap.claimInCell(cell(index), limit: Int(min(64, pointee.itemCount - index << 6)))
      .map { index << 6 + UInt($0.bit) }
  }

  /// Whether `leases` now leases a cell that nobody leased, with at least one object in its free set.
  func lease(_ index: UInt, to leases: ObjectLeasesPointer, atMost most: UInt) -> Bool {
    let nobody = pointee.pool.nobody
    guard lessee(index).loadRelaxed() == nobody else { return false }
    // acquire-release: the acquire pairs with the one below, and with the release in giveBack(_:); the release, by which others find
    // the record complete, with the acquire in release(_:call:)
    guard lessee(index).compareAndSwapAcquireRelease(nobody, UInt(bitPattern: leases)) == nobody else { return false }
    if collect(index, atMost: most) > 0 { return true }
    lessee(index).storeRelease(nobody)  // release: pairs with the one above
    return false
  }

  /// Ends the lease of a cell; what is in its free set is free for anybody. By its lessee.
  func giveBack(_ index: UInt) {
    let held = self.held(index).loadRelaxed()
    if held != 0 {
      // First, so that nobody is told of a double free who got one of these by a claim.
      self.held(index).storeRelaxed(0)
      let old = cell(index).fetchAndRelease(~held)  // release: pairs with a claim, and with itemsOut()
      if old & held != held { freedTwice(index, held & ~old) }
    }
    lessee(index).storeRelease(pointee.pool.nobody)  // release: pairs with the acquire in lease(_:to:atMost:)
  }

  // MARK: Freeing

  /// Whether an object is out; for sure where nobody else releases it meanwhile.
  @inlinable @inline(__always)
  func isOut(_ index: UInt, _ bit: UInt) -> Bool {
    // held & ~cell == 0
    (cell(index).loadRelaxed() ^ held(index).loadRelaxed()) & bit != 0
  }

  /// Puts an object that is out into its cell's free set, by the cell's lessee: no read-modify-write. Nothing is touched after it.
  @inlinable @inline(__always)
  func putHeld(_ index: UInt, _ bit: UInt) {
    let held = held(index)
    held.storeRelease(held.loadRelaxed() | bit)  // release: pairs with the acquire in itemsOut()
  }

  /// Frees an object of a cell that the calling thread does not lease; false: it was not out. Nothing is touched after it.
  func free(_ index: UInt, _ bit: UInt) -> Bool {
    // release: pairs with a claim, and with itemsOut()
    cell(index).fetchAndRelease(~bit) & bit != 0
  }

  private func freedTwice(_ index: UInt, _ bits: UInt) -> Never {
    misuse("object pool", address(ofItem: index << 6 + UInt(bits.trailingZeroBitCount)), "double free")
  }
}
