import CMempoolShims

/// A thread's small objects: for each size class a current slab, and a list of slabs with room.
///
/// A record in the metadata arena of the pool's first segment, used by one thread at a time, its owner: a lease that is taken
/// and given back in the registry's bitmap. It is never freed before its pool, only adopted by another thread, so a freer may
/// always push to the heap that a slab names. The owner's allocations and frees take no lock and no atomic
/// read-modify-write; slow paths are O(1) but for collecting, which is O(frees).
public struct ThreadHeap {
  // The slab that allocations of a class come from; the empty slab where there is none. First, so that the shims' empty heap
  // is one.
  @usableFromInline var current: InlineArray<64, SlabPointer>
  // Bytes asked for, ever. The owner adds; others may read.
  @usableFromInline var requested: AtomicWord  // 64
  // Slabs that others told of: a stack through Slab.pendingNext, emptied only whole.
  var pending: AtomicWord  // 65
  // The owner's thread block; 0: abandoned, or about to be.
  var owner: AtomicWord  // 66
  // Counters, written by the owner.
  var collected: AtomicWord  // 67: remote frees collected
  var slabs: AtomicWord  // 68: slabs of the heap, spares aside
  var adoptions: AtomicWord  // 69
  var samples: AtomicWord  // 70: requests that took the slow path, the sample that the live estimate is made of
  var sampledBytes: AtomicWord  // 71: bytes that those asked for
  var sampledSlots: AtomicWord  // 72: bytes of the items that they got
  var cachedRunBytes: AtomicWord  // 73: bytes of the runs kept
  // Empty slabs that are kept: their bytes; how often the owner kept or took one, and how often when somebody last looked; a stack
  // for each class
  var spareBytes: AtomicWord  // 74
  var spareUses: AtomicWord  // 75
  var spareUsesSeen: AtomicWord  // 76
  var spares: InlineArray<64, AtomicWord>  // 77
  var quarantine: AtomicWord  // 141: of a hardened pool's heap, once it has one

  var registry: HeapRegistryPointer
  var index: UInt
  // The next heap of the same owner, for the first of them.
  var nextOwned: ThreadHeapPointer?
  var ownedCount: UInt
  // Owned beside its owner's first heap.
  var isAdoptedBeside: Bool
  // The head of each class's ring of slabs with room, through Slab.next: the one that has been in it for longest.
  var room: InlineArray<64, SlabPointer?>
  // Bit c: room[c] != nil
  var classesWithRoom: UInt
  // Of these, classes that got room since others were told that the heap has some
  var newsOfRoom: UInt
  // Bit c: the current slab of class c stays when it is empty, although it was spare
  var staysEmpty: UInt
  // Bit c: the current slab of class c is also in seats of other classes
  var sharing: UInt
  // Slabs made of each class, up to 65535, since the heap was last given up or emptied: later slabs are larger.
  var made: InlineArray<64, UInt16>
  // Of these, for classes whose slabs were all full
  var relieved: InlineArray<64, UInt16>
  // How often a full slab of each class took its seat without a step to the next one in between
  var changes: InlineArray<64, UInt8>
  // Bit c: the full slabs of class c have taken each other's seat for so long that its next refill makes one more
  var short: UInt
  var runs: RunCache
  var hardening: Hardening
  var secret: UInt
}

public typealias ThreadHeapPointer = UnsafeMutablePointer<ThreadHeap>

extension UnsafeMutablePointer where Pointee == ThreadHeap {
  @inlinable @inline(__always) public var requested: AtomicPointer { AtomicPointer(self, word: 64) }
  var pending: AtomicPointer { AtomicPointer(self, word: 65) }
  var owner: AtomicPointer { AtomicPointer(self, word: 66) }
  var collected: AtomicPointer { AtomicPointer(self, word: 67) }
  var slabs: AtomicPointer { AtomicPointer(self, word: 68) }
  var adoptions: AtomicPointer { AtomicPointer(self, word: 69) }
  var samples: AtomicPointer { AtomicPointer(self, word: 70) }
  var sampledBytes: AtomicPointer { AtomicPointer(self, word: 71) }
  var sampledSlots: AtomicPointer { AtomicPointer(self, word: 72) }
  var cachedRunBytes: AtomicPointer { AtomicPointer(self, word: 73) }

