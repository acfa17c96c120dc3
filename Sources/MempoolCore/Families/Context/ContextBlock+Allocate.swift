import CMempoolShims

extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// Makes a block of `byteCount` bytes, of any content, below a parent, or a root; nil when there is no memory, or a limit forbids it, with errno
  /// ENOMEM. From the parent's pool, if it has one with room. O(1).
  @inline(__always)
  public static func allocate(
    _ byteCount: UInt, under parent: ContextPointer?, name: UnsafePointer<CChar>? = nil, isStrict: Bool
  ) -> ContextPointer? {
    guard let parent, byteCount < ContextBlock.largest else {
      return make(byteCount, byteCount, parent, name, isStrict)
    }
    guard let pool = parent.poolForChildren else { return makeOutside(byteCount, parent, name, isStrict) }
    // A pool with room, without a call.
    let end = pool.pointee.end, own = ContextPool.byteCount(of: byteCount)
    guard own <= pool.pointee.limit &- end else { return make(byteCount, byteCount, parent, name, isStrict) }
    pool.pointee.end = end &+ own
    pool.pointee.count &+= 1
    let block = ContextPointer(bitPattern: end).unsafelyUnwrapped
    block.start(parent.bits(byteCount, isStrict), pool.offset(of: block), name)
    block.begin(below: parent)
    return block
  }

  // What a child has beside its own: what its parent's marks say of all below it.
  @inline(__always)
  private func bits(_ byteCount: UInt, _ isStrict: Bool) -> UInt {
    byteCount | pointee.bits & ContextBlock.Mark.inherited | (isStrict ? ContextBlock.Mark.isStrict : 0)
  }

  // Hangs a new block below a parent that is not the tracker.
  @inline(__always)
  private func begin(below parent: ContextPointer) {
    pointee.parent = parent
    pointee.previous = nil
    link(to: parent)
  }

  // No pool, and mostly nobody who counts or locks: then without a register saved, as the other calls come last.
  @inline(never)
  private static func makeOutside(
    _ byteCount: UInt, _ parent: ContextPointer, _ name: UnsafePointer<CChar>?, _ isStrict: Bool
  ) -> ContextPointer? {
    if !parent.isMarked(ContextBlock.Mark.isLimited | ContextBlock.Mark.isTracker),
      let memory = takeCurrent(ContextBlock.byteCount &+ byteCount)
    {
      let block = memory.assumingMemoryBound(to: ContextBlock.self)
      block.start(parent.bits(byteCount, isStrict), 0, name)
      block.begin(below: parent)
      return block
    }
    return make(byteCount, byteCount, parent, name, isStrict)
  }

  // What the shared pool has at hand.
  @inline(__always)
  private static func takeCurrent(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
    let pool = MemoryPoolPointer.shared
    return pool.told(pool.takeCurrent(byteCount) { nil }, byteCount)
  }

  /// `chargedSize` is what limits count, the header apart.
  @inline(never)
  private static func make(
    _ byteCount: UInt, _ chargedSize: UInt, _ parent: ContextPointer?, _ name: UnsafePointer<CChar>?, _ isStrict: Bool
  ) -> ContextPointer? {
    guard byteCount < ContextBlock.largest else { return refuse() }
    ContextProcess.prepare()
    let parent = parent ?? ContextProcess.tracker
    var marks = isStrict ? ContextBlock.Mark.isStrict : 0
    if let parent {
      marks |= parent.pointee.bits & ContextBlock.Mark.inherited
      if let pool = parent.poolForChildren {
        if let place = pool.take(ContextPool.byteCount(of: byteCount)) {
          place.start(byteCount | marks, pool.offset(of: place), name)
          place.attach(to: parent)
          return place
        }
        pool.pointee.isPlain = false
      }
      if marks & ContextBlock.Mark.isLimited != 0 {
        let charge = charge(of: chargedSize, isStrict: marks & ContextBlock.Mark.isStrict != 0)
        guard parent.tryCharge(charge) else { return refuse() }
        if let block = fresh(byteCount) {
          block.start(byteCount | marks, 0, name)
          block.attach(to: parent)
          return block
        }
        parent.charge(0 &- charge)
        return nil
      }
    }
    guard let block = fresh(byteCount) else { return nil }
    block.start(byteCount | marks, 0, name)
    block.attach(to: parent)
    return block
  }

  @inline(__always)
  private static func fresh(_ byteCount: UInt) -> ContextPointer? {
    MemoryPoolPointer.shared.allocate(ContextBlock.byteCount &+ byteCount, call: "context")?.assumingMemoryBound(
      to: ContextBlock.self)
  }

  /// Everything of a new block but where it hangs.
  @inline(__always)
  private func start(_ bits: UInt, _ poolOffset: UInt32, _ name: UnsafePointer<CChar>?) {
    pointee.identity = mark
    pointee.poolOffset = poolOffset
    pointee.child = nil
    pointee.name = name
    pointee.bits = bits
    pointee.tail = 0
  }

  /// Nil, with errno ENOMEM.
  @inline(never)
  public static func refuse() -> ContextPointer? {
    mp_errno_set(Int32(MP_ENOMEM))
    return nil
  }

  /// Makes a pool: a block of `byteCount` bytes, mostly 0, whose descendants take their memory from the `capacity` bytes that follow it, as long
  /// as they have room there. Each takes 64 bytes and its own, rounded up to a multiple of 16.
  public static func allocatePool(
    _ byteCount: UInt, capacity: UInt, under parent: ContextPointer?, name: UnsafePointer<CChar>? = nil, isStrict: Bool
  ) -> ContextPointer? {
    guard byteCount < ContextBlock.largest, capacity <= ContextPool.largest else { return refuse() }
    let own = (byteCount + 15) & ~15
    let sum = own + ContextPool.recordBytes + capacity
    let isStrict = isStrict || (parent ?? ContextProcess.tracker)?.isStrict ?? false
    let charged = isStrict ? own + capacity + ContextPool.strictCharge : sum
    guard let block = make(sum, charged, parent, name, isStrict) else { return nil }
    let record = block.address + ContextBlock.byteCount + own
    let pool = ContextPoolPointer(bitPattern: record).unsafelyUnwrapped
    let first = record + ContextPool.recordBytes
    pool.initialize(to: ContextPool(block: block, first: first, limit: first + capacity))
    block.setSize(byteCount)
    block.set(ContextBlock.Mark.isPool | ContextBlock.Mark.hasExtras)
    block.pointee.tail = record
    if block.pointee.poolOffset != 0 { block.home.unsafelyUnwrapped.pointee.isPlain = false }
    return block
  }
}
