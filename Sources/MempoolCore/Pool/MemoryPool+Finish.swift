import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// Ends the use of this pool: everything goes back to the system but the address space, so that later calls work. An
  /// object that is still live is reported, the first of them by its address, and the process aborts. No other call on the
  /// pool may be running. O(pages), and O(items) of the slabs in use.
  public func finish(call: StaticString) {
    if isReady {
      registry.releaseQuarantines(CallName(call))
      // What others have freed counts as live until it is collected.
      for index in 0..<registry.count {
        if let heap = registry.heap(index) { _ = heap.dense.defragment(to: heap.densePages) }
      }
    }
    let live = firstLiveObject
    if live != 0 { misuse(call, live, "still live") }
    purge()
  }

  /// The address of some live object; 0 when there is none. Right only when no other call on the pool is running.
  private var firstLiveObject: UInt {
    guard isReady else { return 0 }
    if fallbackLive.loadRelaxed() != 0, let address = fallbackSet.first { return address }
    if spans.liveCount.loadRelaxed() != 0, let span = spans.pointee.head { return span.pointee.address }
    if self == .shared, let address = GuardRegionPointer.process.firstLive { return address }
    var found: UInt = 0
    segments.first { segment in
      for page in 0..<segment.pageCount.loadRelaxed() where found == 0 { found = segment.liveObject(inPage: page) }
      return found != 0
    }
    return found
  }
}

extension UnsafeMutablePointer where Pointee == Segment {
  /// The first live object that begins in this page, or the page itself for a slab cache's or an object pool's; 0 when there is none.
  fileprivate func liveObject(inPage page: UInt) -> UInt {
    let entry = entry(page), start = address(ofPage: page)
    if entry.isSlab {
      guard let record = entry.slab.loadPointerRelaxed() else { return 0 }
      let slab = record.assumingMemoryBound(to: Slab.self)
      // A slab of several pages has an entry a page.
      return slab.address == start ? slab.liveItem : 0
    }
    switch entry.kind {
    case .fragments:
      let heads = entry.heads.loadRelaxed()
      return heads == 0 ? 0 : start + UInt(heads.trailingZeroBitCount) << Page.fragmentShift
    case .longRun, .cache, .object: return start
    case .dense:
      Memcheck.silence()
      defer { Memcheck.listen() }
      return DensePagePointer(bitPattern: start).unsafelyUnwrapped.pointee.liveBlocks == 0 ? 0 : start
    case .longRunRest, .metadata, .guardPage: return 0
    }
  }
}

extension UnsafeMutablePointer where Pointee == Slab {
  /// The address of some live item; 0 when there is none.
  fileprivate var liveItem: UInt {
    for item in 1..<UInt(pointee.carved) + 1 where link(item) == SlabPointer.taken && !isUncollected(item) {
      return address(item)
    }
    return 0
  }
}
