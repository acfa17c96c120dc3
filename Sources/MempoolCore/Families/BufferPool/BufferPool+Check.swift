extension UnsafeMutablePointer where Pointee == BufferPool {
  /// Whether the record and the rows of bits agree; says on standard error where they do not. O(blocks). The lock must not be
  /// held by the caller; where it is refused nothing is looked at, and that counts as agreement.
  public func checkInvariants() -> Bool {
    guard isSealed else { return broken("no pool") }
    do throws(BufferPoolError) { try acquire() } catch { return true }
    defer { release() }
    let count = pointee.blockCount
    guard used.setCount() == pointee.usedBlocks else { return broken("a wrong count of blocks") }
    guard used.setCount() - continued.setCount() == pointee.objects else { return broken("a wrong count of objects") }
    guard used.firstClear(0, count) >= min(pointee.firstFree, count) else {
      return broken("a free block is overlooked")
    }
    guard pointee.usedBlocks <= pointee.peakBlocks, pointee.peakBlocks <= count else { return broken("a wrong peak") }
    for index in 0..<count where continued.isSet(index) {
      guard used.isSet(index), index > 0, used.isSet(index - 1) else { return broken("half an object") }
    }
    let whole = BlockBits.wordCount(count) * BlockBits.wordBits
    for index in count..<whole where used.isSet(index) || continued.isSet(index) {
      return broken("a block beyond the last")
    }
    guard FallbackTree(pool: self).countOfWellPlacedNodes() == pointee.fallbackLive else {
      return broken("a wrong count of objects of the fallback")
    }
    return true
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("buffer pool", UInt(bitPattern: self), what) }
}
