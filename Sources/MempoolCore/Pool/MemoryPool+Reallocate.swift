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
        if segment.extendRun(head, count, to: roomy) || segment.extendRun(head, count, to: wanted) { return pointer }
      }
    case .span(let span):
      usable = span.pointee.byteCount
      if byteCount > SpanList.least, byteCount <= UInt(Int.max), byteCount > usable || byteCount < usable / 2 {
        let wanted = byteCount > usable ? Self.roomy(byteCount) : byteCount
        if let address = spans.resize(span, to: wanted) ?? spans.resize(span, to: byteCount) {
          return UnsafeMutableRawPointer(bitPattern: address)
        }
      }
    case .dense(let heap):
      switch heap.resize(UInt(bitPattern: pointer), to: byteCount) {
      case .inPlace: return pointer
      case .mustMove: usable = usableSize(UInt(bitPattern: pointer), in: heap, name)
      case .fault(let fault): misuse(name, UInt(bitPattern: pointer), fault.text(.use))
      }
      // As the heap says: it must move, even if it would fit.
      return move(usable)
    case .system:
      usable = UInt(mp_system_usable_size(pointer))
    }
    if byteCount <= usable, byteCount >= usable / 2 { return pointer }
    return move(usable)
  }

  private func move(
    _ pointer: UnsafeMutableRawPointer, _ usable: UInt, _ byteCount: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer? {
    guard let block = allocateToMove(usable, byteCount, call) else { return nil }
    block.copyMemory(from: pointer, byteCount: Int(min(usable, byteCount)))
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
      return allocate(byteCount, call: call)
    }
    // A span moves without copying when it grows again.
    if byteCount > SpanList.least, isElastic, let span = spans.allocate(Self.roomy(byteCount), alignment: 1) {
      threadHeap()?.requested.addUnshared(byteCount)
      return UnsafeMutableRawPointer(bitPattern: span.pointee.address)
    }
    return tryAllocateLarge(Self.roomy(byteCount)) ?? allocate(byteCount, call: call)
  }
}
