/// Where a dense heap gets its pages. Both are called with the heap's mutex held: neither may call the heap.
protocol DensePageSource {
  /// ``DensePage/byteCount`` bytes, aligned to as many, of any content; nil when there is no memory.
  func claimPage() -> UInt?
  func releasePage(_ address: UInt)
}

/// A heap of small objects with 4-byte headers and units, best fit: the least memory, not the least time.
///
/// One belongs to each thread heap, so a page holds one thread's objects; the owner allocates, any thread frees, each under
/// the heap's mutex. A free block is joined with its free neighbours at once, and an empty page goes back to its source at
/// once, but for one a heap. Every operation is bounded: no more than about 200 steps, however many pages and objects.
///
/// **Metadata is within the program's reach**: an overflow hits the next block's header, a write after a free the links of
/// the free tree. Headers carry a check and are compared with both neighbours' on every free; what is wrong is reported
/// then, not when it was done.
///
/// A zeroed record is a heap without pages. Payloads are aligned to 16 from 16 bytes on, to 8 from 8, to 4 below. Memory is
/// not cleared. Addresses that callers pass in must lie in memory that can be read: whose it is, the address map says.
struct DenseHeap {
  // First, because ThreadSanitizer takes a write to any field for one to the record's first byte: the mutex may not be there.
  var pages: DensePagePointer?
  var mutex = Mutex()  // word 1
  // The root of DensePageTree, 0 when all pages are full.
  var roomRoot: UInt = 0
  var pageCount: UInt = 0
  // The one empty page that is kept: emptyPage.isEmpty
  var emptyPage: DensePagePointer?
  // == sums of the pages' own
  var liveBlocks: UInt = 0
  var liveUnits: UInt = 0

  /// Four of these fill a page to the last unit. Of larger objects three would fit, so they are runs of fragments.
  static var maxByteCount: UInt { (DensePage.capacity / 4 - 1) * DensePage.unitBytes }
}

typealias DenseHeapPointer = UnsafeMutablePointer<DenseHeap>

/// A request in units: the block's size, header included, and its payload's alignment.
///
/// A size is rounded up to its alignment, so that objects of one kind lie side by side without gaps between them.
struct DenseRequest {
  let units: UInt
  let alignmentUnits: UInt

  /// Nil when no page can meet it. `alignment` is a power of two, at most 16; a size's own alignment is kept in any case.
  init?(_ byteCount: UInt, alignment: UInt = 1) {
    guard byteCount <= DenseHeap.maxByteCount, alignment <= 16 else { return nil }
    let own: UInt = byteCount >= 16 ? 16 : byteCount >= 8 ? 8 : 4
    alignmentUnits = max(own, alignment) / DensePage.unitBytes
    let needed = 1 + max(1, (byteCount + DensePage.unitBytes - 1) / DensePage.unitBytes)
    units = (needed + alignmentUnits - 1) & ~(alignmentUnits - 1)
  }
}

extension UnsafeMutablePointer where Pointee == DenseHeap {
  /// The heap's lock, for the handlers that run around a fork.
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: Mutex.self) }
  private var room: DensePageTree { DensePageTree(heap: self) }

  /// Takes the lock. What happens until ``leave()`` in pages, free memory and headers among live objects, memcheck is not to report.
  func enter() {
    mutex.lock()
    Memcheck.silence()
  }

  func leave() {
    Memcheck.listen()
    mutex.unlock()
  }

  /// The heap whose page `address` lies in; nil when that is no page of any. No lock: a page's heap does not change while
  /// one of its objects is live.
  static func owner(of address: UInt) -> DenseHeapPointer? {
    let page = DensePagePointer.unchecked(of: address)
    Memcheck.silence()
    defer { Memcheck.listen() }
    return page.isSealed ? page.pointee.heap : nil
  }

  /// The address of `byteCount` bytes that are the caller's until it frees them; zero bytes give a distinct object. Nil when
  /// there is no memory, and, without a look at the heap, above ``DenseHeap/maxByteCount`` or an alignment of 16.
  func allocate<Source: DensePageSource>(_ byteCount: UInt, alignment: UInt = 1, from source: Source) -> UInt? {
    guard let request = DenseRequest(byteCount, alignment: alignment) else { return nil }
    enter()
    defer { leave() }
    if let address = take(request) { return address }
    guard let page = source.claimPage() else { return nil }
    adopt(DensePagePointer(bitPattern: page).unsafelyUnwrapped)
    return take(request)
  }

  /// Takes an object back, on any thread. What is wrong with it, when something is; then nothing has changed. Never claims
  /// a page; may release one.
  func deallocate<Source: DensePageSource>(_ address: UInt, to source: Source) -> DenseHeapFault? {
    enter()
    defer { leave() }
    switch find(address) {
    case .fault(let fault): return fault
    case .block(let page, let unit, let block):
      page.release(unit)
      room.refile(page)
      pointee.liveBlocks -= 1
      pointee.liveUnits -= block.size
      if page.isEmpty, let surplus = keepEmpty(page) { source.releasePage(UInt(bitPattern: surplus)) }
      return nil
    }
  }

  /// Makes an object hold `byteCount` bytes where it is, if it can: it grows into free memory behind it, and keeps its
  /// size when it shrinks, but is to be moved when it would use less than half of it.
  func resize(_ address: UInt, to byteCount: UInt) -> DenseResize {
    enter()
    defer { leave() }
    switch find(address) {
    case .fault(let fault): return .fault(fault)
    case .block(let page, let unit, let block):
      let usable = (block.size - 1) * DensePage.unitBytes
      // An object that began small may not begin where a larger one has to.
      guard let request = DenseRequest(byteCount), FreeTree.skip(unit, request.alignmentUnits) == 0 else {
        return .mustMove
      }
      if byteCount <= usable {
        return byteCount >= usable / 2 || request.units >= block.size ? .inPlace : .mustMove
      }
      guard page.extend(unit, to: request.units) else { return .mustMove }
      room.refile(page)
      pointee.liveUnits += request.units - block.size
      return .inPlace
    }
  }

  /// The bytes that an object may use, its header not among them; nil when `address` is not a live object's.
  func usableSize(_ address: UInt) -> UInt? {
    enter()
    defer { leave() }
    guard case .block(_, _, let block) = find(address) else { return nil }
    return (block.size - 1) * DensePage.unitBytes
  }

  /// What speaks against an address being a live object's; nil when nothing does.
  func fault(at address: UInt) -> DenseHeapFault? {
    enter()
    defer { leave() }
    guard case .fault(let fault) = find(address) else { return nil }
    return fault
  }

  /// Gives back what is empty; the number of pages. Free blocks need no merging: a free joins them at once.
  func defragment<Source: DensePageSource>(to source: Source) -> UInt {
    enter()
    defer { leave() }
    guard let page = pointee.emptyPage else { return 0 }
    disown(page)
    source.releasePage(UInt(bitPattern: page))
    return 1
  }

  /// Gives all pages back, live objects included. No other call on the heap may be running, and no object be used again.
  func releaseAllPages<Source: DensePageSource>(to source: Source) {
    var next = pointee.pages
    while let page = next {
      next = page.pointee.next
      page.end()
      source.releasePage(UInt(bitPattern: page))
    }
    initialize(to: DenseHeap())
  }
}
