// The tree: who hangs below whom, and walks over it in constant memory.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// Hangs a block that hangs nowhere below a parent, as its newest child.
  @inline(__always)
  func attach(to parent: ContextPointer?) {
    pointee.parent = parent
    pointee.previous = nil
    guard let parent else {
      pointee.next = nil
      return
    }
    if parent.isMarked(ContextBlock.Mark.isTracker) { return attachLocked(to: parent) }
    link(to: parent)
  }

  @inline(never)
  private func attachLocked(to parent: ContextPointer) { ContextProcess.lock.withLock { link(to: parent) } }

  @inline(__always)
  func link(to parent: ContextPointer) {
    let newest = parent.pointee.child
    pointee.next = newest
    if let newest { newest.pointee.previous = self }
    parent.pointee.child = self
  }

  /// Takes it out of its parent's children. It still knows its parent.
  @inline(__always)
  func detach() {
    guard let parent = pointee.parent else { return }
    if parent.isMarked(ContextBlock.Mark.isTracker) { return detachLocked(from: parent) }
    unlink(from: parent)
  }

  @inline(never)
  private func detachLocked(from parent: ContextPointer) { ContextProcess.lock.withLock { unlink(from: parent) } }

  @inline(__always)
  private func unlink(from parent: ContextPointer) {
    let (next, previous) = (pointee.next, pointee.previous)
    if let previous { previous.pointee.next = next } else { parent.pointee.child = next }
    if let next { next.pointee.previous = previous }
    pointee.next = nil
    pointee.previous = nil
  }

  /// After the block was copied here from `old`: who points to it does so again. O(children).
  func relink(from old: ContextPointer) {
    pointee.identity = mark
    if let previous = pointee.previous {
      previous.pointee.next = self
    } else if let parent = pointee.parent, parent.pointee.child == old {
      parent.pointee.child = self
    }
    if let next = pointee.next { next.pointee.previous = self }
    var child = pointee.child
    while let here = child {
      here.pointee.parent = self
      child = here.pointee.next
    }
  }

  /// The block after this one when a tree is walked from `top` down, newest children first; nil at its end.
  @inline(__always)
  func following(below top: ContextPointer, depth: inout Int) -> ContextPointer? {
    if let child = pointee.child {
      depth += 1
      return child
    }
    return followingBeside(below: top, depth: &depth)
  }

  /// The same, and what hangs below this one is left out.
  @inline(__always)
  func followingBeside(below top: ContextPointer, depth: inout Int) -> ContextPointer? {
    var here = self
    while here != top {
      if let next = here.pointee.next { return next }
      guard let parent = here.pointee.parent else { return nil }
      here = parent
      depth -= 1
    }
    return nil
  }

  /// Visits this block and all below it, newest children first. Any depth, in constant memory.
  @inline(__always)
  func forEach(_ body: (ContextPointer) -> Void) {
    var depth = 0
    var next: ContextPointer? = self
    while let here = next {
      here.check()
      body(here)
      next = here.following(below: self, depth: &depth)
    }
  }

  /// The newest child of a name. O(children).
  public func child(named text: UnsafePointer<CChar>) -> ContextPointer? {
    var child = pointee.child
    while let here = child {
      if !here.isReference, let name = here.name, Self.isSame(name, text) { return here }
      child = here.pointee.next
    }
    return nil
  }

  private static func isSame(_ left: UnsafePointer<CChar>, _ right: UnsafePointer<CChar>) -> Bool {
    var index = 0
    while left[index] == right[index] {
      if left[index] == 0 { return true }
      index += 1
    }
    return false
  }

  /// Moves the block, with what hangs below it, to another parent, or makes it a root. Without effect while it is being freed, and on
  /// itself. O(1), but O(blocks below it) where one of the two trees has a limit. May exceed a limit.
  public func move(to parent: ContextPointer?) {
    let parent = parent ?? ContextProcess.tracker
    if parent == self || isMarked(ContextBlock.Mark.freeing | ContextBlock.Mark.isTracker) { return }
    let isLimited = isMarked(ContextBlock.Mark.isLimited) || parent?.isMarked(ContextBlock.Mark.isLimited) ?? false
    if isLimited { moveCharge(from: pointee.parent, to: parent) }
    detach()
    attach(to: parent)
    noteStranger(below: parent)
  }

  /// A block that does not lie in the pool from which its parent's children come makes that pool, and its own, plain no more.
  @inline(__always)
  func noteStranger(below parent: ContextPointer?) {
    let own = home, pool = parent?.poolForChildren
    if own != pool {
      own?.pointee.isPlain = false
      pool?.pointee.isPlain = false
    }
  }
}
