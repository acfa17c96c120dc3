/// The pool of a context: memory behind its block from which its descendants are served by moving a pointer.
///
/// Blocks lie one behind the other, from `first` on. The last one's memory, and that of free ones before it, is taken back by moving the pointer;
/// other free neighbours are joined to runs, which are used when the pointer is at the end. When the last block goes, all of it is free
/// again. When the pool's own block is freed while others still live, which were moved out of its tree, the memory stays until the
/// last of them goes. A record at the end of the pool's block.
struct ContextPool {
  var extras = ContextExtras()
  // The pool's own block, also after it was freed.
  let block: ContextPointer
  // No block lies here or behind. Every byte of first..<end is of a block or of a free run.
  var end: UInt
  let limit: UInt
  // == blocks in it + (block is live ? 1 : 0)
  var count: UInt = 1
  // The newest free run; the others through next.
  var run: ContextPointer?
  // All blocks in it hang below its own, and nothing else does; none has a destructor, extras or a pool, or is a reference.
  // Set again when it is empty.
  var isPlain = true
  var isOpen = true

  init(block: ContextPointer, first: UInt, limit: UInt) {
    self.block = block
    end = first
    self.limit = limit
  }

  static var recordBytes: UInt { 80 }
  /// What talloc puts in front of a pool, beside the header.
  static var strictCharge: UInt { 32 }
  /// What can be told from a block in it: 32 bits, in steps of 16.
  static var largest: UInt { 1 << 35 }
  /// Bytes of a block in a pool.
  @inline(__always)
  static func byteCount(of size: UInt) -> UInt { ContextBlock.byteCount &+ (size &+ 15) & ~15 }
}

typealias ContextPoolPointer = UnsafeMutablePointer<ContextPool>

extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// Its own pool; the block must be one.
  var pool: ContextPoolPointer { ContextPoolPointer(bitPattern: pointee.tail).unsafelyUnwrapped }

  /// The pool that it lies in.
  @inline(__always)
  var home: ContextPoolPointer? {
    let offset = UInt(pointee.poolOffset)
    return offset == 0 ? nil : ContextPoolPointer(bitPattern: address &- offset << 4).unsafelyUnwrapped
  }

  /// The pool that its children are to lie in.
  @inline(__always)
  var poolForChildren: ContextPoolPointer? { isMarked(ContextBlock.Mark.isPool) ? pool : home }

  /// Bytes that it has in its pool.
  @inline(__always)
  var extent: UInt {
    isPool ? (pool.pointee.limit &- address &+ 15) & ~15 &+ slack : plainExtent
  }

  /// The same, of a block that is no pool.
  @inline(__always)
  fileprivate var plainExtent: UInt {
    // No size is so near to the marks that rounding up would reach them.
    ContextBlock.byteCount &+ slack &+ (pointee.bits &+ 15) & ~(ContextBlock.Mark.all | 15)
  }

  @inline(__always)
  private var slack: UInt { (pointee.bits & ContextBlock.Mark.slack) >> (ContextBlock.Mark.slackShift - 4) }

  func setSlack(_ byteCount: UInt) {
    pointee.bits =
      pointee.bits & ~ContextBlock.Mark.slack | (byteCount >> 4) << ContextBlock.Mark.slackShift
  }

  /// Of a pool: bytes that are left at its end, of which a block takes its header and rounding, too. What is free between its blocks is used for others, and not
  /// counted. nil: no pool.
  public var available: UInt? { isPool ? pool.pointee.limit - pool.pointee.end : nil }

  /// Of a pool: the bytes that `count` blocks can have together when it is empty, at worst.
  public func usable(blocks count: UInt) -> UInt? {
    guard isPool else { return nil }
    let (own, overflow) = count.multipliedReportingOverflow(by: ContextBlock.byteCount + 15)
    let capacity = pool.pointee.limit - pool.first
    return overflow || own > capacity ? 0 : capacity - own
  }
}

extension UnsafeMutablePointer where Pointee == ContextPool {
  var first: UInt { UInt(bitPattern: self) &+ ContextPool.recordBytes }

  @inline(__always)
  func offset(of block: ContextPointer) -> UInt32 {
    UInt32(truncatingIfNeeded: (block.address &- UInt(bitPattern: self)) >> 4)
  }

  /// Memory for a block of `byteCount` bytes, header included: a multiple of 16.
  @inline(__always)
  func take(_ byteCount: UInt) -> ContextPointer? {
    let end = pointee.end
    guard byteCount <= pointee.limit &- end else { return takeRun(byteCount) }
    pointee.end = end &+ byteCount
    pointee.count &+= 1
    return ContextPointer(bitPattern: end).unsafelyUnwrapped
  }

  /// Takes a freed block's memory back.
  @inline(__always)
  func give(_ block: ContextPointer, _ location: UnsafePointer<CChar>?) {
    pointee.count &-= 1
    if pointee.count <= 1, settle(location) { return }
    let byteCount = block.extent
    if block.address &+ byteCount == pointee.end, !block.isMarked(ContextBlock.Mark.followsFree) {
      pointee.end = block.address
      return
    }
    join(block, byteCount)
  }

  /// When one is left: false when there is more to do.
  private func settle(_ location: UnsafePointer<CChar>?) -> Bool {
    if pointee.count == 0 {
      endOfMemory(location)
      return true
    }
    guard pointee.isOpen else { return false }
    pointee.end = first
    pointee.run = nil
    if pointee.block.pointee.child == nil { pointee.isPlain = true }
    return true
  }

  /// The pool's own block has been freed: the memory goes when nothing lies in it any more.
  func endOfBlock(_ location: UnsafePointer<CChar>?) {
    pointee.isOpen = false
    pointee.count -= 1
    if pointee.count == 0 { endOfMemory(location) }
  }

  private func endOfMemory(_ location: UnsafePointer<CChar>?) {
    let block = pointee.block
    guard let outer = block.home else { return block.giveBack() }
    block.pointee.name = location
    outer.give(block, location)
  }

  /// Whether all that hangs below the pool's block lies in it and may go at once.
  func canDropAll(fill: UInt8?) -> Bool { pointee.isPlain && fill == nil }

  /// Drops all blocks at once. O(1); in a strict tree each is compared and marked as freed, in the order of their addresses.
  func dropAll(at location: UnsafePointer<CChar>?) {
    if pointee.block.isStrict { markAllFreed(location) }
    pointee.count = pointee.isOpen ? 1 : 0
    pointee.end = first
    pointee.run = nil
  }

  private func markAllFreed(_ location: UnsafePointer<CChar>?) {
    var next = first
    let secret = ContextProcess.secret, end = pointee.end
    while next < end {
      let block = ContextPointer(bitPattern: next).unsafelyUnwrapped
      let mark = secret ^ UInt32(truncatingIfNeeded: next >> 4)
      if block.pointee.identity == mark {
        next &+= block.plainExtent
        block.pointee.identity = ~mark
        block.pointee.name = location
      } else {
        if !block.isRun { ContextProcess.fail(block) }
        next &+= block.pointee.bits
      }
    }
  }
}
