import CMempoolTalloc
import MempoolCore

// Freeing and moving: talloc's names, whose documentation holds.

@c(_talloc_free) public func tallocFree(
  _ pointer: UnsafeMutableRawPointer?, _ location: UnsafePointer<CChar>?
) -> Int32 {
  guard let block = block(pointer) else { return -1 }
  if block.newestReference != nil { return freeReferenced(block, location) }
  return block.free(at: location) ? 0 : -1
}

// Refused, but where it is clear who is to have the block then.
@inline(never)
private func freeReferenced(_ block: ContextPointer, _ location: UnsafePointer<CChar>?) -> Int32 {
  if block.parent == ContextProcess.tracker, block.referenceCount == 1 {
    return block.unlink(from: nil, at: Location.unlink) ? 0 : -1
  }
  mempool_talloc_log_free(location)
  logReferences(block)
  return -1
}

private func logReferences(_ block: ContextPointer) {
  var next = block.newestReference
  while let reference = next {
    mempool_talloc_log_reference(reference.referenceLocation)
    next = reference.olderReference
  }
}

@c(talloc_free_children) public func tallocFreeChildren(_ pointer: UnsafeMutableRawPointer?) {
  block(pointer)?.freeChildren(at: Location.freeChildren)
}

@c(_talloc_set_destructor) public func tallocSetDestructor(
  _ pointer: UnsafeRawPointer?, _ destructor: ContextPointer.Destructor?
) {
  block(pointer)?.setDestructor(destructor)
}

@c(_talloc_steal_loc) public func tallocSteal(
  _ context: UnsafeRawPointer?, _ pointer: UnsafeRawPointer?, _ location: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  guard let stolen = block(pointer) else { return nil }
  if stolen.newestReference != nil, stolen.parent?.payload != UnsafeMutableRawPointer(mutating: context) {
    mempool_talloc_log_steal(location)
    logReferences(stolen)
  }
  stolen.move(to: block(context))
  return stolen.payload
}

@c(_talloc_move) public func tallocMove(
  _ context: UnsafeRawPointer?, _ place: UnsafeMutablePointer<UnsafeMutableRawPointer?>
) -> UnsafeMutableRawPointer? {
  defer { place.pointee = nil }
  return tallocSteal(context, place.pointee, Location.move)
}

@c(talloc_reparent) public func tallocReparent(
  _ old: UnsafeRawPointer?, _ new: UnsafeRawPointer?, _ pointer: UnsafeRawPointer?
) -> UnsafeMutableRawPointer? {
  guard let moved = block(pointer) else { return nil }
  let owner = old.map { ContextPointer(comparing: $0) }
  if moved.parent == owner {
    moved.move(to: block(new))
  } else if let reference = moved.reference(from: owner) {
    reference.move(to: block(new))
  } else {
    return nil
  }
  return moved.payload
}

@c(talloc_parent) public func tallocParent(_ pointer: UnsafeRawPointer?) -> UnsafeMutableRawPointer? {
  block(pointer)?.parent?.payload
}

@c(talloc_is_parent) public func tallocIsParent(_ context: UnsafeRawPointer?, _ pointer: UnsafeRawPointer?) -> Int32 {
  guard let context = block(context), let pointer else { return 0 }
  // As many parents as the original looks at.
  return ContextPointer(comparing: pointer).isAbove(context, depth: 10_000) ? 1 : 0
}

// MARK: References

@c(_talloc_reference_loc) public func tallocReference(
  _ context: UnsafeRawPointer?, _ pointer: UnsafeRawPointer?, _ location: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  guard let target = block(pointer), target.addReference(from: block(context), at: location) else { return nil }
  return target.payload
}

@c(talloc_unlink) public func tallocUnlink(
  _ context: UnsafeRawPointer?, _ pointer: UnsafeMutableRawPointer?
) -> Int32 {
  guard let target = block(pointer) else { return -1 }
  return target.unlink(from: block(context), at: Location.unlink) ? 0 : -1
}

@c(talloc_increase_ref_count) public func tallocIncreaseReferenceCount(_ pointer: UnsafeRawPointer?) -> Int32 {
  tallocReference(nil, pointer, Location.increase) == nil ? -1 : 0
}

@c(talloc_reference_count) public func tallocReferenceCount(_ pointer: UnsafeRawPointer?) -> UInt {
  block(pointer)?.referenceCount ?? 0
}
