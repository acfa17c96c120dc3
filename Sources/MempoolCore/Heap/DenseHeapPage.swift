import CMempoolShims

/// A page of a dense heap: this record, then blocks without gaps, each with a 4-byte header, then a header that ends them.
///
/// 16 KiB, aligned to its size, so that the page of a pointer is found by masking. Belongs to one heap from the claim to the release, and
/// is its owner's, but for what others do to an object that they have: DenseHeapPage+Told.swift. Two neighbouring blocks are never both
/// free. Nothing here waits, allocates, or calls out.
struct DensePage {
  // All pages of the heap, in no order. First, because ThreadSanitizer takes a write to any field for one to the record's first
  // byte, and others read some of the next.
  var next: DensePagePointer?
  // magic == seal(heap), from start(_:) to end()
  var magic: UInt
  let heap: DenseHeapPointer
  var previous: DensePagePointer?
  // The last block that another thread freed, 0 for none; the others behind it. Emptied only whole.
  var told = AtomicWord()  // 4
  // The next page of the heap's pending list.
  var pendingNext = AtomicWord()  // 5
  // Its neighbours in the heap's list of pages with room of this kind; see DensePageLists.
  var roomNext: DensePagePointer?
  var roomPrevious: DensePagePointer?
  // Bit n: heads[n] != 0
  var lists: UInt = 0
  // The root of the free tree, where that is the index. 0: no free block of leastListed units or more
  var freeRoot: UInt16 = 0
  // == number of allocated blocks, and the sum of their sizes
  var liveBlocks: UInt16 = 0
  var liveUnits: UInt16 = 0
  // The list of pages that this one is in; == freeBlocks.highest between the heap's operations
  var room: UInt16 = 0
  // The first free block of each list, where lists are the index
  var heads = InlineArray<38, UInt16>(repeating: 0)

  static var byteCount: UInt { 16384 }
  static var unitBytes: UInt { 4 }
  /// Where blocks begin, behind this record, and end. Both ≡ 3 mod 4, which puts a payload on a 16-byte boundary.
  static var firstUnit: UInt { 39 }
  static var endUnit: UInt { 4095 }
  static var capacity: UInt { endUnit - firstUnit }
  /// A free block smaller than this has no room for links, and waits outside the index for a neighbour to take it in.
  static var leastListed: UInt { 2 }
}

typealias DensePagePointer = UnsafeMutablePointer<DensePage>

