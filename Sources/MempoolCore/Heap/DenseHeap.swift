/// Where a dense heap gets its pages. Both are called within an operation of the heap's owner: neither may call the heap.
protocol DensePageSource {
  /// ``DensePage/byteCount`` bytes, aligned to as many, of any content; nil when there is no memory.
  func claimPage() -> UInt?
  func releasePage(_ address: UInt)
}

/// A heap of small objects with 4-byte headers and units: the least memory, not the least time.
///
/// One belongs to each thread heap, so a page holds one thread's objects. The owner allocates and frees without a lock; others free by
/// marking an object and putting it on a list, which the owner takes whole before it takes a new page. So no thread waits for another,
/// but for a fork. A few blocks that the owner freed last rest for the next request of their size; all others are joined with their free
/// neighbours at once, and an empty page goes back to its source at once, but for one a heap. Every operation is bounded: no more than
/// about 200 steps, however many pages and objects, but for collecting and waking what rests, which is O(blocks) of these.
///
/// **Metadata is within the program's reach**: an overflow hits the next block's header, a write after a free the links of
/// free blocks. Headers carry a check and are compared with both neighbours' on every free; what is wrong is reported
/// then, or when a block that rested is joined, not when it was done.
///
/// A zeroed record is a heap without pages. Payloads are aligned to 16 from 16 bytes on, to 8 from 8, to 4 below. Memory is
/// not cleared. Addresses that callers pass in must lie in memory that can be read: whose it is, the address map says.
struct DenseHeap {
  // First, because ThreadSanitizer takes a write to any field for one to the record's first byte: no word that others use may be there.
  var pages: DensePagePointer?
  var gate = ForkGate()  // 1
  // The last page that others told of, 0 for none; the others through DensePage.pendingNext. Emptied only whole.
  var pending = AtomicWord()  // 2
  // What others freed, and what of it has been collected: blocks << 32 + units, ever.
  var freed = AtomicWord()  // 3
  var collected = AtomicWord()  // 4
  // Written by the owner: sums of the pages' own, and the number of pages.
  var liveBlocks = AtomicWord()  // 5
  var liveUnits = AtomicWord()  // 6
  var pageCount = AtomicWord()  // 7
  // Blocks << 32 + units of those that rest: they count as live here.
  var rests = AtomicWord()  // 8
  // Whether the owner is at a stack of those.
  var isAtStack = AtomicWord()  // 9
  var fit = DenseFit.lists
  // The one empty page that is kept: emptyPage.isEmpty
  var emptyPage: DensePagePointer?
  // For each size in fours of units, the object that rests at the top of its stack, and how many there are
  var resting = InlineArray<18, UInt>(repeating: 0)
  var restingCounts = InlineArray<18, UInt16>(repeating: 0)
  // Bit n: rooms[n] != nil
  var roomLists: UInt = 0
  // The first page of each list of DensePageLists.
  var rooms = InlineArray<38, DensePagePointer?>(repeating: nil)

  /// Four of these fill a page. Of larger objects three would fit, so they are runs of fragments.
  static var maxByteCount: UInt { (DensePage.capacity / 4 - 1) * DensePage.unitBytes }
}

typealias DenseHeapPointer = UnsafeMutablePointer<DenseHeap>

/// A request in units: the block's size, header included, and its payload's alignment.
///
/// A size is rounded up to its alignment, so that objects of one kind lie side by side without gaps between them.
struct DenseRequest {
  let units: UInt
  let alignmentUnits: UInt
  /// Whether every free block is looked at: O(pages), for when there is no memory otherwise.
  var isThorough = false

  /// Nil when no page can meet it. `alignment` is a power of two, at most 16; a size's own alignment is kept in any case.
  @inline(__always)
  init?(_ byteCount: UInt, alignment: UInt = 1) {
    guard byteCount <= DenseHeap.maxByteCount, alignment <= 16 else { return nil }
    let own: UInt = byteCount >= 16 ? 16 : byteCount >= 8 ? 8 : 4
    alignmentUnits = max(own, alignment) / DensePage.unitBytes
    let needed = 1 + max(1, (byteCount + DensePage.unitBytes - 1) / DensePage.unitBytes)
    units = (needed + alignmentUnits - 1) & ~(alignmentUnits - 1)
  }

  /// Units to skip from `unit` to a header whose payload is aligned to `alignmentUnits`, a power of two.
  @inline(__always)
  static func skip(_ unit: UInt, _ alignmentUnits: UInt) -> UInt { ~unit & (alignmentUnits - 1) }
}

extension UnsafeMutablePointer where Pointee == DenseHeap {
  /// Waits for a fork, and makes one wait. What happens until ``leave()`` in pages, free memory and headers among live objects, memcheck
  /// is not to report.
  @inline(__always)
  func enter() {
    gate.enter()
    Memcheck.silence()
  }

