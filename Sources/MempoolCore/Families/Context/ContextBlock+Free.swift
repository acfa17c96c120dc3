import CMempoolShims

// Freeing. Not recursive: a block that waits for its children says which one goes on after it.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  private enum Beginning {
    // By a reference below `heir`, or by its destructor: nil.
    case refused(heir: ContextPointer?)
    case isUnderWay, begun
  }

  /// Frees the block and what hangs below it: its destructor, then its children, newest first and each likewise, then its memory. False when a reference
  /// to it is dropped instead, or its destructor refuses; then it stays. A child that refuses moves to who refers to it, or else to
  /// the block's parent. O(blocks), in constant memory; O(1) for a pool in which nothing but plain blocks lie.
  ///
  /// `location` is what a report of a later use says.
  @discardableResult
  public func free(at location: UnsafePointer<CChar>?) -> Bool {
    switch begin(below: nil, isTop: true, location) {
    case .refused: return false
    case .isUnderWay: return true
    case .begun:
      goOn(location)
      return true
    }
  }

  /// Frees all children, but for the one that is the block's own name.
  public func freeChildren(at location: UnsafePointer<CChar>?) {
    check()
    let kept = nameChild
    if kept != nil { kept?.detach() }
    while let child = pointee.child {
      if freeChild(child, isTop: true, location) { child.goOn(location) }
    }
    guard let kept else { return }
    kept.attach(to: self)
    // A pool that was empty in between took itself for a plain one.
    kept.noteStranger(below: self)
  }

  // Of a block that has begun.
  private func goOn(_ location: UnsafePointer<CChar>?) {
    var here = self
    while true {
      if here.isPool, here.pointee.child != nil, here.pool.canDropAll(fill: ContextProcess.fill) {
        here.pool.dropAll(at: location)
        here.pointee.child = nil
      }
      if let child = here.firstToGo {
        if child.isPlain, here.pointee.child == child {
          here.beginWithPlain(child)
          here = child
          if child.pointee.child != nil { continue }
        } else {
          if here.freeChild(child, isTop: false, location) { here = child }
          continue
        }
      }
      let next = here.pointee.previous
      here.release(location)
      if here == self { return }
      here = next.unsafelyUnwrapped
    }
  }

  // Whether nothing but its children stands between a block and its end.
  @inline(__always)
  private var isPlain: Bool {
    let special =
      ContextBlock.Mark.hasExtras | ContextBlock.Mark.isReference | ContextBlock.Mark.freeing
      | ContextBlock.Mark.isTracker
    return pointee.tail == 0 && pointee.bits & special == 0
  }

  // What begin(below:isTop:_:) and detach() come down to for such a block, the newest of its parent, which is being freed.
  @inline(__always)
  private func beginWithPlain(_ child: ContextPointer) {
    child.check()
    let next = child.pointee.next
    pointee.child = next
    if let next { next.pointee.previous = nil }
    child.pointee.next = nil
    child.pointee.previous = self
    child.set(ContextBlock.Mark.freeing)
  }

  // The newest child, but the name last: destructors of the others may ask for it.
  @inline(__always)
  private var firstToGo: ContextPointer? {
    guard let child = pointee.child else { return nil }
    return child.payload == UnsafeMutableRawPointer(mutating: pointee.name) ? child.pointee.next ?? child : child
  }

  // The child that holds the name, if the name is formatted.
  private var nameChild: ContextPointer? {
    guard let name = pointee.name else { return nil }
    var child = pointee.child
    while let here = child {
      if here.payload == UnsafeMutableRawPointer(mutating: name) { return here }
      child = here.pointee.next
    }
    return nil
  }

  /// Begins with a child; false when that is all for it.
  private func freeChild(_ child: ContextPointer, isTop: Bool, _ location: UnsafePointer<CChar>?) -> Bool {
    child.check()
    switch child.begin(below: self, isTop: isTop, location) {
    case .begun: return true
    case .isUnderWay: return false
    case .refused(let heir):
      // Its destructor may have moved it. A reference from the tracker names nobody, as in the original.
      if child.pointee.parent == self {
        let isHeir = heir.map { !$0.isMarked(ContextBlock.Mark.isTracker) } ?? false
        child.move(to: isHeir ? heir : pointee.parent)
      }
      return false
    }
  }

  /// What is done to a block before its children: its references, its destructor. Then it hangs nowhere any more.
  private func begin(below owner: ContextPointer?, isTop: Bool, _ location: UnsafePointer<CChar>?) -> Beginning {
    check()
    while let reference = extras?.pointee.reference {
      // A reference from below the block is no reason to keep it.
      let isFromBelow = isAbove(reference, depth: ~0), referrer = reference.pointee.parent
      reference.free(at: location)
      if !isFromBelow { return .refused(heir: referrer) }
    }
    if isMarked(ContextBlock.Mark.freeing) { return .isUnderWay }
    if isReference { endReference() }
    if pointee.tail != 0, !runDestructor() { return .refused(heir: nil) }
    // Its destructor may have moved it from below a block that is charged off as a whole.
    if isTop || pointee.parent != owner, isMarked(ContextBlock.Mark.isLimited) {
      pointee.parent?.charge(0 &- subtreeCharge)
      set(ContextBlock.Mark.isCutOff)
    }
    if isTop, isStrict, owner == nil { forgetParentUnlessNewest() } else { detach() }
    pointee.previous = owner
    set(ContextBlock.Mark.freeing)
    return .begun
  }

  // The original finds the parent of a block that it has taken out of its list only if that was the newest. A child that refuses to go
  // with such a block becomes a root there, and so in a strict tree.
  private func forgetParentUnlessNewest() {
    let parent = pointee.parent
    let isNewest = parent.map { $0.isMarked(ContextBlock.Mark.isTracker) || $0.pointee.child == self } ?? true
    detach()
    if !isNewest { pointee.parent = nil }
  }

  private func runDestructor() -> Bool {
    let function = destructor
    if function == 0 { return true }
    if isMarked(ContextBlock.Mark.destructing) { return false }
    set(ContextBlock.Mark.destructing)
    if unsafeBitCast(function, to: Destructor.self)(payload) == -1 {
      clear(ContextBlock.Mark.destructing)
      return false
    }
    clear(ContextBlock.Mark.destructing)
    destructor = 0
    return true
  }

  /// The end of a block without children.
  @inline(__always)
  private func release(_ location: UnsafePointer<CChar>?) {
    if let byte = ContextProcess.fill { fill(with: byte, from: 0) }
    pointee.identity = ~mark
    pointee.name = location
    if isMarked(ContextBlock.Mark.hasExtras) {
      dropExtras()
      if isMarked(ContextBlock.Mark.isPool) { return pool.endOfBlock(location) }
    }
    if pointee.poolOffset != 0 { return home.unsafelyUnwrapped.give(self, location) }
    giveBack()
  }

  @inline(__always)
  func giveBack() {
    MemoryPoolPointer.shared.deallocate(UnsafeMutableRawPointer(self), call: "context")
  }

  func fill(with byte: UInt8, from start: UInt) {
    if start < size {
      (payload + Int(start)).initializeMemory(as: UInt8.self, repeating: byte, count: Int(size - start))
    }
  }
}
