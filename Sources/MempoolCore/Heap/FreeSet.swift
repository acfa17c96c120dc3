public import CMempoolShims

/// The free set of a slab: a list threaded through a table of 16-bit links outside the items, last in, first out.
///
/// A link is the number of the next free item, 0 at the end, or *taken*; so one look says whether an item is out. Only the
/// owner changes it. Others may load a link: they are relaxed atomics. The stores of a take and of a put are ordered for a
/// fork of this thread's process by another thread: caught in the middle, an item may be lost, never handed out twice.
extension UnsafeMutablePointer where Pointee == Slab {
  @inlinable @inline(__always) static var taken: UInt16 { 0xffff }

  @inlinable @inline(__always)
  func linkAddress(_ item: UInt) -> UnsafeMutablePointer<UInt16> {
    (UnsafeMutableRawPointer(self) + Slab.linksWord &* 8).assumingMemoryBound(to: UInt16.self) + Int(bitPattern: item)
  }

  @inlinable @inline(__always)
  func link(_ item: UInt) -> UInt16 { mp_load16_relaxed(linkAddress(item)) }

  @inlinable @inline(__always)
  func setLink(_ item: UInt, _ link: UInt16) { mp_store16_relaxed(linkAddress(item), link) }

  /// Hands out one item; nil when the set is empty. O(1), no atomic read-modify-write.
  @inlinable @inline(__always)
  func take() -> UnsafeMutableRawPointer? { pointee.head == 0 ? nil : take(pointee.head) }

  /// Hands out `head`, the first of a set that is not empty.
  @inlinable @inline(__always)
  func take(_ head: UInt16) -> UnsafeMutableRawPointer {
    let item = UInt(head)
    let link = linkAddress(item)
    pointee.head = mp_load16_relaxed(link)
    fenceCompiler()
    mp_store16_relaxed(link, Self.taken)
    pointee.left &+= 1
    return UnsafeMutableRawPointer(bitPattern: address(item)).unsafelyUnwrapped
  }

  /// Takes an item back; whether that leaves work to ``settle(_:)``. The caller has seen that the item is out. O(1).
  @inlinable @inline(__always)
  func put(_ item: UInt) -> Bool {
    setLink(item, pointee.head)
    fenceCompiler()
    pointee.head = UInt16(truncatingIfNeeded: item)
    pointee.left &-= 1
    return pointee.left == 0
  }

  /// Whether the owner may put the item as it is: it is out, and nobody has freed anything here that is not collected yet,
  /// which would look as if it were out.
  @inlinable @inline(__always)
  func mayPut(_ item: UInt) -> Bool {
    // One test for both: a link of all ones is the complement of 0 at any width.
    UInt(bitPattern: ~Int(Int16(bitPattern: link(item)))) | summary.loadRelaxed() == 0
  }

  /// Adds items that were never used to an empty set, in address order, as many again as have been. False: all have been.
  func carve() -> Bool {
    let first = UInt(pointee.carved) + 1
    let left = UInt(pointee.itemCount) - UInt(pointee.carved)
    guard left > 0 else { return false }
    let count = min(left, max(leastCarveCount, first - 1)), used = used
    let last = first + count - 1
    // Four links at a time, where they make a word.
    var item = first
    while item & 3 != 0, item < last {
      setLink(item, UInt16(item + 1))
      item += 1
    }
    var four = item &* 0x0001_0001_0001_0001 &+ 0x0004_0003_0002_0001
    while item + 3 < last {
      AtomicPointer(self, word: Slab.linksWord + Int(item / 4)).storeRelaxed(four)
      four &+= 0x0004_0004_0004_0004
      item += 4
    }
    while item < last {
      setLink(item, UInt16(item + 1))
      item += 1
    }
    setLink(last, 0)
    pointee.carved = UInt16(last)
    self.used = used
    pointee.head = UInt16(first)
    return true
  }

  /// Moves what others have freed, in the cells that the summary names, into the free set. By the owner, for a slab that it
  /// took from the pending list. An item that is not out has been freed twice. How many there were.
  @discardableResult
  func collect() -> UInt {
    pointee.uncollected = 0
    pointee.returned = 0
    // The link to the next slab must have been read: after this exchange the next freer may push the slab again.
    // acquire-release: the release keeps that read before; the acquire pairs with the or in tell(_:)
    var told = summary.exchangeAcquireRelease(0)
    var count: UInt = 0
    var head = pointee.head
    while told != 0 {
      let index = UInt(truncatingIfNeeded: told.trailingZeroBitCount) &<< 6
      told &= told &- 1
      var freed = ~cell(index).exchangeAcquire(Cell.busy)  // acquire: pairs with the and in freeRemotely(_:)
      count &+= UInt(truncatingIfNeeded: freed.nonzeroBitCount)
      while freed != 0 {
        let item = index &+ UInt(truncatingIfNeeded: freed.trailingZeroBitCount)
        freed &= freed &- 1
        if link(item) != Self.taken { misuse("free", address(item), "double free") }
        // A fork in between loses nothing: the child makes the set anew, from the links.
        setLink(item, head)
        head = UInt16(truncatingIfNeeded: item)
      }
    }
    fenceCompiler()
    pointee.head = head
    pointee.left &-= count
    return count
  }

  /// Frees an item of somebody else's slab. The caller has seen that the item is out. Lock-free.
  @inline(__always)
  func freeRemotely(_ item: UInt) -> RemoteFree {
    let others = ~(1 &<< item)
    // release: pairs with the exchange in collect() and with the acquire in returnUncollected(all:)
    let old = cell(item).fetchAndRelease(others)
    if old & others == old { return .twice }
    return old == Cell.busy ? .first : .told
  }

  /// Tells the slab of a cell in which ``freeRemotely(_:)`` was the first. True for the first cell of the slab since the last
  /// collection: the caller has to push the slab on its heap's pending list. Nobody collects it, so nothing destroys it, before.
  func tell(_ item: UInt) -> Bool {
    summary.fetchOrAcquireRelease(1 &<< (item &>> 6)) == 0  // acquire-release: pairs with the exchange in collect()
  }
}

/// What a remote free has found.
enum RemoteFree {
  /// Somebody was in this cell since the last collection, and tells. Nothing of the slab may be touched any more.
  case told
  /// The first in this cell since the last collection: the caller has to tell the slab.
  case first
  /// The item was free already.
  case twice
}
