// Objects from the fallback, for requests that no blocks can meet. All of it with the pool's lock held, if it has one.

extension UnsafeMutablePointer where Pointee == BufferPool {
  private var tree: FallbackTree { FallbackTree(pool: self) }

  // As objects in blocks are; the fallback itself promises 8.
  private var naturalAlignment: UInt { min(pointee.blockSize & (0 &- pointee.blockSize), BlockLayout.alignment) }

  func allocateFromFallback(_ byteCount: UInt, _ alignment: UInt) -> UnsafeMutableRawPointer? {
    guard let fallback = pointee.fallback else { return nil }
    let alignment = max(alignment, naturalAlignment, 8)
    let (whole, overflow) = byteCount.addingReportingOverflow(FallbackTree.headerBytes + alignment - 8)
    guard !overflow, let start = fallback.allocate(whole) else { return nil }
    guard let node = enter(UInt(bitPattern: start), byteCount, alignment) else {
      fallback.deallocate(start)
      return nil
    }
    pointee.fallbackCount &+= 1
    return UnsafeMutableRawPointer(bitPattern: node)
  }

  /// Writes the header of an object in new memory from the fallback; nil when that is not aligned as it has to be.
  private func enter(_ start: UInt, _ byteCount: UInt, _ alignment: UInt) -> UInt? {
    guard start % 8 == 0 else { return nil }
    let node = (start + FallbackTree.headerBytes + alignment - 1) & ~(alignment - 1)
    tree.header(node).initialize(to: FallbackTree.Header(byteCount: byteCount, offset: node - start))
    tree.insertNode(node)
    pointee.fallbackLive += 1
    return node
  }

  /// Nil for what did not come from the fallback.
  func fallbackNode(_ pointer: UnsafeRawPointer) -> UInt? {
    let address = UInt(bitPattern: pointer)
    return pointee.fallbackRoot != 0 && address % 8 == 0 && tree.containsNode(address) ? address : nil
  }

  func fallbackSize(_ node: UInt) -> UInt { tree.header(node).pointee.byteCount }

  func giveBackToFallback(_ node: UInt) {
    if !tree.removeNode(node) { tree.damaged(at: node) }
    pointee.fallbackLive -= 1
    guard let start = UnsafeMutableRawPointer(bitPattern: node - tree.header(node).pointee.offset) else { return }
    pointee.fallback?.deallocate(start)
  }

  /// Nil, and nothing is changed, when the fallback has no memory.
  func reallocateInFallback(_ node: UInt, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
    let kept = min(fallbackSize(node), byteCount), offset = tree.header(node).pointee.offset
    // Where it goes it may have to be shifted.
    let spare = naturalAlignment > 8 ? naturalAlignment - 8 : 0
    let (whole, overflow) = byteCount.addingReportingOverflow(offset + spare)
    guard !overflow, let fallback = pointee.fallback, let old = UnsafeMutableRawPointer(bitPattern: node - offset)
    else { return nil }
    if !tree.removeNode(node) { tree.damaged(at: node) }
    guard let moved = fallback.reallocate(old, whole) else {
      tree.insertNode(node)
      return nil
    }
    pointee.fallbackLive -= 1
    // Right behind the header, where it is aligned as objects in blocks are.
    let start = UInt(bitPattern: moved), alignment = max(naturalAlignment, 8)
    let shifted = (start + FallbackTree.headerBytes + alignment - 1) & ~(alignment - 1)
    let target = moved + Int(shifted - start)
    if shifted != start + offset {
      target.copyMemory(from: moved + Int(offset), byteCount: Int(kept))
    }
    tree.header(shifted).initialize(to: FallbackTree.Header(byteCount: byteCount, offset: shifted - start))
    tree.insertNode(shifted)
    pointee.fallbackLive += 1
    return target
  }

  func drainFallback() {
    while pointee.fallbackRoot != 0 { giveBackToFallback(pointee.fallbackRoot) }
  }
}