  @inline(__always)
  func leave() {
    Memcheck.listen()
    gate.leave()
  }

  // MARK: By the owner

  /// The address of `byteCount` bytes that are the caller's until it frees them; zero bytes give a distinct object. Nil when
  /// there is no memory, and, without a look at the heap, above ``DenseHeap/maxByteCount`` or an alignment of 16.
  func allocate<Source: DensePageSource>(_ byteCount: UInt, alignment: UInt = 1, from source: Source) -> UInt? {
    guard let request = DenseRequest(byteCount, alignment: alignment) else { return nil }
    if let address = takeResting(request) { return address }
    enter()
    defer { leave() }
    return take(request) ?? takeElsewhere(request, from: source)
  }

  // What rests and what others have freed comes before a new page; but what rests in the only page is left for requests of its size
  // while there is another page.
  @inline(never)
  private func takeElsewhere<Source: DensePageSource>(_ request: DenseRequest, from source: Source) -> UInt? {
    let hadWaiting = collect(to: source), hadResting = pageCount.loadRelaxed() > 1 && rouseAll(to: source)
    if hadWaiting || hadResting, let address = take(request) { return address }
    if let page = source.claimPage() {
      adopt(DensePagePointer(bitPattern: page).unsafelyUnwrapped)
      return take(request)
    }
    // Without memory it may be any block of any page that fits.
    rouseAll(to: source)
    var last = request
    last.isThorough = true
    return take(last)
  }

  /// Takes an object back. What is wrong with it, when something is; then nothing has changed. Never claims a page; may release one.
  func deallocate<Source: DensePageSource>(_ address: UInt, to source: Source) -> DenseHeapFault? {
    guard let (page, unit) = place(address) else { return .notABlock }
    if rest(address) { return nil }
    enter()
    defer { leave() }
    if let fault = page.fault(of: unit) { return fault }
    release(page, unit)
    settle(page, to: source)
    rouseSurplus(to: source)
    return nil
  }

  /// Makes an object hold `byteCount` bytes where it is, if it can: it keeps its size when it shrinks, but is to be moved when it would
  /// use less than half of it; and grows into free memory behind it, if `isOwner`. Otherwise any thread may call this, for an object of its
  /// own.
  func resize(_ address: UInt, to byteCount: UInt, isOwner: Bool = true) -> DenseResize {
    if !isOwner {
      Memcheck.silence()
      defer { Memcheck.listen() }
      return resize(findForOthers(address), to: byteCount, mayGrow: false)
    }
    enter()
    defer { leave() }
    return resize(find(address), to: byteCount, mayGrow: true)
  }

  private func resize(_ found: DenseLookup, to byteCount: UInt, mayGrow: Bool) -> DenseResize {
    guard case .block(let page, let unit) = found else {
      guard case .fault(let fault) = found else { return .mustMove }
      return .fault(fault)
    }
    let size = page.block(unit).size, usable = (size - 1) * DensePage.unitBytes
    // An object that began small may not begin where a larger one has to.
    guard let request = DenseRequest(byteCount), DenseRequest.skip(unit, request.alignmentUnits) == 0 else {
      return .mustMove
    }
    if byteCount <= usable { return byteCount >= usable / 2 || request.units >= size ? .inPlace : .mustMove }
    guard mayGrow, page.extend(unit, to: request.units) else { return .mustMove }
    room.refile(page)
    liveUnits.addUnshared(request.units - size)
    return .inPlace
  }

  /// Frees what rests, collects what others have freed, and gives back what is empty; the number of pages. Never allocates.
  func defragment<Source: DensePageSource>(to source: Source) -> UInt {
    if pageCount.loadRelaxed() == 0 { return 0 }
    enter()
    defer { leave() }
    let before = pageCount.loadRelaxed()
    collect(to: source)
    rouseAll(to: source)
    releaseEmptyPage(to: source)
    return before - pageCount.loadRelaxed()
  }

  /// The same, when memory has run out; whether there is more now, be it in the heap's own pages.
  func reclaim<Source: DensePageSource>(to source: Source) -> Bool {
    let waits = pending.loadRelaxed() | rests.loadRelaxed() != 0
    return defragment(to: source) > 0 || waits
  }

  /// Gives all pages back, live objects included. No other call on the heap may be running, and no object be used again.
  func releaseAllPages<Source: DensePageSource>(to source: Source) {
    var next = pointee.pages
    while let page = next {
      next = page.pointee.next
      page.end()
      source.releasePage(UInt(bitPattern: page))
    }
    let fit = pointee.fit
    initialize(to: DenseHeap(fit: fit))
  }
}
