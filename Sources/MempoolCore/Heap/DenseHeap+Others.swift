/// What came of a free by a thread that does not own the heap.
enum DenseRemoteFree {
  case told
  /// The page is to be pushed: it is the first to be told of since the owner collected its objects.
  case first(DensePagePointer)
  case fault(DenseHeapFault)
}

/// A dense heap in figures. Free units are those in pages, slivers too small to hand out included; what waits to be collected is free.
struct DenseHeapStatistics: Equatable {
  var pages: UInt = 0
  var liveBlocks: UInt = 0
  var liveUnits: UInt = 0
  // liveUnits + freeUnits == pages * DensePage.capacity
  var freeUnits: UInt = 0
  /// Blocks that others freed and that wait to be collected, and those that were.
  var waitingBlocks: UInt = 0
  var collectedBlocks: UInt = 0
}

/// What any thread may do.
///
/// A page of the heap, and what its record says of whose it is, does not change while one of its objects is out.
extension UnsafeMutablePointer where Pointee == DenseHeap {
  var gate: ForkGatePointer { (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: ForkGate.self) }
  var pending: AtomicPointer { AtomicPointer(self, word: 2) }
  var freed: AtomicPointer { AtomicPointer(self, word: 3) }
  var collected: AtomicPointer { AtomicPointer(self, word: 4) }
  var liveBlocks: AtomicPointer { AtomicPointer(self, word: 5) }
  var liveUnits: AtomicPointer { AtomicPointer(self, word: 6) }
  var pageCount: AtomicPointer { AtomicPointer(self, word: 7) }

  /// The heap whose page `address` lies in; nil when that is no page of any.
  static func owner(of address: UInt) -> DenseHeapPointer? {
    let page = DensePagePointer.unchecked(of: address)
    Memcheck.silence()
    defer { Memcheck.listen() }
    return page.isSealed ? page.pointee.heap : nil
  }

  func findForOthers(_ address: UInt) -> DenseLookup {
    guard let (page, unit) = place(address) else { return .fault(.notABlock) }
    if let fault = page.faultSeenByOthers(of: unit) { return .fault(fault) }
    return .block(page: page, unit: unit)
  }

  /// Gives an object back, by a thread that does not own the heap. What is wrong with it, when something is; then nothing has changed.
  /// Lock-free; never claims or releases a page.
  func freeRemotely(_ address: UInt) -> DenseRemoteFree {
    Memcheck.silence()
    defer { Memcheck.listen() }
    switch findForOthers(address) {
    case .fault(let fault): return .fault(fault)
    case .block(let page, let unit):
      let block = page.block(unit)
      guard page.mark(unit, block) else { return .fault(.doubleFree) }
      _ = freed.fetchAddRelaxed(1 << 32 | block.size)
      return page.tell(unit) ? .first(page) : .told
    }
  }

  /// Puts a page on the pending list, by the one thread that told it first. The page may be gone when this returns.
  func push(_ page: DensePagePointer) {
    var head = pending.loadRelaxed()
    while true {
      page.pendingNext.storeRelaxed(head)
      // release: pairs with the exchange in collect(to:)
      let seen = pending.compareAndSwapRelease(head, UInt(bitPattern: page))
      if seen == head { return }
      head = seen
    }
  }

  /// Takes the whole pending list and frees what it leads to; whether there was any. By the owner, inside the gate.
  @discardableResult
  func collect<Source: DensePageSource>(to source: Source) -> Bool {
    if pending.loadRelaxed() == 0 { return false }
    var next = pending.exchangeAcquire(0)  // acquire: pairs with the swap in push(_:)
    while let page = DensePagePointer(bitPattern: next) {
      if !page.isSealed { misuse("dense heap", UInt(bitPattern: page), "page header overwritten") }
      next = page.pendingNext.loadRelaxed()
      var unit = page.takeTold()
      while unit != 0 {
        let further = page.unmark(unit)
        if let fault = page.fault(of: unit) { misuse("dense heap", page.payload(unit), fault.text(.free)) }
        collected.addUnshared(1 << 32 | page.block(unit).size)
        release(page, unit)
        unit = further
      }
      settle(page, to: source)
    }
    rouseSurplus(to: source)
    return true
  }

  /// The bytes that an object may use, its header not among them; nil when `address` is not a live object's.
  func usableSize(_ address: UInt) -> UInt? {
    Memcheck.silence()
    defer { Memcheck.listen() }
    guard case .block(let page, let unit) = findForOthers(address) else { return nil }
    return (page.block(unit).size - 1) * DensePage.unitBytes
  }

  /// What speaks against an address being a live object's; nil when nothing does.
  func fault(at address: UInt) -> DenseHeapFault? {
    Memcheck.silence()
    defer { Memcheck.listen() }
    guard case .fault(let fault) = findForOthers(address) else { return nil }
    return fault
  }

  /// The heap in figures: right when nobody changes it, and a little out of date otherwise.
  func statistics() -> DenseHeapStatistics {
    let done = collected.loadRelaxed(), waiting = Self.difference(freed.loadRelaxed(), done)
    let pages = pageCount.loadRelaxed(), idle = waiting &+ rests.loadRelaxed()
    let units = Self.difference(liveUnits.loadRelaxed(), idle & 0xffff_ffff)
    return DenseHeapStatistics(
      pages: pages, liveBlocks: Self.difference(liveBlocks.loadRelaxed(), idle >> 32), liveUnits: units,
      freeUnits: Self.difference(pages &* DensePage.capacity, units), waitingBlocks: waiting >> 32,
      collectedBlocks: done >> 32)
  }

  // Words that are read one after the other may say less than nothing.
  private static func difference(_ a: UInt, _ b: UInt) -> UInt { a > b ? a - b : 0 }

  /// The number of pages in the pending list, or more than `limit`.
  func countPending(atMost limit: UInt) -> UInt {
    var count: UInt = 0
    var next = pending.loadRelaxed()
    while let page = DensePagePointer(bitPattern: next), count <= limit {
      count += 1
      next = page.pendingNext.loadRelaxed()
    }
    return count
  }

  /// In a forked child, by its only thread: frees what others were freeing. Of a heap that this very thread was about to change, as its
  /// fork came from a signal's handler, that is lost.
  func recoverAfterFork<Source: DensePageSource>(to source: Source, isOwn: Bool = false) {
    pending.storeRelaxed(0)
    let isInside = gate.isInside || isOwn && isAtStack.loadRelaxed() != 0
    if !isInside {
      isAtStack.storeRelaxed(0)
      forgetResting()
    }
    var next = pointee.pages
    while let page = next {
      next = page.pointee.next
      if isInside {
        page.told.storeRelaxed(0)
        continue
      }
      let (blocks, units) = page.recoverAfterFork()
      liveBlocks.addUnshared(0 &- blocks)
      liveUnits.addUnshared(0 &- units)
      if blocks > 0 { settle(page, to: source) }
    }
    if !isInside { freed.storeRelaxed(collected.loadRelaxed()) }
  }
}
