extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// Whether links, marks, charges and pools of this block and all below it agree. With nobody in a call.
  public func checkInvariants() -> Bool {
    var isRight = true
    forEach { block in
      if isRight { isRight = block.agrees() }
    }
    return isRight
  }

  private func agrees() -> Bool {
    var previous: ContextPointer?
    var child = pointee.child
    while let here = child {
      guard here.pointee.identity == here.mark, here.pointee.parent == self, here.pointee.previous == previous else {
        return broken("its children")
      }
      if isMarked(ContextBlock.Mark.isLimited), !here.isMarked(ContextBlock.Mark.isLimited) {
        return broken("a limit that is not known")
      }
      if let pool = poolForChildren, pool.pointee.isPlain, here.home != pool {
        return broken("a stranger below a plain pool")
      }
      previous = here
      child = here.pointee.next
    }
    if let limit, limit.charged != subtreeCharge { return broken("a wrong charge") }
    var reference = newestReference
    while let here = reference {
      guard here.target == self else { return broken("its references") }
      reference = here.reference.pointee.next
    }
    return !isPool || pool.agrees()
  }

  fileprivate func broken(_ what: StaticString) -> Bool { reportBroken("context", UInt(bitPattern: payload), what) }
}

extension UnsafeMutablePointer where Pointee == ContextPool {
  // Every byte is of a block or of a run.
  fileprivate func agrees() -> Bool {
    let block = pointee.block
    var next = first
    var count: UInt = pointee.isOpen ? 1 : 0
    var (runs, followsFree, isPlain) = (0, false, true)
    while next < pointee.end {
      let here = ContextPointer(bitPattern: next).unsafelyUnwrapped
      if here.isRun {
        if followsFree { return block.broken("two runs side by side") }
        followsFree = true
        runs += 1
        next += here.pointee.bits
        let last = UnsafePointer<UInt>(bitPattern: next - 8).unsafelyUnwrapped
        if last.pointee != here.address { return block.broken("a run's end") }
        continue
      }
      guard here.pointee.identity == here.mark || here.isFreed && here.isPool, here.home == self,
        here.isMarked(ContextBlock.Mark.followsFree) == followsFree
      else { return block.broken("a block in its pool") }
      followsFree = false
      count += 1
      if here.isPool || here.pointee.tail != 0 || here.isReference || !block.isAbove(here, depth: ~0) {
        isPlain = false
      }
      next += here.extent
    }
    if followsFree || next != pointee.end || next > pointee.limit + 15 { return block.broken("its pool's end") }
    if count != pointee.count { return block.broken("its pool's count") }
    if pointee.isPlain, !isPlain { return block.broken("its pool is not plain") }
    var run = pointee.run
    while let here = run {
      runs -= 1
      run = here.pointee.next
    }
    return runs == 0 || block.broken("its pool's runs")
  }
}
