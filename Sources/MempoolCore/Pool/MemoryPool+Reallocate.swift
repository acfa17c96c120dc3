import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// A block of `byteCount` bytes that begins with what `pointer` held, `min(old, new)` bytes of it; nil, with `pointer`
  /// still valid, when the pool is exhausted. A nil `pointer` is an allocation. Stays where it is while it keeps at least
  /// half of its size, and where it can grow in place; otherwise allocates, copies and frees, once.
  public func reallocate(
    _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt, call: StaticString = "reallocate"
  ) -> UnsafeMutableRawPointer? {
    guard let pointer else { return allocate(byteCount, call: call) }
    guard isPlain else { return reallocateDiverted(pointer, byteCount, call) }
    return reallocateLocated(pointer, byteCount, call) { move(pointer, $0, byteCount, call) }
  }

  /// The same, of any pool that has memory of its own; `move` takes to another place what has so many usable bytes.
  @inline(__always)
  func reallocateLocated(
    _ pointer: UnsafeMutableRawPointer, _ byteCount: UInt, _ call: StaticString,
    move: (UInt) -> UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    let usable: UInt
    let name = CallName(call, for: .use)
    switch locate(pointer, name) {
    case .item(let slab, _): usable = slab.pointee.itemSize
    case .run(let segment, let head, let count):
      usable = count << Page.fragmentShift
      if byteCount > usable, byteCount <= UInt(Int.max) {
        let wanted = Self.fragments(byteCount), roomy = Self.fragments(Self.roomy(byteCount))
        if segment.extendRun(head, count, to: roomy) || segment.extendRun(head, count, to: wanted) {
          return stays(pointer, byteCount, usable)
        }
      }
    case .span(let span):
      usable = span.pointee.byteCount
      // Memcheck knows no object that moves: there it is copied.
      if !Memcheck.isRunning, byteCount > SpanList.least, byteCount <= UInt(Int.max),
        byteCount > usable || byteCount < usable / 2
      {
        let wanted = byteCount > usable ? Self.roomy(byteCount) : byteCount
        if let address = spans.resize(span, to: wanted) ?? spans.resize(span, to: byteCount) {
          return UnsafeMutableRawPointer(bitPattern: address)
        }
      }
    case .dense(let heap):
      let isOwner = ThreadHeapPointer.of(heap).isOwnedByThisThread
      let resized = heap.resize(UInt(bitPattern: pointer), to: byteCount, isOwner: isOwner)
      switch resized {
      case .inPlace: return stays(pointer, byteCount, usableSize(UInt(bitPattern: pointer), in: heap, name))
      case .mustMove: usable = usableSize(UInt(bitPattern: pointer), in: heap, name)
      case .fault(let fault): misuse(name, UInt(bitPattern: pointer), fault.text(.use))
      }
      // As the heap says: it must move, even if it would fit.
      return move(usable)
    case .system:
      usable = UInt(mp_system_usable_size(pointer))
    case .guarded(let object):
      // It ends, or begins, where its page does: it cannot grow, and its end would not be watched if it shrank.
      return move(object.byteCount)
    }
    if byteCount <= usable, byteCount >= usable / 2 { return stays(pointer, byteCount, usable) }
    return move(usable)
  }

  /// An object of another size that is where it was; `usable` says how long it was at most.
  @inline(__always)
  private func stays(
    _ pointer: UnsafeMutableRawPointer, _ byteCount: UInt, _ usable: @autoclosure () -> UInt
  ) -> UnsafeMutableRawPointer {
    if Memcheck.isRunning { tellResized(UInt(bitPattern: pointer), to: byteCount, usable: usable()) }
    return pointer
  }

  private func move(
    _ pointer: UnsafeMutableRawPointer, _ usable: UInt, _ byteCount: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer? {
    guard let block = told(allocateToMove(usable, byteCount, call), byteCount) else { return nil }
    block.copyMemory(
      from: pointer, byteCount: Int(Memcheck.accessible(UInt(bitPattern: pointer), min(usable, byteCount))))
    deallocate(pointer, call: call)
    return block
  }

  /// With room for more: what has grown will grow again. At most an eighth, which a large object does not touch before it
  /// needs it.
  private static func roomy(_ byteCount: UInt) -> UInt {
    byteCount <= SizeClass.largest ? byteCount : byteCount + byteCount / 8
  }

  private func allocateToMove(_ usable: UInt, _ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    guard byteCount > usable, byteCount > SizeClass.largest, byteCount <= UInt(Int.max) / 2 else {
      return allocateUntold(byteCount, call: call)
    }
    // A span moves without copying when it grows again.
    if byteCount > SpanList.least, isElastic, let span = spans.allocate(Self.roomy(byteCount), alignment: 1) {
      threadHeap()?.requested.addUnshared(byteCount)
      return UnsafeMutableRawPointer(bitPattern: span.pointee.address)
    }
    if isInSlabs(Self.roomy(byteCount)) { return allocateUntold(Self.roomy(byteCount), call: call) }
    return tryAllocateLarge(Self.roomy(byteCount)) ?? allocateUntold(byteCount, call: call)
  }
}
