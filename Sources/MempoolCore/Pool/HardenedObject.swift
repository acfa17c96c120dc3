/// A live object of a hardened pool: where it is, what was asked for, and what it got.
struct HardenedObject {
  enum Kind {
    case item(SlabPointer, UInt)
    case run(SegmentPointer)
    case span(SpanPointer)
  }

  let kind: Kind
  let address: UInt
  let byteCount: UInt
  let capacity: UInt

  private var note: AtomicPointer {
    switch kind {
    case .item: AtomicPointer(address: address)
    case .run(let segment): segment.entry(of: address).slab
    case .span(let span): span.note
    }
  }

  /// Takes the object back: true for exactly one of those who try.
  func takeBack() -> Bool {
    if case .item(let slab, let item) = kind { return slab.takeBack(item, byteCount) }
    return LargeNote.take(note, byteCount)
  }

  /// Changes what was asked for; false: somebody has given the object back, or changed it.
  func resize(to new: UInt) -> Bool {
    if case .item(let slab, let item) = kind { return slab.resize(item, from: byteCount, to: new) }
    return LargeNote.resize(note, from: byteCount, to: new)
  }

  /// Its bytes that its user may have written to, and what watches over their end.
  var usedByteCount: UInt {
    if case .item = kind { return capacity }
    return SegmentPointer.usedByteCount(byteCount, capacity)
  }
}

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// The live object that begins at `pointer`; nil for one that hardening does not know, of a dense heap or the system's. Reports
  /// anything else and aborts. O(1).
  func hardenedObject(_ pointer: UnsafeRawPointer, _ call: CallName) -> HardenedObject? {
    let address = UInt(bitPattern: pointer)
    func object(_ kind: HardenedObject.Kind, _ byteCount: UInt?, _ capacity: UInt) -> HardenedObject {
      guard let byteCount else { misuse(call, address, call.purpose.freed) }
      return HardenedObject(kind: kind, address: address, byteCount: byteCount, capacity: capacity)
    }
    switch locate(pointer, call) {
    case .item(let slab, let item): return object(.item(slab, item), slab.requested(item), slab.pointee.itemSize)
    case .run(let segment, _, let count):
      return object(.run(segment), LargeNote.byteCount(segment.entry(of: address).slab), count << Page.fragmentShift)
    case .span(let span): return object(.span(span), LargeNote.byteCount(span.note), span.pointee.byteCount)
    // A hardened pool samples nothing.
    case .dense, .system, .guarded: return nil
    }
  }

  func canary(_ object: HardenedObject) -> Canary {
    var hasNext = false
    if case .item = object.kind { hasNext = true }
    return Canary(
      object.address, object.byteCount, usedByteCount: object.usedByteCount, hasNext: hasNext,
      secret: registry.pointee.secret)
  }

  /// Reports what was written where it should not have been; nothing at a level without canaries.
  func checkCanary(_ object: HardenedObject, _ call: CallName) {
    guard pointee.options.hardening.hasCanaries, let damage = canary(object).damage else { return }
    switch damage {
    case .behindTheEnd: misuse(call, object.address, "written behind its end")
    case .beforeTheNext: misuse(call, object.address, "written before the start of what lies behind it")
    }
  }
}
