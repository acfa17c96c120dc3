/// A page of a dense heap: this record, then blocks without gaps, each with a 4-byte header, then a header that ends them.
///
/// 16 KiB, aligned to its size, so that the page of a pointer is found by masking. Belongs to one heap from the claim to the
/// release; all but ``owner(of:)`` is called with that heap's mutex held. The mutex lives in the heap: a page may go while
/// it is held. Two neighbouring blocks are never both free. Nothing here waits, allocates, or calls out.
struct DensePage {
  // All pages of the heap, in no order. First, because ThreadSanitizer takes a write to any field for one to the record's
  // first byte, and the next two are read without the mutex.
  var next: DensePagePointer?
  // magic == seal(heap), from start(_:) to end()
  var magic: UInt
  let heap: DenseHeapPointer
  var previous: DensePagePointer?
  // This page's place among the pages with room; see DensePageTree.
  var children = DigitalTreeChildren()
  // What the page is filed under there; == freeTree.largest between the heap's operations
  var largestRun: UInt16 = 0
  // 0: no free block of FreeTree.minUnits or more
  var freeRoot: UInt16 = 0
  // == number of allocated blocks, and the sum of their sizes
  var liveBlocks: UInt16 = 0
  var liveUnits: UInt16 = 0

  static var byteCount: UInt { 16384 }
  static var unitBytes: UInt { 4 }
  /// Where blocks begin, behind this record, and end. Both ≡ 3 mod 4, which puts a payload on a 16-byte boundary.
  static var firstUnit: UInt { 15 }
  static var endUnit: UInt { 4095 }
  static var capacity: UInt { endUnit - firstUnit }
}

typealias DensePagePointer = UnsafeMutablePointer<DensePage>

extension UnsafeMutablePointer where Pointee == DensePage {
  var units: UnsafeMutablePointer<UInt32> { UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt32.self) }
  var freeTree: FreeTree { FreeTree(page: self) }

  /// The address of a unit: of the header when a block begins there.
  func address(_ unit: UInt) -> UInt { UInt(bitPattern: self) + unit * DensePage.unitBytes }
  func payload(_ unit: UInt) -> UInt { address(unit + 1) }

  func header(_ unit: UInt) -> DenseHeader { DenseHeader(unchecked: units[Int(unit)]) }
  private func setHeader(_ unit: UInt, _ header: DenseHeader) { units[Int(unit)] = header.word }

  /// Makes one free block of `size` units, 0 for none, and tells the next block of it.
  private func makeFree(_ unit: UInt, _ size: UInt, previousSize: UInt) {
    if size == 0 { return setPreviousSize(unit, previousSize) }
    setHeader(unit, DenseHeader(size: size, previousSize: previousSize, isAllocated: false, place: address(unit)))
    setPreviousSize(unit + size, size)
    if size >= FreeTree.minUnits { freeTree.insert(unit) }
  }

  private func setPreviousSize(_ unit: UInt, _ size: UInt) {
    setHeader(unit, header(unit).with(previousSize: size, place: address(unit)))
  }

  /// Takes a free block out of the tree and makes its header mean nothing: the block is about to become part of another.
  private func absorb(_ unit: UInt) {
    if header(unit).size >= FreeTree.minUnits && !freeTree.remove(unit) { freeTree.damaged(at: unit) }
    units[Int(unit)] = 0
  }

  /// The number that a page of `heap` at this place bears.
  private func seal(_ heap: DenseHeapPointer) -> UInt {
    // 2^64 / golden ratio; the complement keeps a zeroed page from passing.
    ~((UInt(bitPattern: self) ^ UInt(bitPattern: heap) << 1) &* 0x9e37_79b9_7f4a_7c15)
  }

  /// Makes the page out of 16 KiB of memory, whatever they hold.
  func start(_ heap: DenseHeapPointer) {
    initialize(to: DensePage(magic: seal(heap), heap: heap))
    let end = DenseHeader(size: 0, previousSize: 0, isAllocated: true, place: address(DensePage.endUnit))
    setHeader(DensePage.endUnit, end)
    makeFree(DensePage.firstUnit, DensePage.capacity, previousSize: 0)
  }

  /// Makes sure that the page is not taken for one any more.
  func end() { pointee.magic = 0 }

  var isSealed: Bool { pointee.magic == seal(pointee.heap) }
  var isEmpty: Bool { pointee.liveBlocks == 0 }

  /// The page that an address lies in. Nothing says yet that it is one of a dense heap.
  static func unchecked(of address: UInt) -> DensePagePointer {
    DensePagePointer(bitPattern: address & ~(DensePage.byteCount - 1)).unsafelyUnwrapped
  }

  /// Takes the smallest free block that fits. Its alignment may cost up to three units before it, which stay free.
  func take(_ request: DenseRequest) -> UInt? {
    guard let found = freeTree.takeBestFit(request.units, alignmentUnits: request.alignmentUnits) else { return nil }
    let old = header(found)
    let skip = FreeTree.skip(found, request.alignmentUnits)
    let unit = found + skip
    place(unit, request.units, of: old.size - skip, previousSize: skip > 0 ? skip : old.previousSize)
    if skip > 0 { makeFree(found, skip, previousSize: old.previousSize) }
    count(blocks: 1, units: request.units)
    return unit
  }

  /// Makes an allocated block of `size` units out of `room` units, the rest of them free.
  private func place(_ unit: UInt, _ size: UInt, of room: UInt, previousSize: UInt) {
    setHeader(unit, DenseHeader(size: size, previousSize: previousSize, isAllocated: true, place: address(unit)))
    makeFree(unit + size, room - size, previousSize: size)
  }

  private func count(blocks: UInt16, units: UInt) {
    pointee.liveBlocks &+= blocks
    pointee.liveUnits &+= UInt16(truncatingIfNeeded: units)
  }

  /// Frees a block that ``fault(at:)`` has nothing to say against, and joins it with its free neighbours.
  func release(_ unit: UInt) {
    let block = header(unit)
    count(blocks: ~0, units: 0 &- block.size)
    var (start, size, previousSize) = (unit, block.size, block.previousSize)
    let next = header(unit + size)
    if !next.isAllocated {
      absorb(unit + size)
      size += next.size
    }
    units[Int(unit)] = 0
    if previousSize > 0 && !header(unit - previousSize).isAllocated {
      start -= previousSize
      size += previousSize
      previousSize = header(start).previousSize
      absorb(start)
    }
    makeFree(start, size, previousSize: previousSize)
  }

  /// Lengthens a block that ``fault(at:)`` has nothing to say against into the free block behind it; false when that does
  /// not suffice.
  func extend(_ unit: UInt, to size: UInt) -> Bool {
    let block = header(unit)
    let next = header(unit + block.size)
    guard !next.isAllocated, block.size + next.size >= size else { return false }
    absorb(unit + block.size)
    place(unit, size, of: block.size + next.size, previousSize: block.previousSize)
    count(blocks: 0, units: size - block.size)
    return true
  }
}
