extension UnsafeMutablePointer where Pointee == BufferPool {
  /// Makes an object hold `byteCount` bytes and keeps its first min(old, new) bytes. Nil for `pointer` allocates; 0 bytes give the
  /// object back, and nil is returned. After an error the object is as it was.
  ///
  /// An object stays where it is when it shrinks, and when the blocks behind it are free. Otherwise it moves to the first room that
  /// there would be without it: that may overlap where it was, so that no memory for two copies is needed. It is aligned then as said
  /// here, and not as it was.
  public func reallocate(
    _ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt, alignment: UInt = 1
  ) throws(BufferPoolError) -> UnsafeMutableRawPointer? {
    guard let pointer else { return try allocate(byteCount, alignment: alignment) }
    guard byteCount > 0 else {
      try deallocate(pointer)
      return nil
    }
    try acquire()
    defer { release() }
    let index: UInt
    switch try locate(pointer) {
    case .blocks(let first): index = first
    case .fallback(let node):
      guard let moved = reallocateInFallback(node, byteCount) else { throw .outOfMemory }
      return moved
    }
    let old = length(index), new = blocks(for: byteCount)
    if let moved = resize(index, old, new, alignment) {
      pointee.requestedBytes &+= byteCount
      pointee.grantedBlocks &+= new
      return self.pointer(moved)
    }
    pointee.misses &+= 1
    guard let moved = allocateFromFallback(byteCount, alignment) else { throw .outOfMemory }
    // Not all of `byteCount`: had it been less than the old blocks, it would have shrunk in place.
    moved.copyMemory(from: pointer, byteCount: Int(old * pointee.blockSize))
    vacate(index, old)
    pointee.objects -= 1
    return moved
  }

  /// Gives an object another length; the index of its first block, nil when there is no room. Objects in blocks only.
  private func resize(_ index: UInt, _ old: UInt, _ new: UInt, _ alignment: UInt) -> UInt? {
    if new <= old {
      if new < old { vacate(index + new, old - new) }
      return index
    }
    let count = pointee.blockCount
    guard new - old <= count - pointee.usedBlocks else { return nil }
    let end = index + old
    if new <= count - index, used.firstSet(end, index + new) == index + new {
      used.set(end, new - old)
      continued.set(end, new - old)
      pointee.usedBlocks += new - old
      pointee.peakBlocks = max(pointee.peakBlocks, pointee.usedBlocks)
      if pointee.firstFree == end { pointee.firstFree = index + new }
      return index
    }
    return move(index, old, new, alignment)
  }

  private func move(_ index: UInt, _ old: UInt, _ new: UInt, _ alignment: UInt) -> UInt? {
    vacate(index, old)
    guard let target = firstRoom(new, alignment) else {
      occupy(index, old)
      return nil
    }
    occupy(target, new)
    // The two may overlap.
    pointer(target).copyMemory(from: pointer(index), byteCount: Int(old * pointee.blockSize))
    return target
  }
}
