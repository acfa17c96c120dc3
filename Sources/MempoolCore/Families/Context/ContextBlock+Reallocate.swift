// Giving a block another size.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// Gives the block another size, and a name unless it only shrinks or grows in place at a pool's end; its new place, or nil, and it is as it was: when there
  /// is no memory, a limit forbids it, there are references to it, it is a pool, or is being freed. What hangs below it goes with it.
  ///
  /// In a pool it shrinks in place, and grows in place when it is the last; a pool's only block moves to the pool's start for it. Elsewhere it
  /// stays when it shrinks by less than 1 KiB. O(children) when it moves.
  public func reallocate(_ byteCount: UInt, name: UnsafePointer<CChar>?) -> ContextPointer? {
    let fixed = ContextBlock.Mark.isPool | ContextBlock.Mark.freeing | ContextBlock.Mark.isReference
    guard byteCount < ContextBlock.largest, !isMarked(fixed), newestReference == nil else { return nil }
    if byteCount == size { return self }
    let isLimited = isMarked(ContextBlock.Mark.isLimited)
    if byteCount < size, !isLimited {
      if let home {
        fillEnd(from: byteCount)
        home.shrink(self, byteCount)
        return self
      }
      if size - byteCount < 1024 {
        setSize(byteCount)
        return self
      }
    }
    if let home, home.growInPlace(self, byteCount) { return self }
    let moved: ContextPointer?
    if let home { moved = home.resize(self, byteCount) } else { moved = resizeOutside(byteCount) }
    moved?.pointee.name = name
    return moved
  }

  private func fillEnd(from start: UInt) {
    if let byte = ContextProcess.fill { fill(with: byte, from: start) }
  }

  private func resizeOutside(_ byteCount: UInt) -> ContextPointer? {
    let old = size
    let isLimited = isMarked(ContextBlock.Mark.isLimited)
    if isLimited, byteCount > old, !mayCharge(byteCount - old) { return Self.refuse() }
    if byteCount < old { fillEnd(from: byteCount) }
    guard let moved = linked({ reallocateOutside(byteCount) }) else { return nil }
    if isLimited { moved.charge(byteCount &- old) }
    moved.setSize(byteCount)
    return moved
  }

  private func reallocateOutside(_ byteCount: UInt) -> ContextPointer? {
    let sum = ContextBlock.byteCount + byteCount
    // What is left behind when it moves is no block any more.
    let name = pointee.name
    forget()
    guard let memory = MemoryPoolPointer.shared.reallocate(UnsafeMutableRawPointer(self), sum, call: "context") else {
      pointee.identity = mark
      pointee.name = name
      return nil
    }
    let moved = memory.assumingMemoryBound(to: ContextBlock.self)
    if moved == self { pointee.identity = mark } else { moved.relink(from: self) }
    return moved
  }

  /// Of a block that moves: who uses it here later is told. Nobody has freed it, so no place is named.
  func forget() {
    pointee.identity = ~mark
    pointee.name = nil
  }

  /// Moves what others point to: roots have neighbours that belong to other threads.
  func linked(_ body: () -> ContextPointer?) -> ContextPointer? {
    guard let parent = pointee.parent, parent.isMarked(ContextBlock.Mark.isTracker) else { return body() }
    return ContextProcess.lock.withLock(body)
  }
}

extension UnsafeMutablePointer where Pointee == ContextPool {
  func shrink(_ block: ContextPointer, _ byteCount: UInt) {
    let old = block.extent, new = ContextPool.byteCount(of: byteCount)
    block.setSize(byteCount)
    block.setSlack(0)
    if block.address + old == pointee.end {
      pointee.end = block.address + new
    } else if old - new >= ContextBlock.byteCount {
      cut(block, new, old - new)
    } else {
      block.setSlack(old - new)
    }
  }

  /// Whether a block can have its new size where it is, beside others.
  func growInPlace(_ block: ContextPointer, _ byteCount: UInt) -> Bool {
    let old = block.extent, new = ContextPool.byteCount(of: byteCount)
    if new <= old {
      shrink(block, byteCount)
      return true
    }
    if isOnly || block.address + old != pointee.end || new > pointee.limit - block.address { return false }
    pointee.end = block.address + new
    block.setSize(byteCount)
    block.setSlack(0)
    return true
  }

  // Whether there is one block in it.
  private var isOnly: Bool { pointee.count == (pointee.isOpen ? 2 : 1) }

  /// A block's new place; nil when there is no memory.
  func resize(_ block: ContextPointer, _ byteCount: UInt) -> ContextPointer? {
    let new = ContextPool.byteCount(of: byteCount)
    guard isOnly, new <= pointee.limit - first else { return moveAway(block, byteCount, new) }
    let moved = moveToStart(block)
    pointee.end = first + new
    moved.setSize(byteCount)
    return moved
  }

  // All else in the pool is free.
  private func moveToStart(_ block: ContextPointer) -> ContextPointer {
    pointee.run = nil
    block.clear(ContextBlock.Mark.followsFree)
    block.setSlack(0)
    let place = ContextPointer(bitPattern: first).unsafelyUnwrapped
    if place == block { return block }
    _ = block.linked {
      block.forget()
      // The two may overlap.
      UnsafeMutableRawPointer(place).copyMemory(from: block, byteCount: Int(ContextBlock.byteCount + block.size))
      place.pointee.poolOffset = offset(of: place)
      place.relink(from: block)
      return nil
    }
    return place
  }

  // To another place in the pool, or out of it.
  private func moveAway(_ block: ContextPointer, _ byteCount: UInt, _ new: UInt) -> ContextPointer? {
    let inside = take(new)
    var place = inside
    let charge = ContextPointer.charge(of: byteCount, isStrict: block.isStrict)
    if place == nil {
      let isLimited = block.isMarked(ContextBlock.Mark.isLimited)
      if isLimited, !block.mayCharge(charge) { return ContextPointer.refuse() }
      let sum = ContextBlock.byteCount + byteCount
      place = MemoryPoolPointer.shared.allocate(sum, call: "context")?.assumingMemoryBound(to: ContextBlock.self)
      if place == nil { return nil }
      if isLimited { block.charge(charge) }
      pointee.isPlain = false
    }
    guard let place else { return nil }
    _ = block.linked {
      UnsafeMutableRawPointer(place).copyMemory(
        from: block, byteCount: Int(ContextBlock.byteCount + min(block.size, byteCount)))
      place.pointee.poolOffset = inside == nil ? 0 : offset(of: place)
      place.clear(ContextBlock.Mark.followsFree | ContextBlock.Mark.slack)
      place.relink(from: block)
      return nil
    }
    place.setSize(byteCount)
    block.forget()
    give(block, nil)
    return place
  }
}