extension UnsafeMutablePointer where Pointee == DensePage {
  /// The units of the page; headers only by way of the functions below.
  var units: UnsafeMutablePointer<UInt32> { UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt32.self) }

  /// The address of a unit: of the header when a block begins there.
  func address(_ unit: UInt) -> UInt { UInt(bitPattern: self) + unit * DensePage.unitBytes }
  func payload(_ unit: UInt) -> UInt { address(unit + 1) }

  // The size before it is the first half of a header, what the block is the second.
  @inline(__always)
  func half(_ unit: UInt, _ index: Int) -> UnsafeMutablePointer<UInt16> {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt16.self) + (2 * Int(unit) + index)
  }
  func block(_ unit: UInt) -> DenseBlock { DenseBlock(unchecked: mp_load16_relaxed(half(unit, 1))) }
  func before(_ unit: UInt) -> DenseBefore { DenseBefore(unchecked: mp_load16_relaxed(half(unit, 0))) }
  func header(_ unit: UInt) -> DenseHeader { DenseHeader(block: block(unit), before: before(unit)) }

  func setBlock(_ unit: UInt, _ block: DenseBlock) { mp_store16_relaxed(half(unit, 1), block.word) }
  @inline(__always)
  func setBefore(_ unit: UInt, _ size: UInt) {
    mp_store16_relaxed(half(unit, 0), DenseBefore(size, at: address(unit)).word)
  }
  private func clearHeader(_ unit: UInt) {
    mp_store16_relaxed(half(unit, 0), 0)
    mp_store16_relaxed(half(unit, 1), 0)
  }

  /// Makes one free block of `size` units, 0 for none, and tells the next block of it.
  private func makeFree(_ unit: UInt, _ size: UInt, previousSize: UInt) {
    if size == 0 { return setBefore(unit, previousSize) }
    setBlock(unit, .free(size, at: address(unit)))
    setBefore(unit, previousSize)
    setBefore(unit + size, size)
    if size >= DensePage.leastListed { freeBlocks.insert(unit) }
  }

  /// Takes a free block that has been looked at out of the index: it is about to become part of another.
  private func absorb(_ unit: UInt, _ size: UInt) {
    if size >= DensePage.leastListed { freeBlocks.removeSound(unit) }
  }

  /// The number that a page of `heap` at this place bears.
  @inline(__always)
  private func seal(_ heap: DenseHeapPointer) -> UInt {
    // 2^64 / golden ratio; the complement keeps a zeroed page from passing.
    ~((UInt(bitPattern: self) ^ UInt(bitPattern: heap) << 1) &* 0x9e37_79b9_7f4a_7c15)
  }

  /// Makes the page out of 16 KiB of memory, whatever they hold.
  func start(_ heap: DenseHeapPointer) {
    initialize(to: DensePage(magic: seal(heap), heap: heap))
    setBlock(DensePage.endUnit, .out(0, at: address(DensePage.endUnit)))
    makeFree(DensePage.firstUnit, DensePage.capacity, previousSize: 0)
  }

  /// Makes sure that the page is not taken for one any more.
  func end() { pointee.magic = 0 }

  @inline(__always) var isSealed: Bool { pointee.magic == seal(pointee.heap) }
  var isEmpty: Bool { pointee.liveBlocks == 0 }

  /// The page that an address lies in. Nothing says yet that it is one of a dense heap.
  static func unchecked(of address: UInt) -> DensePagePointer {
    DensePagePointer(bitPattern: address & ~(DensePage.byteCount - 1)).unsafelyUnwrapped
  }

  /// Takes a free block that fits, as the heap's fit chooses. Its alignment may cost up to three units before it, which stay free.
  func take(_ request: DenseRequest) -> UInt? {
    guard let found = freeBlocks.take(request) else { return nil }
    let size = block(found).size
    let skip = DenseRequest.skip(found, request.alignmentUnits)
    let unit = found + skip
    let previousSize = before(found).size
    place(unit, request.units, of: size - skip, previousSize: skip > 0 ? skip : previousSize)
    if skip > 0 { makeFree(found, skip, previousSize: previousSize) }
    count(blocks: 1, units: request.units)
    return unit
  }

  /// Makes a block that is out, of `size` units, out of `room` units, the rest of them free.
  private func place(_ unit: UInt, _ size: UInt, of room: UInt, previousSize: UInt) {
    setBlock(unit, .out(size, at: address(unit)))
    setBefore(unit, previousSize)
    makeFree(unit + size, room - size, previousSize: size)
  }

  private func count(blocks: UInt16, units: UInt) {
    pointee.liveBlocks &+= blocks
    pointee.liveUnits &+= UInt16(truncatingIfNeeded: units)
  }

  /// Frees a block that ``fault(of:)`` has nothing to say against, and joins it with its free neighbours; where the block that they make
  /// begins. What others may read of neighbours that are out is never wrong meanwhile.
  @discardableResult
  func release(_ unit: UInt) -> UInt {
    let (old, previousSize) = (block(unit).size, before(unit).size)
    count(blocks: ~0, units: 0 &- old)
    var (start, size, sizeBefore) = (unit, old, previousSize)
    let next = block(unit + old)
    if !next.isAllocated {
      absorb(unit + old, next.size)
      clearHeader(unit + old)
      size += next.size
    }
    if previousSize > 0 {
      let previous = block(unit - previousSize)
      if !previous.isAllocated {
        clearHeader(unit)
        start -= previousSize
        size += previousSize
        sizeBefore = before(start).size
        absorb(start, previousSize)
      }
    }
    makeFree(start, size, previousSize: sizeBefore)
    return start
  }

  /// Lengthens a block that ``fault(of:)`` has nothing to say against into the free block behind it; false when that does
  /// not suffice.
  func extend(_ unit: UInt, to size: UInt) -> Bool {
    let old = block(unit).size
    let next = block(unit + old)
    // ``fault(of:)`` has looked at it.
    guard !next.isAllocated, old + next.size >= size else { return false }
    absorb(unit + old, next.size)
    clearHeader(unit + old)
    place(unit, size, of: old + next.size, previousSize: before(unit).size)
    count(blocks: 0, units: size - old)
    return true
  }
}
