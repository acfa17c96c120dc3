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

  private static var denseOffset: Int { (MemoryLayout<ThreadHeap>.stride + 63) & ~63 }
  static var recordByteCount: UInt { UInt(denseOffset + MemoryLayout<DenseHeap>.stride) }
}

extension UnsafeMutablePointer where Pointee == DenseHeap {
  func pages(_ segments: SegmentListPointer) -> DensePages { DensePages(segments: segments, heap: self) }
}
