// Free memory between live blocks of a pool. A run begins with a freed block's header, which still says that it is one: `bits` are its bytes, `next`
// and `previous` lead to other runs, and its last word is where it begins. No two runs are neighbours, and none is the last.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// Whether a free run of a pool begins here. A nested pool whose block was freed while objects in it live is none, and bears its marks.
  var isRun: Bool { isFreed && pointee.bits & ContextBlock.Mark.all == 0 }
}

extension UnsafeMutablePointer where Pointee == ContextPool {
  /// Free runs that are looked at for one block.
  private static var looks: Int { 8 }

  /// Joins a freed block with free neighbours; what is last then goes.
  @inline(never)
  func join(_ block: ContextPointer, _ byteCount: UInt) {
    var start = block, byteCount = byteCount
    if block.isMarked(ContextBlock.Mark.followsFree) {
      let word = UnsafePointer<UInt>(bitPattern: block.address - 8).unsafelyUnwrapped
      start = ContextPointer(bitPattern: word.pointee).unsafelyUnwrapped
      unlink(start)
      byteCount += start.pointee.bits
    }
    if start.address + byteCount < pointee.end {
      let next = ContextPointer(bitPattern: start.address + byteCount).unsafelyUnwrapped
      if next.isRun {
        unlink(next)
        byteCount += next.pointee.bits
      }
    }
    guard start.address + byteCount < pointee.end else {
      pointee.end = start.address
      return
    }
    link(start, byteCount)
    after(start, byteCount).set(ContextBlock.Mark.followsFree)
  }

  /// Memory for a block from a run: from the first of a few that is long enough.
  @inline(never)
  func takeRun(_ byteCount: UInt) -> ContextPointer? {
    var next = pointee.run
    for _ in 0..<Self.looks {
      guard let run = next else { return nil }
      let rest = Int(bitPattern: run.pointee.bits) - Int(bitPattern: byteCount)
      // What is too small for a header cannot be a run: who could take it would have to note it.
      if rest == 0 || rest >= Int(bitPattern: ContextBlock.byteCount) {
        unlink(run)
        let behind = after(run, run.pointee.bits)
        if rest > 0 { cut(run, byteCount, UInt(bitPattern: rest)) } else { behind.clear(ContextBlock.Mark.followsFree) }
        pointee.count += 1
        return run
      }
      next = run.pointee.next
    }
    return nil
  }

  /// Makes the end of a block's memory free: at least a header's bytes.
  func cut(_ block: ContextPointer, _ byteCount: UInt, _ rest: UInt) {
    let tail = ContextPointer(bitPattern: block.address + byteCount).unsafelyUnwrapped
    tail.pointee.identity = ~tail.mark
    tail.pointee.poolOffset = offset(of: tail)
    tail.pointee.name = nil
    tail.pointee.bits = 0
    join(tail, rest)
  }

  private func after(_ run: ContextPointer, _ byteCount: UInt) -> ContextPointer {
    ContextPointer(bitPattern: run.address + byteCount).unsafelyUnwrapped
  }

  private func link(_ run: ContextPointer, _ byteCount: UInt) {
    run.pointee.bits = byteCount
    run.pointee.previous = nil
    run.pointee.next = pointee.run
    if let next = pointee.run { next.pointee.previous = run }
    pointee.run = run
    UnsafeMutablePointer<UInt>(bitPattern: run.address + byteCount - 8).unsafelyUnwrapped.pointee = run.address
  }

  private func unlink(_ run: ContextPointer) {
    let (next, previous) = (run.pointee.next, run.pointee.previous)
    if let previous { previous.pointee.next = next } else { pointee.run = next }
    if let next { next.pointee.previous = previous }
  }
}
