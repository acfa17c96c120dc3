import CMempoolShims

/// The thread heaps of one pool, numbered; a bit each says whether somebody owns it.
///
/// A record in the pool. Owning a heap is a claim of its bit, by any thread, without a list and so without ABA. Heap 0 is
/// the late heap: threads past their exit handlers share it under a lock, and nobody adopts it.
struct HeapRegistry {
  var created = AtomicWord()  // 0: heaps 0..<created exist
  var creation = Mutex()  // 1
  var lateLock = Mutex()  // 2
  let segments: SegmentListPointer
  let capacity: UInt
  // A bit a heap: owned.
  let owned: AtomicPointer
  // A word a heap: where it is.
  let table: AtomicPointer
  // For each class a bit a heap: abandoned with room. Hints: a set bit may be out of date, a missing one costs memory.
  let hints: AtomicPointer
  let hardening: Hardening
  // What a hardened pool's patterns and places are made of.
  let secret: UInt
  // How dense heaps find free blocks.
  let fit: DenseFit
}

typealias HeapRegistryPointer = UnsafeMutablePointer<HeapRegistry>

extension UnsafeMutablePointer where Pointee == HeapRegistry {
  var createdCount: AtomicPointer { AtomicPointer(self, word: 0) }
  var creation: MutexPointer { (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: Mutex.self) }
  var lateLock: MutexPointer { (UnsafeMutableRawPointer(self) + 16).assumingMemoryBound(to: Mutex.self) }

  /// A registry with its late heap, in zeroed memory; false when there is no room for it.
  func start(
    _ segments: SegmentListPointer, capacity: UInt, _ hardening: Hardening = .off, fit: DenseFit = .lists
  ) -> Bool {
    let words = (capacity + 63) / 64
    let total = words * UInt(1 + SizeClass.count) + words * 64
    // From the first segment, which goes if the pool cannot start: a further one would stay.
    guard let first = segments.newest, let block = first.allocateMetadata(total * 8) else { return false }
    let owned = AtomicPointer(address: block)
    initialize(
      to: HeapRegistry(
        segments: segments, capacity: words * 64, owned: owned,
        table: owned.advanced(by: Int(words) * (1 + SizeClass.count)), hints: owned.advanced(by: Int(words)),
        hardening: hardening, secret: hardening == .off ? 0 : mp_random_word(), fit: fit))
    return make(in: first) != nil
  }

  private func word(_ bits: AtomicPointer, _ index: UInt) -> AtomicPointer { bits.advanced(by: Int(index / 64)) }
  private func bit(_ index: UInt) -> UInt { 1 << (index % 64) }
  private func hintRow(_ sizeClass: Int) -> AtomicPointer {
    pointee.hints.advanced(by: sizeClass * Int(pointee.capacity / 64))
  }

  func heap(_ index: UInt) -> ThreadHeapPointer? {
    // acquire: pairs with the release in make(in:)
    pointee.table.advanced(by: Int(index)).loadPointerAcquire()?.assumingMemoryBound(to: ThreadHeap.self)
  }

  var late: ThreadHeapPointer { heap(0).unsafelyUnwrapped }

  /// The number of heaps that exist.
  var count: UInt { createdCount.loadAcquire() }  // acquire: pairs with the release in make(in:)

  func isOwned(_ index: UInt) -> Bool { word(pointee.owned, index).loadRelaxed() & bit(index) != 0 }

  func tryAdopt(_ index: UInt) -> Bool {
    // acquire: pairs with the and in giveUp(_:)
    word(pointee.owned, index).fetchOrAcquire(bit(index)) & bit(index) == 0
  }

  func giveUp(_ index: UInt) {
    // release: pairs with the or in tryAdopt(_:); the fence after it is the caller's
    _ = word(pointee.owned, index).fetchAndAcquireRelease(~bit(index))
  }

  func hint(_ sizeClass: Int, _ index: UInt) {
    _ = word(hintRow(sizeClass), index).fetchOrRelaxed(bit(index))
  }

  /// A heap for a thread: an abandoned one, or a new one; nil when there are too many, or no memory.
  func acquire(for block: ThreadBlock) -> ThreadHeapPointer? {
    guard let heap = adoptAny() ?? make() else { return nil }
    heap.owner.storeRelaxed(UInt(bitPattern: block))
    heap.drain()
    return heap
  }

  private func adoptAny() -> ThreadHeapPointer? {
    let count = count
    var first: UInt = 0
    while first < count {
      let exists = count - first >= 64 ? ~0 : bit(count) &- 1
      var abandoned = ~word(pointee.owned, first).loadRelaxed() & exists
      while abandoned != 0 {
        let index = first + UInt(abandoned.trailingZeroBitCount)
        if tryAdopt(index) {
          heap(index)?.adoptions.addUnshared(1)
          return heap(index)
        }
        abandoned &= abandoned &- 1
      }
      first += 64
    }
    return nil
  }