  @inlinable @inline(__always)
  public func current(_ sizeClass: Int) -> SlabPointer {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: SlabPointer.self)[sizeClass]
  }

  var currents: UnsafeMutablePointer<SlabPointer> {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: SlabPointer.self)
  }

  static var emptySlab: SlabPointer { mp_empty_slab_address().assumingMemoryBound(to: Slab.self) }

  /// A heap without slabs, in zeroed memory.
  func start(_ registry: HeapRegistryPointer, index: UInt) {
    pointee.registry = registry
    pointee.index = index
    pointee.runs = RunCache()
    pointee.hardening = registry.pointee.hardening
    pointee.secret = registry.pointee.secret
    clearCurrent()
  }

  func clearCurrent() {
    for sizeClass in 0..<64 { currents[sizeClass] = Self.emptySlab }
    pointee.staysEmpty = 0
    pointee.sharing = 0
    pointee.short = 0
  }

  // MARK: Allocating

  /// An item of a class whose current slab has none; nil when no memory is left. Tries, in this order: items of the slab that
  /// were never used, what others have freed, slabs with room, the slab of a class that this one shares, adopted and abandoned heaps, a
  /// new slab.
  func refill(_ sizeClass: Int) -> UnsafeMutableRawPointer? {
    let slab = current(sizeClass)
    let isReal = slab != Self.emptySlab
    if isReal, slab.carve() { return slab.take() }
    drainAll()
    // Also one of an adopted heap may have got items so.
    if isReal, slab.pointee.head != 0 { return slab.take() }
    if let extra = relief(sizeClass) { return seat(extra, sizeClass, instead: slab) }
    let source = source(sizeClass)
    if source != sizeClass, let next = takeRoom(sizeClass) { return seat(next, sizeClass, instead: slab) }
    if current(source).hasRoom { return seat(current(source), sizeClass, instead: slab) }
    guard let next = takeRoom(source) ?? adoptedRoom(source) ?? abandonedRoom(source) ?? makeSlab(source)
    else { return nil }
    return seat(next, sizeClass, instead: slab)
  }

  /// An item of the next slab in the class's list, which takes the seat of one that has nothing left: what most refills come to, in a
  /// tenth of the instructions. Nil: see ``refill(_:)``, which is what every 64th comes to if others may have freed something.
  @inline(__always)
  func takeNext(_ sizeClass: Int) -> UnsafeMutableRawPointer? {
    guard let next = pointee.room[sizeClass], !needsCare(sizeClass) else { return nil }
    if isTimeForNews, pending.loadRelaxed() != 0 || pointee.nextOwned != nil { return nil }
    let seat = current(sizeClass)
    guard seat != Self.emptySlab, !seat.hasRoom, next.pointee.head != 0 else { return nil }
    unlink(next)
    seat.giveUpSeat()
    next.setPlace(.current, from: .room)
    currents[sizeClass] = next
    pointee.changes[sizeClass] = 0
    return next.take()
  }

  /// Every 64th refill: a class that always has room must not keep waiting for ever what others freed of other classes, or of heaps that
  /// the owner adopted.
  @inline(__always)
  private var isTimeForNews: Bool { samples.loadRelaxed() & 63 == 63 }

  private func drainAll() {
    drain()
    guard isTimeForNews else { return }
    var heap = pointee.nextOwned
    while let adopted = heap {
      adopted.drain()
      heap = adopted.pointee.nextOwned
    }
  }

  // The head of the class's list, taken out of it.
  private func takeRoom(_ sizeClass: Int) -> SlabPointer? {
    guard let slab = pointee.room[sizeClass] else { return nil }
    slab.pointee.heap.unlink(slab)
    return slab
  }

  private func adoptedRoom(_ sizeClass: Int) -> SlabPointer? {
    var heap = pointee.nextOwned
    while let adopted = heap {
      _ = adopted.drain()
      if let slab = adopted.takeRoom(sizeClass) { return slab }
      heap = adopted.pointee.nextOwned
    }
    return nil
  }

  /// Heaps that a thread owns beside its first: what idle memory of others it may hold back.
  private static var mostAdopted: UInt { 8 }

  private func abandonedRoom(_ sizeClass: Int) -> SlabPointer? {
    let registry = pointee.registry
    for _ in 0..<2 where pointee.ownedCount < Self.mostAdopted {
      guard let heap = registry.adoptWithRoom(sizeClass) else { return nil }
      heap.owner.storeRelaxed(owner.loadRelaxed())
      heap.pointee.isAdoptedBeside = true  // before it drains: such a heap keeps nothing
      heap.adoptions.addUnshared(1)
      _ = heap.drain()
      if let slab = heap.takeRoom(sizeClass) {
        heap.pointee.nextOwned = pointee.nextOwned
        pointee.nextOwned = heap
        pointee.ownedCount += 1
        noteBeside(pointee.ownedCount)
        return slab
      }
      heap.abandon()
    }
    return nil
  }

  /// Tells the owner's thread block, if this is the heap that the block knows: a free must then look at a slab's heap's owner.
  private func noteBeside(_ count: UInt) {
    let block = threadBlock()
    if block.pointee.real_heap == UInt(bitPattern: self) { block.pointee.beside = count }
  }

  func makeSlab(_ sizeClass: Int) -> SlabPointer? {
    let made = pointee.made[sizeClass]
    if let slab = takeSpare(sizeClass) { return slab }
    var pages = slabPages(sizeClass, made: made)
    let hardening = pointee.hardening
    while true {
      let total = hardening == .guards ? pages + 1 : pages
      let claimed = pointee.registry.pointee.segments.claim(pages: total) { segment in
        SlabPointer.make(sizeClass, pages: pages, in: segment, for: self, hardening, pointee.secret)
      }
      if let (slab, _) = claimed {
        if made < .max { pointee.made[sizeClass] = made + 1 }
        slabs.addUnshared(1)
        return slab
      }
      if pages == 1 { return nil }
      pages /= 2
    }
  }

  /// Notes what a request that took the slow path asked for and got.
  func sample(_ byteCount: UInt, _ itemSize: UInt) {
    samples.addUnshared(1)
    sampledBytes.addUnshared(byteCount)
    sampledSlots.addUnshared(itemSize)
  }

  // MARK: Freeing

  /// The same as ``settle(_:)``, by the thread whose first heap this is, and which may allocate next: a slab that was full
  /// takes the seat of a current one that is. Replacing objects of slabs that are all full then takes one slow path, not two. Each
  /// replacement comes here then, and waits for memory elsewhere: the fewer instructions, the more of them are under way at once.
  @inline(never)
  func settleOwn(_ slab: SlabPointer) {
    if slab.pointee.place == .full {
      let sizeClass = Int(slab.pointee.sizeClass)
      let seat = current(sizeClass)
      if !seat.hasRoom, !needsCare(sizeClass) {
        pointee.changes[sizeClass & 63] &+= 1
        if pointee.changes[sizeClass & 63] == 0 { return settleAgain(slab) }
        return change(seat, slab, sizeClass)
      }
    }
    settleOther(slab)
  }

  @inline(__always)
  private func change(_ seat: SlabPointer, _ slab: SlabPointer, _ sizeClass: Int) {
    if seat != Self.emptySlab { seat.giveUpSeat() }
    slab.takeSeat()
    currents[sizeClass] = slab
  }

  /// Every 256th time without a step to another slab in between.
  @inline(never)
  private func settleAgain(_ slab: SlabPointer) {
    let sizeClass = Int(slab.pointee.sizeClass)
    guard mayBeRelieved(sizeClass) else { return change(current(sizeClass), slab, sizeClass) }
    pointee.short |= 1 << UInt(sizeClass)
    settleOther(slab)
  }

  /// What ``settleOwn(_:)`` leaves over.
  @inline(never)
  private func settleOther(_ slab: SlabPointer) {
    switch slab.pointee.place {
    case .full: link(slab)  // Not empty: slabs have more than one item.
    case .room, .spare: settle(slab)
    case .current:
      if current(Int(slab.pointee.sizeClass)) == slab, slab.used == 0 {
        clearSeats(of: slab)
        retire(slab)
      }
    }
  }

  /// Puts a slab where it belongs after items came back: it may have room again, or be empty. By the owner.
  func settle(_ slab: SlabPointer) {
    switch slab.pointee.place {
    case .current, .spare: break
    case .room:
      if slab.used == 0 {
        unlink(slab)
        retire(slab)
      }
    case .full:
      if slab.used == 0 { retire(slab) } else if slab.hasRoom { link(slab) }
    }
  }

  private func retire(_ slab: SlabPointer) {
    if !keepSpare(slab) { destroy(slab) }
  }

  func destroy(_ slab: SlabPointer) {
    slabs.addUnshared(~0)
    slab.destroy()
  }

  // At the end: what has been in the list for longest has had time to gather free items.
  private func link(_ slab: SlabPointer) {
    let sizeClass = Int(slab.pointee.sizeClass)
    slab.setPlace(.room, from: .full)
    if let head = pointee.room[sizeClass] {
      let last = head.pointee.previous
      slab.pointee.next = head
      slab.pointee.previous = last
      last?.pointee.next = slab
      head.pointee.previous = slab
    } else {
      slab.pointee.next = slab
      slab.pointee.previous = slab
      pointee.room[sizeClass] = slab
      pointee.classesWithRoom |= 1 << UInt(sizeClass)
    }
    pointee.newsOfRoom |= 1 << UInt(sizeClass)
  }

  private func unlink(_ slab: SlabPointer) {
    let sizeClass = Int(slab.pointee.sizeClass)
    let next = slab.pointee.next
    if next == slab {
      pointee.room[sizeClass] = nil
      pointee.classesWithRoom &= ~(1 << UInt(sizeClass))
      return
    }
    next?.pointee.previous = slab.pointee.previous
    slab.pointee.previous?.pointee.next = next
    if pointee.room[sizeClass] == slab { pointee.room[sizeClass] = next }
  }

  /// Takes the whole pending list and collects its slabs; whether there was one. By the owner.
  @discardableResult
  func drain() -> Bool {
    if pending.loadRelaxed() == 0 { return false }
    var slab = pending.exchangeAcquire(0)  // acquire: pairs with the swap in push(_:)
    while slab != 0 {
      let record = UnsafeMutableRawPointer(bitPattern: slab).unsafelyUnwrapped.assumingMemoryBound(to: Slab.self)
      slab = record.pendingNext.loadRelaxed()
      collected.addUnshared(record.collect())
      settle(record)
    }
    return true
  }

  /// Puts a slab on the pending list, by the one thread that told its summary first; and looks after the heap if nobody owns
  /// it. The slab may be gone when this returns.
  func push(_ slab: SlabPointer) {
    var head = pending.loadRelaxed()
    while true {
      slab.pendingNext.storeRelaxed(head)
      // release: pairs with the exchange in drain()
      let seen = pending.compareAndSwapRelease(head, UInt(bitPattern: slab))
      if seen == head { break }
      head = seen
    }
    fenceFull()  // pairs with the fence in abandon(afterVisit:): one of the two sees what the other wrote
    if pointee.registry.isOwned(pointee.index) { return }
    if pointee.registry.tryAdopt(pointee.index) {
      drain()
      abandon(afterVisit: true)
    }
  }

  // MARK: Giving up

  /// Puts current slabs back in their lists; before the owner gives the heap up.
  func unseat() {
    releaseQuarantine(CallName("free"))
    releaseRuns()
    pointee.short = 0
    _ = dense.defragment(to: dense.pages(pointee.registry.pointee.segments))
    for sizeClass in 0..<SizeClass.count {
      let slab = current(sizeClass)
      pointee.made[sizeClass] = 0
      pointee.relieved[sizeClass] = 0
      if slab != Self.emptySlab { leaveSeats(slab) }
    }
    releaseSpares()
  }

  /// Gives back what the owner keeps for itself and nobody uses, before the pool counts as exhausted: what others have freed,
  /// kept runs, empty current slabs, empty dense pages; and what others keep of slabs. Whether there was any. By the owner.
  func reclaim() -> Bool {
    let slabsBefore = slabs.loadRelaxed(), hadSpares = spareBytes.loadRelaxed() > 0
    let hadRuns = cachedRunBytes.loadRelaxed() > 0
    let hadWaiting = pointee.registry.releaseQuarantines(CallName("free")) > 0
    let wasTold = drain()
    let densePages = dense.defragment(to: dense.pages(pointee.registry.pointee.segments))
    unseat()
    var others: UInt = 0
    let registry = pointee.registry
    for index in 1..<max(registry.count, 1) { others += registry.heap(index)?.releaseSpares() ?? 0 }
    return wasTold || hadWaiting || hadRuns || hadSpares || others > 0 || densePages > 0
      || slabs.loadRelaxed() != slabsBefore
  }

  /// Gives the heap up, its free sets as they are, for whoever adopts it. By the owner, after ``unseat()``. After a visit to an
  /// abandoned heap only what is new must be told of.
  func abandon(afterVisit isVisit: Bool = false) {
    let registry = pointee.registry
    repeat {
      drain()
      releaseSpares()
      pointee.nextOwned = nil
      pointee.isAdoptedBeside = false
      pointee.ownedCount = 0
      var classes = isVisit ? pointee.classesWithRoom & pointee.newsOfRoom : pointee.classesWithRoom
      pointee.newsOfRoom = 0
      while classes != 0 {
        registry.hint(classes.trailingZeroBitCount, pointee.index)
        classes &= classes - 1
      }
      owner.storeRelaxed(0)
      registry.giveUp(pointee.index)
      fenceFull()  // pairs with the fence in push(_:)
    } while pending.loadRelaxed() != 0 && registry.tryAdopt(pointee.index)
  }

  /// Gives up this heap and all that its owner adopted beside it.
  func abandonAll() {
    unseat()
    noteBeside(0)
    var heap = pointee.nextOwned
    while let adopted = heap {
      heap = adopted.pointee.nextOwned
      adopted.abandon()
    }
    abandon()
  }
}
