import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// A block of `byteCount` bytes that begins with what `pointer` held, `min(old, new)` bytes of it; nil, with `pointer`
  /// still valid, when the pool is exhausted. A nil `pointer` is an allocation. Stays where it is while it keeps at least
  /// half of its size, and where it can grow in place; otherwise allocates, copies and frees, once.
  public func reallocate(
    _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt, call: StaticString = "reallocate"
  ) -> UnsafeMutableRawPointer? {
    guard let pointer else { return allocate(byteCount, call: call) }
    // Asked for nothing, the system's frees: here that is a distinct object.
    if isPassThrough {
      return mp_system_realloc(pointer, Int(bitPattern: max(byteCount, 1))) ?? exhausted(byteCount, call)
    }
    let usable: UInt
    switch locate(pointer, call) {
    case .item(let slab, _): usable = slab.pointee.itemSize
    case .run(let segment, let head, let count):
      usable = count << Page.fragmentShift
      if byteCount > usable, byteCount <= UInt(Int.max) {
        let wanted = (byteCount + Page.fragmentByteCount - 1) >> Page.fragmentShift
        if segment.extendRun(head, count, to: wanted) { return pointer }
      }
    case .span(let span):
      usable = span.pointee.byteCount
      if byteCount > SpanList.threshold, byteCount <= UInt(Int.max), byteCount > usable || byteCount < usable / 2,
        let address = spans.resize(span, to: byteCount)
      {
        return UnsafeMutableRawPointer(bitPattern: address)
      }
    case .dense(let heap):
      switch heap.resize(UInt(bitPattern: pointer), to: byteCount) {
      case .inPlace: return pointer
      case .mustMove: usable = usableSize(UInt(bitPattern: pointer), in: heap, call)
      case .fault(let fault): misuse(call, UInt(bitPattern: pointer), fault.text)
      }
      // As the heap says: it must move, even if it would fit.
      return move(pointer, usable, byteCount, call)
    case .system:
      usable = UInt(mp_system_usable_size(pointer))
    }
    if byteCount <= usable, byteCount >= usable / 2 { return pointer }
    return move(pointer, usable, byteCount, call)
  }

  private func move(
    _ pointer: UnsafeMutableRawPointer, _ usable: UInt, _ byteCount: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer? {
    guard let block = allocate(byteCount, call: call) else { return nil }
    block.copyMemory(from: pointer, byteCount: Int(min(usable, byteCount)))
    deallocate(pointer, call: call)
    return block
  }
}
