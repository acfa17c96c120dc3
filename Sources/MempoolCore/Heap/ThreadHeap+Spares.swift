/// Empty slabs that a heap keeps for its next need of their class, so that objects that come and go do not make and destroy slabs
/// all the time: what that costs is shared with other threads, and a cache line that two cores write costs more than all the rest.
///
/// A stack for each class, through Slab.next, onto which its owner alone pushes; any thread may take all of it. So what an idle
/// thread holds back goes with other idle memory, to the ``Purger``. Only in a thread's first heap, and none of memory that cannot
/// grow, where other threads may want it.
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// Bytes that a heap keeps at most: four slabs of the largest, or, where somebody looks after those that stay idle, as much as
  /// a loop that takes and frees some ten thousand objects needs.
  static var leastSpareBytes: UInt { 256 << 10 }
  static var mostSpareBytes: UInt { 4 << 20 }

  var spareBytes: AtomicPointer { AtomicPointer(self, word: 74) }
  var spareUses: AtomicPointer { AtomicPointer(self, word: 75) }
  var spareUsesSeen: AtomicPointer { AtomicPointer(self, word: 76) }
  func spares(_ sizeClass: Int) -> AtomicPointer { AtomicPointer(self, word: 77 + sizeClass) }

  private func slab(_ word: UInt) -> SlabPointer? { SlabPointer(bitPattern: word) }

  // MARK: By the owner

  /// Keeps a slab that is empty and in no list, if there is room for it. False: it is not kept.
  func keepSpare(_ slab: SlabPointer) -> Bool {
    guard owner.loadRelaxed() != 0, !pointee.isAdoptedBeside, slab.pointee.segment.pointee.backing == .elastic else {
      return false
    }
    let kept = spareBytes.loadRelaxed() + slab.byteCount
    let isMuch = kept > Self.leastSpareBytes
    if isMuch {
      guard kept <= Self.mostSpareBytes, slab.pointee.segment.hasPurger, Purger.isThere else { return false }
    }
    slab.setPlace(.spare)
    slabs.addUnshared(~0)
    spareUses.addUnshared(1)
    _ = spareBytes.fetchAddRelaxed(slab.byteCount)
    putOnStack(slab)
    // It has seen the slab, or this thread sees that it is gone.
    if isMuch, !Purger.takesOver() { releaseSpares() }
    return true
  }

  private func putOnStack(_ slab: SlabPointer) {
    let stack = spares(Int(slab.pointee.sizeClass))
    var head = stack.loadRelaxed()
    while true {
      slab.pointee.next = self.slab(head)
      // Fails at most once, when somebody has just taken all.
      let seen = stack.compareAndSwapRelease(head, UInt(bitPattern: slab))  // release: pairs with takeAll(_:)
      if seen == head { return }
      head = seen
    }
  }

  /// A kept slab of this class, in no list any more.
  func takeSpare(_ sizeClass: Int) -> SlabPointer? {
    if spareBytes.loadRelaxed() == 0 { return nil }
    guard let slab = takeAll(sizeClass) else {
      // It is of other classes: a program that goes on to other sizes must not grow by what it had before.
      if spareBytes.loadRelaxed() > Self.leastSpareBytes { releaseSomeSpare() }
      return nil
    }
    spareUses.addUnshared(1)
    slabs.addUnshared(1)
    _ = spareBytes.fetchAddRelaxed(0 &- slab.byteCount)
    // Nobody else pushes. release: pairs with takeAll(_:)
    spares(sizeClass).storeRelease(UInt(pointer: slab.pointee.next))
    return slab
  }

  private func releaseSomeSpare() {
    for sizeClass in 0..<SizeClass.count {
      guard let slab = takeAll(sizeClass) else { continue }
      spares(sizeClass).storeRelease(UInt(pointer: slab.pointee.next))  // release: pairs with takeAll(_:)
      slab.pointee.next = nil
      _ = destroyAll(slab)
      return
    }
  }

  // MARK: By any thread

  /// Gives back all that are kept; the bytes they were.
  @discardableResult
  func releaseSpares() -> UInt {
    if spareBytes.loadRelaxed() == 0 { return 0 }
    var byteCount: UInt = 0
    for sizeClass in 0..<SizeClass.count { byteCount += destroyAll(takeAll(sizeClass)) }
    return byteCount
  }

  /// The same, if the owner has neither kept nor taken any since the last call. By one thread at a time.
  func releaseIdleSpares() {
    let uses = spareUses.loadRelaxed()
    if uses == spareUsesSeen.loadRelaxed() { releaseSpares() }
    spareUsesSeen.storeRelaxed(uses)
  }

  /// Whether it keeps more than it may keep for ever.
  var hasManySpares: Bool { spareBytes.loadRelaxed() > Self.leastSpareBytes }

  private func takeAll(_ sizeClass: Int) -> SlabPointer? {
    let stack = spares(sizeClass)
    // acquire: pairs with putOnStack(_:), takeSpare(_:) and releaseSomeSpare()
    return stack.loadRelaxed() == 0 ? nil : slab(stack.exchangeAcquire(0))
  }

  private func destroyAll(_ first: SlabPointer?) -> UInt {
    var next = first, byteCount: UInt = 0
    while let slab = next {
      next = slab.pointee.next
      byteCount += slab.byteCount
      slab.destroy()
    }
    if byteCount > 0 { _ = spareBytes.fetchAddRelaxed(0 &- byteCount) }
    return byteCount
  }
}
