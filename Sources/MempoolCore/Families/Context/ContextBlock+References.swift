/// What a reference has instead of a user's bytes. Of those to one block, each is in a list.
struct ContextReference {
  // References to the same block.
  var next: ContextPointer?
  var previous: ContextPointer?
  // Nil when the block is gone all the same.
  var target: ContextPointer?
  let location: UnsafePointer<CChar>?

  static var byteCount: UInt { 32 }
}

typealias ContextReferencePointer = UnsafeMutablePointer<ContextReference>

// References: small blocks that keep another one, which has a parent elsewhere. A block with references is not freed while they stay.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  var reference: ContextReferencePointer { payload.assumingMemoryBound(to: ContextReference.self) }

  /// What a reference stands for.
  public var target: ContextPointer? { isReference ? reference.pointee.target : nil }

  /// Where a reference was made.
  public var referenceLocation: UnsafePointer<CChar>? { isReference ? reference.pointee.location : nil }

  /// The newest reference to this block.
  public var newestReference: ContextPointer? { extras?.pointee.reference }

  /// The one before.
  public var olderReference: ContextPointer? { isReference ? reference.pointee.next : nil }

  /// O(references).
  public var referenceCount: UInt {
    var count: UInt = 0
    var next = newestReference
    while let here = next {
      count += 1
      next = here.reference.pointee.next
    }
    return count
  }

  /// Makes a reference to this block below `owner`, which may have several; false when there is no memory, or a limit of the owner's forbids it.
  public func addReference(from owner: ContextPointer?, at location: UnsafePointer<CChar>?) -> Bool {
    guard let extras = makeExtras(),
      let block = Self.allocate(ContextReference.byteCount, under: owner, isStrict: isStrict)
    else { return false }
    block.set(ContextBlock.Mark.isReference)
    block.home?.pointee.isPlain = false
    let first = extras.pointee.reference
    block.payload.bindMemory(to: ContextReference.self, capacity: 1).initialize(
      to: ContextReference(next: first, previous: nil, target: self, location: location))
    if let first { first.reference.pointee.previous = block }
    extras.pointee.reference = block
    return true
  }

  /// Of a reference that goes: takes it out of its block's list.
  func endReference() {
    let record = reference
    guard let target = record.pointee.target, let extras = target.extras else { return }
    let (next, previous) = (record.pointee.next, record.pointee.previous)
    if let previous { previous.reference.pointee.next = next } else { extras.pointee.reference = next }
    if let next { next.reference.pointee.previous = previous }
    record.pointee.target = nil
  }

  /// Of a block that goes though there are references to it, which its destructor has made: they refer to nothing.
  func forgetReferences() {
    while let reference = newestReference { reference.endReference() }
  }

  /// The newest reference to this block that hangs below `owner`; nil stands for roots.
  public func reference(from owner: ContextPointer?) -> ContextPointer? {
    var next = newestReference
    while let here = next {
      if here.pointee.parent == owner { return here }
      next = here.reference.pointee.next
    }
    return nil
  }

  /// Whether nothing but its parent joins the block, with what hangs below it, to blocks elsewhere: no reference, and no pool in which blocks of both
  /// lie. O(blocks), and O(depth) more for each reference and each block that lies in another pool than its parent's children should.
  public var standsAlone: Bool {
    var isAlone = true
    // Without those that their pool's own block counts.
    var inPools: UInt = 0, counted: UInt = 0
    forEach { block in
      if isAlone { isAlone = block.isJoined(toNothingOutside: self) }
      if block.pointee.poolOffset != 0 { inPools += 1 }
      if block.isPool { counted += block.pool.pointee.count - 1 }
    }
    return isAlone && inPools == counted
  }

  private func isJoined(toNothingOutside top: ContextPointer) -> Bool {
    if let target, !top.isAbove(target, depth: ~0) { return false }
    var reference = newestReference
    while let here = reference {
      if !top.isAbove(here, depth: ~0) { return false }
      reference = here.reference.pointee.next
    }
    // Its parent's is one that was looked at.
    guard let home, self == top || home != pointee.parent?.poolForChildren else { return true }
    return home.pointee.isOpen && top.isAbove(home.pointee.block, depth: ~0)
  }

  /// Takes away what `owner` has of this block: its reference, or, when it is the parent, the block itself, as ``leaveParent(at:)`` does. False when it
  /// is neither, or a destructor refuses.
  public func unlink(from owner: ContextPointer?, at location: UnsafePointer<CChar>?) -> Bool {
    let owner = owner ?? ContextProcess.tracker
    if let reference = reference(from: owner) { return reference.free(at: location) }
    return pointee.parent == owner && leaveParent(at: location)
  }

  /// Frees the block, or, when there are references to it, moves it to its newest referrer. False when a destructor refuses.
  @discardableResult
  public func leaveParent(at location: UnsafePointer<CChar>?) -> Bool {
    while let newest = newestReference {
      let heir = newest.pointee.parent
      if !newest.free(at: location) { return false }
      // Below itself it would hang nowhere.
      if let heir, isAbove(heir, depth: ~0) { continue }
      move(to: heir)
      return true
    }
    return free(at: location)
  }
}
