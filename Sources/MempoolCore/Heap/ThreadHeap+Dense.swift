import CMempoolShims

/// Pages for a dense heap, from the segments of its pool: each is entered in the page table with its heap, so that whose
/// object a pointer is never depends on what lies in the program's reach.
struct DensePages: DensePageSource {
  let segments: SegmentListPointer
  let heap: DenseHeapPointer

  func claimPage() -> UInt? {
    segments.claim(pages: 1) { segment -> UInt? in
      guard let run = segment.claimPages(1) else { return nil }
      let entry = segment.entry(of: run.address)
      entry.slab.storeRelaxed(UInt(bitPattern: heap))
      entry.setKind(.dense)
      return run.address
    }?.0
  }

  func releasePage(_ address: UInt) {
    segments.first { segment in
      guard segment.contains(address) else { return false }
      segment.releasePages(address, 1)
      return true
    }
  }
}

extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// The thread's dense heap, behind its record; only pools that choose one use it.
  var dense: DenseHeapPointer {
    (UnsafeMutableRawPointer(self) + Self.denseOffset).assumingMemoryBound(to: DenseHeap.self)
  }

  /// The thread heap that a dense heap belongs to.
  static func of(_ dense: DenseHeapPointer) -> ThreadHeapPointer {
    (UnsafeMutableRawPointer(dense) - Self.denseOffset).assumingMemoryBound(to: ThreadHeap.self)
  }

  private static var denseOffset: Int { (MemoryLayout<ThreadHeap>.stride + 63) & ~63 }
  static var recordByteCount: UInt { UInt(denseOffset + MemoryLayout<DenseHeap>.stride) }

  var densePages: DensePages { DensePages(segments: pointee.registry.pointee.segments, heap: dense) }

  var isOwnedByThisThread: Bool { owner.loadRelaxed() == UInt(bitPattern: threadBlock()) }

  /// Takes back an object of the dense heap, on any thread; what is wrong with it, when something is.
  func deallocateDense(_ address: UInt) -> DenseHeapFault? {
    if isOwnedByThisThread { return dense.deallocate(address, to: densePages) }
    switch dense.freeRemotely(address) {
    case .told: return nil
    case .first(let page):
      dense.push(page)
      fenceFull()  // pairs with the fence in abandon(afterVisit:): one of the two sees what the other wrote
      lookAfter()
      return nil
    case .fault(let fault): return fault
    }
  }
}
