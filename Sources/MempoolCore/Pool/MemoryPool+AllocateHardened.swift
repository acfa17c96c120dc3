import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  private var hardening: Hardening { pointee.options.hardening }

  /// At least a byte behind each object is watched.
  private func room(_ byteCount: UInt) -> UInt { hardening.hasCanaries ? byteCount + 1 : byteCount }

  /// Objects from a page on lie between guards, where memory comes from the system as it is needed.
  private static var leastGuarded: UInt { Page.byteCount }

  /// As ``allocate(_:call:)``, in a hardened pool. All bytes are zero, unless a dense heap has the object.
  func allocateHardened(_ byteCount: UInt, alignment: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    guard byteCount <= UInt(Int.max) / 2, alignment <= UInt(Int.max) / 4 else {
      return exhausted(byteCount, call, zeroed: true, alignment: alignment)
    }
    if isDense, byteCount <= SizeClass.largest, alignment <= 16 {
      return allocateSmall(byteCount, 0) ?? exhausted(byteCount, call)
    }
    let room = room(byteCount)
    if room <= SizeClass.largest, alignment <= SizeClass.largest, !isDense,
      let sizeClass = alignment <= 8 ? SizeClass.index(room) : SizeClass.index(room, alignment: alignment)
    {
      guard let pointer = allocateSmall(byteCount, sizeClass) else {
        return exhausted(byteCount, call, zeroed: true, alignment: alignment)
      }
      return handOut(pointer, byteCount, call)
    }
    return allocateHardenedLarge(byteCount, room: room, alignment: alignment, call)
  }

  // An item that the heap gave: it must be as it was left.
  private func handOut(
    _ pointer: UnsafeMutableRawPointer, _ byteCount: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer {
    let address = UInt(bitPattern: pointer), name = CallName(call)
    guard case .item(let slab, let item) = locate(pointer, name) else { misuse(name, address, "no item of a slab") }
    if !Wipe.isClear(address, slab.pointee.itemSize) { misuse(name, address, "written after it was freed") }
    slab.setRequested(item, byteCount)
    watch(
      HardenedObject(
        kind: .item(slab, item), address: address, byteCount: byteCount, capacity: slab.pointee.itemSize))
    return pointer
  }

  func watch(_ object: HardenedObject) {
    if hardening.hasCanaries { canary(object).write() }
  }

  /// A run for who must have one.
  func allocateHardenedRun(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    guard byteCount <= Self.largestByteCount,
      let object = orAfterQuarantine({ hardenedRun(byteCount, room: room(byteCount), { claimRun($0, alignment: 1) }) })
    else { return exhausted(byteCount, call, alignment: Page.fragmentByteCount, isRun: true) }
    return handOut(object)
  }

  /// A run or a span of `room` bytes, of which `byteCount` are the object's.
  func allocateHardenedLarge(
    _ byteCount: UInt, room: UInt, alignment: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer? {
    guard let object = orAfterQuarantine({ hardenedLarge(byteCount, room: room, alignment: alignment) }) else {
      return exhausted(byteCount, call, zeroed: true, alignment: alignment)
    }
    return handOut(object)
  }

  private func handOut(_ object: HardenedObject) -> UnsafeMutableRawPointer? {
    watch(object)
    threadHeap()?.requested.addUnshared(object.byteCount)
    return UnsafeMutableRawPointer(bitPattern: object.address)
  }

  private func orAfterQuarantine(_ find: () -> HardenedObject?) -> HardenedObject? {
    if let found = find() { return found }
    return registry.releaseQuarantines(CallName("malloc")) > 0 ? find() : nil
  }

  private func hardenedLarge(_ byteCount: UInt, room: UInt, alignment: UInt) -> HardenedObject? {
    let isLargest = room > SpanList.threshold || alignment > SpanList.threshold
    if isElastic {
      if hardening == .guards, room >= Self.leastGuarded, let span = spans.allocateGuarded(room, alignment: alignment) {
        return object(span, byteCount)
      }
      if isLargest {
        if let span = spans.allocate(room, alignment: alignment) { return object(span, byteCount) }
        return hardenedRun(byteCount, room: room) { claimRunAtHand($0, alignment: alignment) }
      }
    }
    if let run = hardenedRun(byteCount, room: room, { claimRun($0, alignment: alignment) }) { return run }
    guard isElastic, room > SpanList.least else { return nil }
    return spans.allocate(room, alignment: alignment).map { object($0, byteCount) }
  }

  private func object(_ span: SpanPointer, _ byteCount: UInt) -> HardenedObject {
    LargeNote.setLive(span.note, byteCount)
    return HardenedObject(
      kind: .span(span), address: span.pointee.address, byteCount: byteCount, capacity: span.pointee.byteCount)
  }

  // In whole pages, so that the page table has a word to spare for it.
  private func hardenedRun(
    _ byteCount: UInt, room: UInt, _ claim: (UInt) -> (SegmentPointer.Run, SegmentPointer)?
  ) -> HardenedObject? {
    let capacity = max((room + Page.byteCount - 1) & ~(Page.byteCount - 1), Page.byteCount)
    guard let (run, segment) = claim(capacity) else { return nil }
    let found = HardenedObject(
      kind: .run(segment), address: run.address, byteCount: byteCount, capacity: capacity)
    if !run.isZero { Wipe.clear(run.address, found.usedByteCount, mayReturn: isElastic) }
    LargeNote.setLive(segment.entry(of: run.address).slab, byteCount)
    return found
  }
}
