// Limits: what a block and all below it may take from the system. A block lies under the limits of all blocks above it, and nothing but the tree says
// which these are: so no block can keep one that it has left, and no block's record outlives it.
//
// What lies in a pool is charged with the pool, which is charged in full from the beginning.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// What a block outside of pools is charged with. The strict figure is talloc's header, which its callers count on.
  static func charge(of byteCount: UInt, isStrict: Bool) -> UInt {
    byteCount + (isStrict ? 96 : ContextBlock.byteCount)
  }

  var ownCharge: UInt {
    if pointee.poolOffset != 0 { return 0 }
    guard isPool else { return Self.charge(of: size, isStrict: isStrict) }
    let bytes = pool.pointee.limit - address - ContextBlock.byteCount
    return Self.charge(
      of: isStrict ? bytes - ContextPool.recordBytes + ContextPool.strictCharge : bytes, isStrict: isStrict)
  }

  /// The charges of the block and all below it. O(blocks).
  var subtreeCharge: UInt {
    var sum: UInt = 0
    forEach { sum += $0.ownCharge }
    return sum
  }

  /// Visits the blocks with a limit from this one up, as long as there may be one.
  @inline(__always)
  private func forEachLimit(_ body: (ContextExtrasPointer) -> Bool) -> Bool {
    var next: ContextPointer? = self
    while let here = next, here.isMarked(ContextBlock.Mark.isLimited) {
      if here.isMarked(ContextBlock.Mark.hasLimit), let extras = here.extras, !body(extras) { return false }
      if here.isMarked(ContextBlock.Mark.isCutOff) { break }
      next = here.pointee.parent
    }
    return true
  }

  /// Whether no limit forbids that `byteCount` more hang below this block. O(depth below the highest limit).
  @inline(never)
  func mayCharge(_ byteCount: UInt) -> Bool {
    forEachLimit { extras in
      let limit = extras.pointee.limit, charged = extras.pointee.charged
      return limit == 0 || charged < limit && byteCount <= limit - charged
    }
  }

  /// Counts, if no limit forbids it.
  @inline(never)
  func tryCharge(_ byteCount: UInt) -> Bool {
    let isAllowed = mayCharge(byteCount)
    if isAllowed { charge(byteCount) }
    return isAllowed
  }

  /// Counts, up or, by a number that wraps, down.
  @inline(never)
  func charge(_ byteCount: UInt) {
    _ = forEachLimit { extras in
      extras.pointee.charged &+= byteCount
      return true
    }
  }

  /// Takes what hangs at this block from the limits above `old` to those above `new`.
  func moveCharge(from old: ContextPointer?, to new: ContextPointer?) {
    let sum = subtreeCharge
    old?.charge(0 &- sum)
    guard let new, new.isMarked(ContextBlock.Mark.isLimited) else { return }
    new.charge(sum)
    forEach { $0.set(ContextBlock.Mark.isLimited) }
  }

  /// Limits what the block and all below it may take, headers included: 0 for no limit. False when there is no memory to note it. What they have
  /// already may exceed it. O(blocks) the first time.
  public func setLimit(_ limit: UInt) -> Bool {
    guard let extras = makeExtras() else { return false }
    extras.pointee.limit = limit
    if isMarked(ContextBlock.Mark.hasLimit) { return true }
    extras.pointee.charged = subtreeCharge
    set(ContextBlock.Mark.hasLimit)
    forEach { $0.set(ContextBlock.Mark.isLimited) }
    return true
  }

  /// The block's own limit, and what is charged to it; nil when it has none.
  public var limit: (limit: UInt, charged: UInt)? {
    guard isMarked(ContextBlock.Mark.hasLimit), let extras else { return nil }
    return (extras.pointee.limit, extras.pointee.charged)
  }
}
