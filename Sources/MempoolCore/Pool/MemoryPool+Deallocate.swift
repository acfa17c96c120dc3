public import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// Gives an object back. Nil is nothing to do; anything that is not a live object of this pool is reported on one line,
  /// and the process aborts. Any thread. The owner's usual case is some thirty instructions, without a call, a lock or an
  /// atomic read-modify-write; another thread's is one read-modify-write, most of the time. Keeps errno.
  ///
  /// Memory ordering: what the caller wrote to the object is visible to whoever gets it next.
  @inlinable @inline(__always)
  public func deallocate(_ pointer: UnsafeMutableRawPointer?, call: StaticString = "deallocate") {
    tellFreed(pointer)
    deallocateUntold(pointer, call: call)
  }

  /// ``deallocate(_:call:)``, and memcheck knows already.
  @inlinable @inline(__always)
  func deallocateUntold(_ pointer: UnsafeMutableRawPointer?, call: StaticString) {
    guard self == .shared else { return deallocateSlow(pointer, CallName(call)) }
    let address = UInt(bitPattern: pointer)
    let block = threadBlock()
    let offset = address &- block.pointee.base
    var slab: SlabPointer?
    var item: UInt = 0
    if offset < block.pointee.byte_count {
      let entries = block.pointee.pages.unsafelyUnwrapped.assumingMemoryBound(to: PageEntry.self)
      let entry = entries + Int(bitPattern: offset >> Page.shift)
      let reciprocal = entry.reciprocal.loadRelaxed()
      let (number, rest) = (address &- entry.base.loadRelaxed()).multipliedFullWidth(by: reciprocal)
      // No slab: reciprocal is 0, so rest < reciprocal fails, as it does inside an item.
      if rest < reciprocal {
        let record = entry.slab.loadPointerRelaxed().unsafelyUnwrapped.assumingMemoryBound(to: Slab.self)
        slab = record
        item = number
        if entry.heap.loadRelaxed() == block.pointee.real_heap {
          if record.mayPut(number) {
            if !record.put(number) { return }
            item = 0
          } else {
            item |= Self.isOwn
          }
        }
      }
    }
    // One call and no tail call: so the usual case sets up no frame.
    Self.deallocateRest(slab, CallName(call), item, address)
    fenceCompiler()
  }

  // Set in an item's number: its slab is in this thread's first heap.
  @inlinable @inline(__always) static var isOwn: UInt { 1 << 63 }

  /// What the usual case leaves over: an item of another heap; or of this thread's, of a slab in which others have freed; or, with
  /// number 0, a slab that a put has left with work; or, without a slab, an address of whatever kind.
  ///
  /// The parameters stand in the registers where the usual case has them; another thread's item goes through without more.
  @inline(never) @usableFromInline
  static func deallocateRest(_ slab: SlabPointer?, _ call: CallName, _ item: UInt, _ address: UInt) {
    if Int(bitPattern: item) <= 0 {
      if item == 0, let slab { return slab.pointee.heap.settleOwn(slab) }
      return deallocateOwn(slab, call, item, address)
    }
    let slab = slab.unsafelyUnwrapped
    if slab.link(item) != SlabPointer.taken {
      return shared.deallocateSlow(UnsafeMutableRawPointer(bitPattern: slab.address(item)), call)
    }
    // It may be in a heap that this thread adopted.
    if threadBlock().pointee.beside != 0, slab.isOwnedByThisThread {
      guard slab.mayPut(item) else { return slab.putSlow(item, call) }
      if slab.put(item) { slab.pointee.heap.settle(slab) }
      return
    }
    slab.deallocateRemotely(item, call)
  }

  @inline(never)
  private static func deallocateOwn(_ slab: SlabPointer?, _ call: CallName, _ item: UInt, _ address: UInt) {
    guard let slab else { return shared.deallocateSlow(UnsafeMutableRawPointer(bitPattern: address), call) }
    let item = item & ~isOwn
    if slab.link(item) != SlabPointer.taken || slab.isUncollected(item) {
      return shared.deallocateSlow(UnsafeMutableRawPointer(bitPattern: address), call)
    }
    if slab.put(item) { slab.pointee.heap.settleOwn(slab) }
  }

  @inline(never) @usableFromInline
  func deallocateSlow(_ pointer: UnsafeMutableRawPointer?, _ call: CallName) {
    guard let pointer else { return }
    guard isPlain else { return deallocateDiverted(pointer, call) }
    if letRest(UInt(bitPattern: pointer)) { return }
    introduce(threadBlock())
    deallocateLocated(pointer, call)
  }

  // The usual case of a dense pool: an object of the thread's own heap, as the page table says, that may rest.
  @inline(__always)
  private func letRest(_ address: UInt) -> Bool {
    guard let heap = ownedHeap(), isDense, pointee.first.contains(address) else { return false }
    let entry = pointee.first.entry(of: address)
    return entry.isDense && entry.slab.loadRelaxed() == UInt(bitPattern: heap.dense) && heap.dense.rest(address)
  }

  /// The same, of any pool that has memory of its own.
  @inline(__always)
  func deallocateLocated(_ pointer: UnsafeMutableRawPointer, _ call: CallName) {
    switch locate(pointer, call) {
    case .item(let slab, let item): slab.deallocate(item, call)
    case .run(let segment, let head, let count):
      if !release(segment, head, count) { misuse(call, UInt(bitPattern: pointer), "double free") }
    case .span(let span):
      if !spans.take(span) { misuse(call, UInt(bitPattern: pointer), "double free") }
      spans.deallocate(span)
    case .dense(let heap):
      if let fault = ThreadHeapPointer.of(heap).deallocateDense(UInt(bitPattern: pointer)) {
        misuse(call, UInt(bitPattern: pointer), fault.text(.free))
      }
    case .system:
      if !fallbackSet.take(UInt(bitPattern: pointer)) { misuse(call, UInt(bitPattern: pointer), "double free") }
      _ = fallbackLive.fetchAddRelaxed(0 &- 1)
      mp_system_free(pointer)
    case .guarded(let object): GuardRegionPointer.process.deallocate(object, UInt(bitPattern: pointer), call)
    }
  }

  @inline(__always)
  private func release(_ segment: SegmentPointer, _ head: UInt, _ count: UInt) -> Bool {
    guard segment.retire(head, count) else { return false }
    if let size = RunSize.index(count), let heap = ownedHeap() {
      heap.keepRun(segment, head, count, size)
    } else {
      segment.releaseRetired(head, count)
    }
    return true
  }

  /// A live object, as its page or the address map tells it.
  enum Location {
    case item(SlabPointer, UInt)
    case run(SegmentPointer, head: UInt, count: UInt)
    case span(SpanPointer)
    /// In a page of this dense heap, which alone can tell more.
    case dense(DenseHeapPointer)
    /// From the system's allocator, which this pool falls back to.
    case system
    /// Sampled: alone on its page.
    case guarded(GuardedObjectPointer)
  }

  func locate(_ pointer: UnsafeRawPointer, _ call: StaticString) -> Location { locate(pointer, CallName(call)) }

  /// Finds the live object that begins at `pointer`, in O(1); reports anything else and aborts.
  func locate(_ pointer: UnsafeRawPointer, _ call: CallName) -> Location {
    let address = UInt(bitPattern: pointer)
    guard isReady else { foreign(address, call) }
    let segment: SegmentPointer
    if pointee.first.contains(address) {
      segment = pointee.first
    } else if GuardRegionPointer.process.contains(address) {
      if self != .shared { misuse(call, address, "memory of another pool") }
      return .guarded(GuardRegionPointer.process.locate(address, call))
    } else {
      // The map knows whole granules: in the last of a segment or span there may lie what is another's.
      switch AddressMap.owner(of: address) {
      case .segment(let other) where other.contains(address):
        if other.pointee.list != UInt(bitPattern: segments) { misuse(call, address, "memory of another pool") }
        segment = other
      case .span(let span) where span.contains(address):
        if span.pointee.list != spans { misuse(call, address, "memory of another pool") }
        if span.pointee.address != address { misuse(call, address, "not the start of an object") }
        return .span(span)
      default:
        return locateElsewhere(address, call)
      }
    }
    let entry = segment.entry(of: address)
    if entry.isSlab { return locate(address, in: entry, call) }
    if entry.isDense {
      return .dense(entry.slab.loadPointerRelaxed().unsafelyUnwrapped.assumingMemoryBound(to: DenseHeap.self))
    }
    switch segment.run(at: address) {
    case .run(let head, let count):
      if head != address { misuse(call, address, "not the start of an object") }
      return .run(segment, head: head, count: count)
    case .free: misuse(call, address, call.purpose.freedOrNeverAllocated)
    case .other(.cache): misuse(call, address, "an item of a slab cache: only the cache takes it back")
    case .other(.object): misuse(call, address, "an object of an object pool: only the pool takes it back")
    case .other: misuse(call, address, "never allocated")
    }
  }

  // What lies in no segment and no span of any pool's.
  private func locateElsewhere(_ address: UInt, _ call: CallName) -> Location {
    switch fallbackSet.finding(address) {
    case .live: return .system
    case .former: misuse(call, address, call.purpose.freed)
    case .inside: misuse(call, address, "not the start of an object")
    case nil: break
    }
    if spans.wasSpan(address) { misuse(call, address, call.purpose.freed) }
    if Process.isOfSomePool(address) { misuse(call, address, "memory of another pool") }
    foreign(address, call)
  }

  private func locate(_ address: UInt, in entry: PageEntryPointer, _ call: CallName) -> Location {
    let reciprocal = entry.reciprocal.loadRelaxed()
    let (item, rest) = (address &- entry.base.loadRelaxed()).multipliedFullWidth(by: reciprocal)
    let slab = entry.slab.loadPointerRelaxed().unsafelyUnwrapped.assumingMemoryBound(to: Slab.self)
    if rest >= reciprocal { misuse(call, address, "not the start of an object") }
    if item > UInt(slab.pointee.itemCount) { misuse(call, address, "never allocated") }
    if slab.link(item) != SlabPointer.taken || slab.isUncollected(item) {
      let wasNeverOut = item > UInt(slab.pointee.carved) || slab.isHardened && slab.wasNeverOut(item)
      misuse(call, address, wasNeverOut ? "never allocated" : call.purpose.freed)
    }
    return .item(slab, item)
  }

  private func foreign(_ address: UInt, _ call: CallName) -> Never {
    misuse(call, address, "not memory of this allocator")
  }

  /// Bytes that the caller may use from `pointer` on, at least what was asked for; 0 for nil. O(1).
  ///
  /// - Parameter purpose: To free, for a call that looks at the size before it frees.
  public func usableSize(
    of pointer: UnsafeRawPointer?, call: StaticString = "usableSize", for purpose: Purpose = .use
  ) -> UInt {
    guard let pointer else { return 0 }
    let call = CallName(call, for: purpose)
    guard isPlain else { return usableSizeDiverted(pointer, call) }
    return usableSize(of: pointer, call)
  }

  @inline(__always)
  func usableSize(of pointer: UnsafeRawPointer, _ call: CallName) -> UInt {
    let usable: UInt
    switch locate(pointer, call) {
    case .item(let slab, _): usable = slab.pointee.itemSize
    case .run(_, _, let count): usable = count << Page.fragmentShift
    case .span(let span): usable = span.pointee.byteCount
    case .dense(let heap): usable = usableSize(UInt(bitPattern: pointer), in: heap, call)
    case .system: return UInt(mp_system_usable_size(UnsafeMutableRawPointer(mutating: pointer)))
    case .guarded(let object): return object.byteCount
    }
    // Who asks may use it all from now on.
    if call.purpose == .use { tellResized(UInt(bitPattern: pointer), to: usable, usable: usable) }
    return usable
  }

  func usableSize(_ address: UInt, in heap: DenseHeapPointer, _ call: CallName) -> UInt {
    if let size = heap.usableSize(address) { return size }
    misuse(call, address, (heap.fault(at: address) ?? .notABlock).text(call.purpose))
  }

  /// Whether `pointer` points into memory of this pool: not whether it is a live object. O(1), any address.
  public func owns(_ pointer: UnsafeRawPointer) -> Bool {
    let address = UInt(bitPattern: pointer)
    guard isReady else { return false }
    if pointee.first.contains(address) { return true }
    if GuardRegionPointer.process.contains(address) { return self == .shared }
    switch AddressMap.owner(of: address) {
    case .segment(let segment): return segment.pointee.list == UInt(bitPattern: segments) && segment.contains(address)
    case .span(let span): return span.pointee.list == spans && span.contains(address)
    case nil: return false
    }
  }
}
