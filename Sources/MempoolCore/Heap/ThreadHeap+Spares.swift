/// Empty slabs that a heap keeps, so that objects that come and go in small numbers do not make and destroy slabs all the time.
///
/// A few, bounded in bytes, and only in a thread's first heap: what an idle thread holds back is bounded. None of memory that
/// cannot grow, where other threads may want them. By the owner. O(spares).
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// Bytes that a heap keeps at most: four slabs of the largest.
  private static var mostSpareBytes: UInt { 256 << 10 }

  /// Keeps a slab that is empty and in no list; gives older ones back to make room. False: this heap keeps none.
  func keepSpare(_ slab: SlabPointer) -> Bool {
    guard owner.loadRelaxed() != 0, !pointee.isAdoptedBeside, slab.pointee.segment.pointee.backing == .elastic else {
      return false
    }
    while pointee.spareBytes + slab.byteCount > Self.mostSpareBytes { releaseOldestSpare() }
    slab.setPlace(.spare)
    slab.pointee.next = pointee.spares
    pointee.spares = slab
    pointee.spareBytes += slab.byteCount
    return true
  }

  /// A kept slab of this class, in no list any more.
  func takeSpare(_ sizeClass: Int) -> SlabPointer? {
    var previous: SlabPointer?
    var next = pointee.spares
    while let slab = next {
      if Int(slab.pointee.sizeClass) == sizeClass {
        remove(slab, after: previous)
        return slab
      }
      previous = slab
      next = slab.pointee.next
    }
    return nil
  }

  /// Gives back all that are kept.
  func releaseSpares() {
    while pointee.spares != nil { releaseOldestSpare() }
  }

  private func releaseOldestSpare() {
    var previous: SlabPointer?
    guard var oldest = pointee.spares else { return }
    while let next = oldest.pointee.next {
      previous = oldest
      oldest = next
    }
    remove(oldest, after: previous)
    destroy(oldest)
  }

  private func remove(_ slab: SlabPointer, after previous: SlabPointer?) {
    if let previous { previous.pointee.next = slab.pointee.next } else { pointee.spares = slab.pointee.next }
    pointee.spareBytes -= slab.byteCount
  }
}
