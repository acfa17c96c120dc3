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
  // What others freed of medium objects: whether slabs of them have been pushed; who gives pages of theirs back; bytes
  var mediumPending: AtomicWord  // 142
  var returning: AtomicWord  // 143
  var uncollectedBytes: AtomicWord  // 144

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
    dense.pointee.fit = registry.pointee.fit
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
  func noteBeside(_ count: UInt) {
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
      if pages == leastPages(sizeClass) { return nil }
      pages = max(pages / 2, leastPages(sizeClass))
    }
  }

  /// Notes what a request that took the slow path asked for and got.
  func sample(_ byteCount: UInt, _ itemSize: UInt) {
    samples.addUnshared(1)
    sampledBytes.addUnshared(byteCount)
    sampledSlots.addUnshared(itemSize)
  }
}
