public import CMempoolShims

/// The free set of a slab: a list threaded through a table of 16-bit links outside the items, last in, first out.
///
/// A link is the number of the next free item, 0 at the end, or *taken*; so one look says whether an item is out. Only the
/// owner changes it. Others may load a link: they are relaxed atomics. The stores of a take and of a put are ordered for a
/// fork of this thread's process by another thread: caught in the middle, an item may be lost, never handed out twice.
extension UnsafeMutablePointer where Pointee == Slab {
  @inlinable @inline(__always) static var taken: UInt16 { 0xffff }

  @inlinable @inline(__always)
  func link(_ item: UInt) -> UInt16 { mp_load16_relaxed(pointee.links + Int(bitPattern: item)) }

  /// Hands out one item; 0 when the set is empty. O(1), no atomic read-modify-write.
  @inlinable @inline(__always)
  func take() -> UInt {
    let item = UInt(pointee.head)
    if item == 0 { return 0 }
    pointee.head = link(item)
    fenceCompiler()
    mp_store16_relaxed(pointee.links + Int(bitPattern: item), Self.taken)
    used.addUnshared(1)
    return pointee.base &+ item &* pointee.itemSize
  }

  /// Takes an item back; the head before. The caller has seen that the item is out. O(1).
  @inlinable @inline(__always)
  func put(_ item: UInt) -> UInt16 {
    let head = pointee.head
    mp_store16_relaxed(pointee.links + Int(bitPattern: item), head)
    fenceCompiler()
    pointee.head = UInt16(truncatingIfNeeded: item)
    used.addUnshared(~0)
    return head
  }

  /// Adds items that were never used to an empty set, in address order: a system page of them, so that memory is touched as
  /// it is needed. False: all have been.
  func carve() -> Bool {
    let first = UInt(pointee.carved) + 1
    let left = UInt(pointee.itemCount) - UInt(pointee.carved)
    guard left > 0 else { return false }
    let count = min(left, max(4096 / pointee.itemSize, 4))
    let last = first + count - 1
    for item in first..<last { mp_store16_relaxed(pointee.links + Int(item), UInt16(item + 1)) }
    mp_store16_relaxed(pointee.links + Int(last), 0)
    pointee.carved = UInt16(last)
    pointee.head = UInt16(first)
    return true
  }

  /// Moves what others have freed, in the cells that the summary names, into the free set. By the owner, for a slab that it
  /// took from the pending list. An item that is not out has been freed twice.
  func collect() {
    // The link to the next slab must have been read: after this exchange the next freer may push the slab again.
    // acquire-release: the release keeps that read before; the acquire pairs with the or in freeRemotely(_:)
    var told = summary.exchangeAcquireRelease(0)
    var count: UInt = 0
    while told != 0 {
      let index = UInt(told.trailingZeroBitCount)
      told &= told &- 1
      let cell = cell(index << 6)
      var freed = ~cell.exchangeAcquire(Cell.busy)  // acquire: pairs with the and in freeRemotely(_:)
      while freed != 0 {
        let item = index << 6 + UInt(freed.trailingZeroBitCount)
        freed &= freed &- 1
        if link(item) != Self.taken { misuse("free", pointee.base &+ item &* pointee.itemSize, "double free") }
        mp_store16_relaxed(pointee.links + Int(item), pointee.head)
        fenceCompiler()
        pointee.head = UInt16(truncatingIfNeeded: item)
        count += 1
      }
    }
    used.addUnshared(0 &- count)
  }

  /// Frees an item of somebody else's slab. True when this was the first since the last collection, and the caller has to
  /// push the slab on its heap's pending list; nothing of the slab may be touched otherwise. Lock-free.
  func freeRemotely(_ item: UInt, call: StaticString) -> Bool {
    if link(item) != Self.taken { misuse(call, pointee.base &+ item &* pointee.itemSize, "double free") }
    let address = pointee.base &+ item &* pointee.itemSize
    let bit: UInt = 1 << (item & 63)
    let old = cell(item).fetchAndRelease(~bit)  // release: pairs with the exchange in collect()
    if old & bit == 0 { misuse(call, address, "double free") }
    guard old == Cell.busy else { return false }
    // acquire-release: pairs with the exchange in collect()
    return summary.fetchOrAcquireRelease(1 << (item >> 6)) == 0
  }
}
