/// What lies at an address, as far as object pools are concerned. O(1); the address is not followed.
enum ObjectPlace {
  case prepared(ObjectPagePointer)
  /// Where a memory pool's objects lie, and 16 bytes before it as well: both may be read.
  case readable
  /// Something else of this allocator's.
  case other
  case foreign

  init(_ address: UInt) {
    let shared = MemoryPoolPointer.shared
    if shared.isReady, shared.pointee.first.contains(address) {
      self.init(address, in: shared.pointee.first)
      return
    }
    switch AddressMap.owner(of: address) {
    case .segment(let segment) where segment.contains(address): self.init(address, in: segment)
    case .span(let span) where span.contains(address): self = span.contains(address &- 16) ? .readable : .other
    default: self = .foreign
    }
  }

  private init(_ address: UInt, in segment: SegmentPointer) {
    let entry = segment.entry(of: address)
    if !entry.isSlab, entry.kind == .object, let record = entry.slab.loadPointerRelaxed() {
      self = .prepared(record.assumingMemoryBound(to: ObjectPage.self))
      return
    }
    let before = address &- 16
    let isReadable = entry.holdsObjects && segment.contains(before) && segment.entry(of: before).holdsObjects
    self = isReadable ? .readable : .other
  }
}

extension UnsafeMutablePointer where Pointee == PageEntry {
  /// Whether a memory pool's objects lie in the page, or may.
  fileprivate var holdsObjects: Bool {
    if isSlab { return true }
    switch kind {
    case .fragments, .longRun, .longRunRest, .dense: return true
    default: return false
    }
  }
}
