import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// `byteCount` bytes, aligned to 16 from 16 bytes on and to 8 below; nil when the pool is exhausted, with errno ENOMEM.
  /// Zero bytes give a distinct object. Any thread. In the shared pool the usual case is some twenty instructions, without a
  /// call, a lock or an atomic read-modify-write; O(1) otherwise, but for collecting what others freed.
  ///
  /// Memory ordering: what the object's last user wrote before freeing it is visible to the caller.
  @inlinable @inline(__always)
  public func allocate(_ byteCount: UInt, call: StaticString = "allocate") -> UnsafeMutableRawPointer? {
    told(allocateUntold(byteCount, call: call), byteCount)
  }

  /// ``allocate(_:call:)``, and memcheck is not told.
  @inlinable @inline(__always)
  func allocateUntold(_ byteCount: UInt, call: StaticString) -> UnsafeMutableRawPointer? {
    takeCurrent(byteCount) { allocateNext(byteCount, call) }
  }

  /// The same; never nil: when the pool is exhausted, one line on standard error and SIGABRT, whatever its options say.
  @inlinable @inline(__always)
  public func allocateOrAbort(_ byteCount: UInt, call: StaticString) -> UnsafeMutableRawPointer {
    told(takeCurrent(byteCount) { allocateNextOrAbort(byteCount, call) }, byteCount).unsafelyUnwrapped
  }

  /// An item of this thread's current slab in the shared pool, the usual case; else what `otherwise` gives.
  @inlinable @inline(__always)
  func takeCurrent(
    _ byteCount: UInt, otherwise: () -> UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    if self == .shared, byteCount <= SizeClass.largest {
      let heap = threadBlock().heapRecord.assumingMemoryBound(to: ThreadHeap.self)
      let slab = heap.current(SizeClass.index(byteCount))
      let head = slab.pointee.head
      if head != 0 {
        heap.requested.addUnshared(byteCount)
        return slab.take(head)
      }
    }
    let pointer = otherwise()
    fenceCompiler()  // no tail call: so the usual case sets up no frame
    return pointer
  }

  /// All that is not the usual case; and every allocation of a thread that is sampled, whose own usual case comes first here.
  @inline(never) @usableFromInline
  func allocateNext(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    if byteCount > SizeClass.largest { return allocateMedium(byteCount, call) }
    let block = threadBlock()
    let countdown = block.pointee.guard_countdown
    if countdown == 0 { return refill(byteCount, SizeClass.index(byteCount), call) }
    fenceCompiler()  // two tests and two branches: put into one they are seven instructions, not five
    if self != .shared { return allocateSlow(byteCount, call) }
    if countdown == 1 { return allocateGuarded(byteCount, call) }
    block.pointee.guard_countdown = countdown &- 1
    let heap = block.realHeapRecord.assumingMemoryBound(to: ThreadHeap.self)
    let slab = heap.current(SizeClass.index(byteCount))
    let head = slab.pointee.head
    if head != 0 {
      heap.requested.addUnshared(byteCount)
      return slab.take(head)
    }
    let pointer = allocateSlow(byteCount, call)
    fenceCompiler()  // no tail call, as above
    return pointer
  }

  // No small object: an item of a medium class's current slab, the usual case in the shared pool, before all others.
  @inline(__always)
  private func allocateMedium(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    guard self == .shared, byteCount <= SizeClass.largestMedium else { return allocateSlow(byteCount, call) }
    let heap = threadBlock().heapRecord.assumingMemoryBound(to: ThreadHeap.self),
      sizeClass = SizeClass.medium(byteCount)
    let slab = heap.current(sizeClass)
    let head = slab.pointee.head
    guard head != 0 else { return refill(byteCount, sizeClass, call) }
    heap.requested.addUnshared(byteCount)
    return slab.take(head)
  }

  @inline(never) @usableFromInline
  func allocateNextOrAbort(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer {
    if let pointer = allocateNext(byteCount, call) { return pointer }
    fatal(call, byteCount: byteCount, "out of memory")
  }

  /// The same, zeroed, for `count` elements; nil also when the product overflows.
  @inlinable @inline(__always)
  public func allocateZeroed(
    count: UInt, byteCount: UInt, call: StaticString = "allocateZeroed"
  ) -> UnsafeMutableRawPointer? {
    told(allocateZeroedUntold(count, byteCount, call), count &* byteCount, isZeroed: true)
  }

  @usableFromInline
  func allocateZeroedUntold(_ count: UInt, _ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    let (total, overflow) = count.multipliedReportingOverflow(by: byteCount)
    guard !overflow else {
      mp_errno_set(Int32(MP_ENOMEM))
      return nil
    }
    guard isPlain else { return allocateZeroedDiverted(total, call) }
    if !isInSlabs(total) {
      guard let (pointer, isZero) = allocateLarge(total) else { return exhausted(total, call, zeroed: true) }
      if !isZero { clear(pointer, total) }
      return pointer
    }
    let pointer = allocateUntold(total, call: call)
    if let pointer { clear(pointer, total) }
    return pointer
  }

  @inline(__always)
  private func clear(_ pointer: UnsafeMutableRawPointer, _ byteCount: UInt) {
    Memcheck.open(UInt(bitPattern: pointer), byteCount)
    pointer.initializeMemory(as: UInt8.self, repeating: 0, count: Int(byteCount))
  }

  /// The same as ``allocate(_:call:)``, aligned to a power of two; the caller has checked that it is one.
  @inlinable @inline(__always)
  public func allocateAligned(
    _ byteCount: UInt, alignment: UInt, call: StaticString = "allocateAligned"
  ) -> UnsafeMutableRawPointer? {
    told(allocateAlignedUntold(byteCount, alignment, call), byteCount)
  }

  @usableFromInline
  func allocateAlignedUntold(_ byteCount: UInt, _ alignment: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    guard start() else { return exhausted(byteCount, call) }
    if alignment <= 8 && !isDense || alignment <= 16 && byteCount >= 16 {
      return allocateUntold(byteCount, call: call)
    }
    // The dense heap aligns objects to no more than their size.
    if isDense, alignment <= 16 { return allocateUntold(max(byteCount, alignment), call: call) }
    guard isPlain else { return allocateDiverted(byteCount, alignment: alignment, call) }
    guard byteCount <= UInt(Int.max), alignment <= UInt(Int.max) / 4 else {
      return exhausted(byteCount, call, alignment: alignment)
    }
    if byteCount <= SizeClass.largest, alignment <= SizeClass.largest, !isDense,
      let sizeClass = SizeClass.index(byteCount, alignment: alignment)
    {
      guard let pointer = allocateSmall(byteCount, sizeClass) else {
        return exhausted(byteCount, call, alignment: alignment)
      }
      return pointer
    }
    let address: UInt
    if isElastic, byteCount > SpanList.threshold || alignment > SpanList.threshold {
      guard let large = allocateSpan(byteCount, alignment: alignment) else {
        return exhausted(byteCount, call, alignment: alignment)
      }
      address = large.address
    } else {
      guard let (run, _) = claimRun(byteCount, alignment: alignment) else {
        return exhausted(byteCount, call, alignment: alignment)
      }
      address = run.address
    }
    threadHeap()?.requested.addUnshared(byteCount)
    return UnsafeMutableRawPointer(bitPattern: address)
  }

  @inline(never)
  func allocateSlow(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    // The heap first: who has one knows that the pool has started, and may read its options.
    if let heap = ownedHeap(), isPlain, isDense, let address = heap.dense.takeResting(byteCount) {
      heap.requested.addUnshared(byteCount)
      return UnsafeMutableRawPointer(bitPattern: address)
    }
    guard start() else { return exhausted(byteCount, call) }
    guard isPlain else { return allocateDiverted(byteCount, alignment: 1, call) }
    let pointer: UnsafeMutableRawPointer?
    if byteCount > SizeClass.largest {
      pointer = isInSlabs(byteCount) ? allocateMediumSlow(byteCount) : allocateLarge(byteCount)?.pointer
    } else if self == .shared, threadBlock().pointee.state == UInt(MP_THREAD_NEW) {
      pointer = allocateFirst(byteCount, call)
    } else {
      pointer = allocateSmall(byteCount, SizeClass.index(byteCount))
    }
    if Purger.state.loadRelaxed() == Purger.State.none, Process.hasThreads { Process.startPurger(for: self) }
    return pointer ?? exhausted(byteCount, call)
  }

  // Of an object in slabs. Most of what comes here: the thread's current slab has nothing left, and another has.
  @inline(never)
  private func refill(_ byteCount: UInt, _ sizeClass: Int, _ call: StaticString) -> UnsafeMutableRawPointer? {
    let record = threadBlock().heapRecord
    if self == .shared, record != mp_empty_heap_address() {
      let heap = record.assumingMemoryBound(to: ThreadHeap.self)
      if let pointer = heap.takeNext(sizeClass) {
        heap.sample(byteCount, heap.current(sizeClass).pointee.itemSize)
        heap.requested.addUnshared(byteCount)
        return pointer
      }
    }
    return allocateSlow(byteCount, call)
  }

  /// Whether objects of so many bytes are items of slabs: small ones, and medium ones where there is room for slabs that are not full, and
  /// neither headers nor checks of another kind.
  func isInSlabs(_ byteCount: UInt) -> Bool {
    byteCount <= SizeClass.largest || byteCount <= SizeClass.largestMedium && isElastic && isPlain && !isDense
  }

  // A run, as long as an item would be, where there is no room for a slab.
  private func allocateMediumSlow(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
    let sizeClass = SizeClass.medium(byteCount)
    return allocateSmall(byteCount, sizeClass) ?? allocateLarge(SizeClass.itemSize(sizeClass))?.pointer
  }

  func allocateSmall(_ byteCount: UInt, _ sizeClass: Int) -> UnsafeMutableRawPointer? {
    if let heap = threadHeap() { return take(heap, byteCount, sizeClass) }
    // Past its exit handlers, or one thread too many.
    let registry = registry
    registry.lateLock.lock()
    let pointer = take(registry.late, byteCount, sizeClass)
    registry.lateLock.unlock()
    return pointer
  }

  private func take(_ heap: ThreadHeapPointer, _ byteCount: UInt, _ sizeClass: Int) -> UnsafeMutableRawPointer? {
    if isDense { return takeDense(heap, byteCount) }
    var pointer = heap.current(sizeClass).take()
    if pointer == nil {
      pointer = heap.refill(sizeClass)
      if pointer == nil, heap.reclaim() { pointer = heap.refill(sizeClass) }
      heap.sample(byteCount, heap.current(sizeClass).pointee.itemSize)
    }
    if pointer != nil { heap.requested.addUnshared(byteCount) }
    return pointer
  }

  private func takeDense(_ heap: ThreadHeapPointer, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
    let pages = heap.densePages
    var address = heap.dense.allocate(byteCount, from: pages)
    if address == nil, heap.reclaim() { address = heap.dense.allocate(byteCount, from: pages) }
    guard let address else { return nil }
    heap.requested.addUnshared(byteCount)
    return UnsafeMutableRawPointer(bitPattern: address)
  }

  private func allocateLarge(_ byteCount: UInt) -> (pointer: UnsafeMutableRawPointer, isZero: Bool)? {
    guard byteCount <= UInt(Int.max), start() else { return nil }
    let address: UInt, isZero: Bool
    if isElastic, byteCount > SpanList.threshold {
      guard let large = allocateSpan(byteCount, alignment: 1) else { return nil }
      (address, isZero) = large
    } else {
      if let kept = threadHeap()?.takeRun(Self.fragments(byteCount)) {
        address = kept
        isZero = false
      } else {
        guard let large = claimRun(byteCount) else { return nil }
        (address, isZero) = large
      }
    }
    threadHeap()?.requested.addUnshared(byteCount)
    return (UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped, isZero)
  }

  /// Memory for an object that is no small one; nil, and nothing else, when there is none.
  func tryAllocateLarge(_ byteCount: UInt) -> UnsafeMutableRawPointer? { allocateLarge(byteCount)?.pointer }

  // A run, or a span, where no segment has room for it and none can be had: the system may have address space left.
  private func claimRun(_ byteCount: UInt) -> (address: UInt, isZero: Bool)? {
    if let (run, _) = claimRun(byteCount, alignment: 1) { return (run.address, run.isZero) }
    guard isElastic, byteCount > SpanList.least else { return nil }
    return spans.allocate(byteCount, alignment: 1).map { ($0.pointee.address, true) }
  }

  // A span, or, when the system gives none, a run in a segment that the pool has. Rounded like a span, so that an object's size
  // says no less than what malloc_good_size promised.
  private func allocateSpan(_ byteCount: UInt, alignment: UInt) -> (address: UInt, isZero: Bool)? {
    if let span = spans.allocate(max(byteCount, 1), alignment: alignment) { return (span.pointee.address, true) }
    return claimRunAtHand(goodSize(byteCount), alignment: alignment).map { ($0.0.address, $0.0.isZero) }
  }

  /// A run in a segment that the pool has, which is address space that is ours already; not of more than the machine has, which no
  /// system refuses there.
  func claimRunAtHand(_ byteCount: UInt, alignment: UInt) -> (SegmentPointer.Run, SegmentPointer)? {
    let machine = UInt(mp_system_memory_size())
    guard byteCount <= machine, alignment <= machine - byteCount else { return nil }
    let count = Self.fragments(byteCount)
    // By subtraction: the sum may be larger than a word.
    let alignmentPages = alignment >> Page.shift, pages = count / Page.fragmentCount + 1
    var found: (SegmentPointer.Run, SegmentPointer)?
    segments.first { segment in
      let capacity = segment.pointee.pageCapacity
      guard capacity >= pages, capacity - pages >= alignmentPages else { return false }
      let run =
        alignment <= Page.fragmentByteCount
        ? segment.claimRun(count) : segment.claimRun(count, alignment: alignment)
      found = run.map { ($0, segment) }
      return found != nil
    }
    return found
  }

  /// Of a run that holds so many bytes.
  static func fragments(_ byteCount: UInt) -> UInt {
    RunSize.rounded(max(1, (byteCount + Page.fragmentByteCount - 1) >> Page.fragmentShift))
  }

  func claimRun(_ byteCount: UInt, alignment: UInt) -> (SegmentPointer.Run, SegmentPointer)? {
    let fragments = Self.fragments(byteCount)
    let pages = (fragments + Page.fragmentCount - 1) / Page.fragmentCount + alignment >> Page.shift
    func claim() -> (SegmentPointer.Run, SegmentPointer)? {
      segments.claim(pages: pages) { segment in
        alignment <= Page.fragmentByteCount
          ? segment.claimRun(fragments) : segment.claimRun(fragments, alignment: alignment)
      }
    }
    if let claimed = claim() { return claimed }
    return ownedHeap()?.reclaim() == true ? claim() : nil
  }

  /// What the pool does when it has no memory. Cold.
  @inline(never)
  func exhausted(
    _ byteCount: UInt, _ call: StaticString, zeroed: Bool = false, alignment: UInt = 1, isRun: Bool = false
  ) -> UnsafeMutableRawPointer? {
    _ = exhaustions.fetchAddRelaxed(1)
    switch pointee.options.exhaustion {
    case .fail: break
    // What nobody could ever serve says nothing about this pool.
    case .abort where byteCount > Self.largestByteCount || alignment > Self.largestByteCount: break
    case .abort: fatal(call, byteCount: byteCount, "out of memory")
    case .system where isPassThrough: break
    case .system:
      let size = Int(bitPattern: byteCount)
      let pointer =
        alignment > 16
        ? mp_system_memalign(Int(bitPattern: alignment), size)
        : zeroed ? mp_system_calloc(1, size) : mp_system_malloc(size)
      if let pointer {
        let kind: FallbackSet.Kind = isRun ? .run : fallbackKind(byteCount, alignment)
        if fallbackSet.insert(UInt(bitPattern: pointer), kind) {
          _ = fallbacks.fetchAddRelaxed(1)
          _ = fallbackLive.fetchAddRelaxed(1)
          return pointer
        }
        mp_system_free(pointer)
      }
    }
    mp_errno_set(Int32(MP_ENOMEM))
    return nil
  }

  // What such an object would be, had the pool had room.
  private func fallbackKind(_ byteCount: UInt, _ alignment: UInt) -> FallbackSet.Kind {
    if max(byteCount, alignment) <= SizeClass.largest { return .small }
    return isElastic && max(byteCount, alignment) > SpanList.threshold ? .span : .run
  }
}
