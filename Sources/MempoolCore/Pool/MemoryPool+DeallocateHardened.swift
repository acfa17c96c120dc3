import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// As ``deallocate(_:call:)``, in a hardened pool.
  func deallocateHardened(_ pointer: UnsafeMutableRawPointer, _ call: CallName) {
    guard let object = hardenedObject(pointer, call) else { return deallocateLocated(pointer, call) }
    if !object.takeBack() { misuse(call, object.address, call.purpose.freed) }
    checkCanary(object, call)
    let saved = mp_errno_get()
    let heap = hardening.hasCanaries ? threadHeap() : nil
    switch object.kind {
    case .item(let slab, let item):
      Wipe.clear(object.address, object.capacity, mayReturn: false)
      slab.setQuarantined(item)
      let entry = Quarantine.Entry(owner: UInt(bitPattern: slab), place: item, byteCount: object.capacity)
      if heap?.keepBack(entry, in: Int(slab.pointee.sizeClass), call) != true { slab.release(item, call) }
    case .run(let segment):
      Wipe.clear(object.address, object.usedByteCount, mayReturn: isElastic)
      let entry = Quarantine.Entry(
        owner: UInt(bitPattern: segment), place: object.address, byteCount: object.capacity)
      LargeNote.setQuarantined(segment.entry(of: object.address).slab)
      if !Quarantine.takes(Quarantine.runs, object.capacity)
        || heap?.keepBack(entry, in: Quarantine.runs, call) != true
      {
        _ = segment.releaseRun(object.address, object.capacity >> Page.fragmentShift)
      }
    case .span(let span): release(span, to: heap, call)
    }
    mp_errno_set(saved)
  }

  private var hardening: Hardening { pointee.options.hardening }

  private func release(_ span: SpanPointer, to heap: ThreadHeapPointer?, _ call: CallName) {
    let entry = Quarantine.Entry(owner: UInt(bitPattern: span), place: 0, byteCount: span.pointee.byteCount)
    if let heap, Quarantine.takes(Quarantine.spans, entry.byteCount), spans.setAside(span),
      heap.keepBack(entry, in: Quarantine.spans, call)
    {
      return
    }
    if spans.take(span) { spans.deallocate(span) }
  }

  /// As ``reallocate(_:_:call:)``, in a hardened pool. In place while a new object would be of the same class, or a large one keeps
  /// at least half of what it has; else it moves.
  func reallocateHardened(
    _ pointer: UnsafeMutableRawPointer, _ byteCount: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer? {
    let name = CallName(call, for: .use)
    guard let object = hardenedObject(pointer, name) else {
      return reallocateLocated(pointer, byteCount, call) { usable in
        guard let moved = allocate(byteCount, call: call) else { return nil }
        moved.copyMemory(from: pointer, byteCount: Int(min(usable, byteCount)))
        deallocate(pointer, call: call)
        return moved
      }
    }
    checkCanary(object, name)
    if fits(byteCount, object) {
      if !object.resize(to: byteCount) { misuse(name, object.address, name.purpose.freed) }
      let resized = HardenedObject(
        kind: object.kind, address: object.address, byteCount: byteCount, capacity: object.capacity)
      // What it gives up, or what watched over its end, or what a run got and never used.
      let first = min(object.byteCount, byteCount), last = max(object.usedByteCount, resized.usedByteCount)
      Wipe.clear(object.address + first, last - first, mayReturn: isElastic)
      watch(resized)
      return pointer
    }
    guard let moved = allocateToMove(object, byteCount, call) else { return nil }
    moved.copyMemory(from: pointer, byteCount: Int(min(object.byteCount, byteCount)))
    deallocate(pointer, call: call)
    return moved
  }

  private func fits(_ byteCount: UInt, _ object: HardenedObject) -> Bool {
    guard byteCount <= object.capacity else { return false }
    let room = hardening.hasCanaries ? byteCount + 1 : byteCount
    if case .item(let slab, _) = object.kind {
      return room <= SizeClass.largest && SizeClass.index(room) == Int(slab.pointee.sizeClass)
    }
    return room <= object.capacity && room > SizeClass.largest && room >= object.capacity / 2
  }

  // What has grown will grow again: with an eighth of room, unless it shrinks or is small.
  private func allocateToMove(
    _ object: HardenedObject, _ byteCount: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer? {
    if byteCount > object.byteCount, byteCount > SizeClass.largest, byteCount <= UInt(Int.max) / 4 {
      return allocateHardenedLarge(byteCount, room: byteCount + byteCount / 8 + 1, alignment: 1, call)
    }
    return allocateHardened(byteCount, alignment: 1, call)
  }
}