  /// An abandoned heap that probably has room in a class; nil when no hint says so.
  func adoptWithRoom(_ sizeClass: Int) -> ThreadHeapPointer? {
    let count = count
    var first: UInt = 0
    while first < count {
      var hinted = word(hintRow(sizeClass), first).loadRelaxed()
      while hinted != 0 {
        let index = first + UInt(hinted.trailingZeroBitCount)
        _ = word(hintRow(sizeClass), index).fetchAndRelaxed(~bit(index))
        if tryAdopt(index) { return heap(index) }
        hinted &= hinted &- 1
      }
      first += 64
    }
    return nil
  }

  // In this segment alone, or in any.
  private func make(in segment: SegmentPointer? = nil) -> ThreadHeapPointer? {
    creation.lock()
    defer { creation.unlock() }
    let index = createdCount.loadRelaxed()
    guard index < pointee.capacity else { return nil }
    let byteCount = ThreadHeapPointer.recordByteCount
    guard let block = segment.map({ $0.allocateMetadata(byteCount) }) ?? pointee.segments.allocateRecord(byteCount)
    else { return nil }
    let heap = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: ThreadHeap.self)
    heap.start(self, index: index)
    _ = tryAdopt(index)
    pointee.table.advanced(by: Int(index)).storeRelease(block)  // release: pairs with the acquire in heap(_:)
    createdCount.storeRelease(index + 1)  // release: pairs with the acquire in count
    return heap
  }

  /// In a forked child, by its only thread: other threads' heaps become abandoned, and every slab is put right.
  func recoverAfterFork(own block: ThreadBlock) {
    for index in 0..<count {
      guard let heap = heap(index) else { continue }
      let isOwn = heap.owner.loadRelaxed() == UInt(bitPattern: block)
      heap.forgetLists(isOwn: isOwn)
      heap.dense.recoverAfterFork(to: heap.densePages, isOwn: isOwn)
      if !isOwn { heap.owner.storeRelaxed(0) }
    }
    pointee.segments.first { segment in
      for page in 0..<segment.pageCount.loadRelaxed() {
        let entry = segment.entry(page)
        if pointee.hardening != .off, !entry.isSlab { segment.recoverRun(page) }
        guard entry.isSlab, let record = entry.slab.loadPointerRelaxed() else { continue }
        let slab = record.assumingMemoryBound(to: Slab.self)
        if slab.address == segment.address(ofPage: page) { slab.pointee.heap.recover(slab) }
      }
      return false
    }
    // What the late heap had beside it is nobody's, as all others are, and goes with them: whoever adopts it is alone with it.
    late.pointee.nextOwned = nil
    late.pointee.ownedCount = 0
    for index in 1..<max(count, 1) {
      guard let heap = heap(index), heap.owner.loadRelaxed() == 0 else { continue }
      heap.abandon()
    }
  }
}

extension UnsafeMutablePointer where Pointee == HeapRegistry {
  /// Whether numbers, bits, owners and hints of the heaps agree; not whether each is sound in itself. Only while nobody uses the
  /// pool.
  func checkInvariants() -> Bool {
    let count = count
    if count == 0 || count > pointee.capacity { return broken("a number of heaps that cannot be") }
    var owned: UInt = 0, reached: UInt = 0
    for index in 0..<pointee.capacity {
      guard index < count else {
        if heap(index) != nil || isOwned(index) { return broken("a heap beyond the last one") }
        for sizeClass in 0..<SizeClass.count where word(hintRow(sizeClass), index).loadRelaxed() & bit(index) != 0 {
          return broken("a hint that names no heap")
        }
        continue
      }
      guard let heap = heap(index), heap.pointee.index == index, heap.pointee.registry == self else {
        return broken("a heap that is not where its number says")
      }
      if index == 0 {
        if !isOwned(0) || heap.owner.loadRelaxed() != 0 {
          return broken("the late heap is somebody's, or may be adopted")
        }
      }
      // Its bit without an owner: the late heap and those beside it, and what a thread that ends is about to give up.
      if !isOwned(index), heap.owner.loadRelaxed() != 0 {
        return broken("a heap that is somebody's, without its bit")
      }
      if !isOwned(index) { continue }
      owned += 1
      if heap.pointee.isAdoptedBeside { continue }
      reached += 1
      var beside: UInt = 0
      var next = heap.pointee.nextOwned
      while let other = next, beside <= heap.pointee.ownedCount {
        if !other.pointee.isAdoptedBeside || other.owner.loadRelaxed() != heap.owner.loadRelaxed() {
          return broken("a heap beside another that is not its owner's")
        }
        beside += 1
        next = other.pointee.nextOwned
      }
      if beside != heap.pointee.ownedCount { return broken("a wrong count of heaps beside another") }
      reached += beside
    }
    return owned == reached || broken("an owned heap that its owner does not know")
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("heap registry", UInt(bitPattern: self), what) }
}
