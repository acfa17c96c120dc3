/// The cells of one slab cache that one thread leases.
///
/// A record in the metadata arena of one of the pool's segments, registered with its cache and never freed before it: when its
/// thread exits, the leases are given back and another thread may take the record over. Only its thread uses it.
public struct CacheLeases {
  // The thread's block; 0: nobody's.
  var owner: AtomicWord  // 0
  // The free set that takes come from, and the address of its cell's first item; `none` where there is none.
  @usableFromInline var current: UnsafeMutablePointer<UInt>
  @usableFromInline var base: UInt
  // Always 0: the free set of no cell.
  var none: UInt = 0  // 3
  // Takes that found the current free set empty. Its thread adds; others may read.
  var refills = AtomicWord()  // 4
  // The cache's revision when the leases were last given back.
  var revision: UInt
  // The next slot to give up when all are in use.
  var victim: UInt = 0
  var slots = InlineArray<8, Slot>(repeating: Slot())
  // The record pushed before this one; never changes.
  var next: CacheLeasesPointer?

  /// A leased cell.
  struct Slot {
    // nil: the slot is free.
    var page: CachePagePointer?
    var cell: UInt = 0
  }

  /// Cells that a thread leases at most. The common batch is a few hundred items.
  static var slotCount: Int { 8 }
}

public typealias CacheLeasesPointer = UnsafeMutablePointer<CacheLeases>

extension UnsafeMutablePointer where Pointee == CacheLeases {
  var owner: AtomicPointer { AtomicPointer(self, word: 0) }
  var refills: AtomicPointer { AtomicPointer(self, word: 4) }

  // The word `none`.
  private var noneWord: UnsafeMutablePointer<UInt> {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt.self) + 3
  }

  /// A record for the thread of `block`, without leases.
  func start(_ block: UInt, revision: UInt, next: CacheLeasesPointer? = nil) {
    initialize(
      to: CacheLeases(owner: AtomicWord(block), current: noneWord, base: 0, revision: revision, next: next))
  }

  /// Takes an item from the current free set; nil when it is empty. A load and a store.
  @inlinable @inline(__always)
  func take(_ stride: UInt) -> UnsafeMutableRawPointer? {
    let held = AtomicPointer(pointee.current)
    let free = held.loadRelaxed()
    if free == 0 { return nil }
    held.storeRelaxed(free & (free &- 1))
    return UnsafeMutableRawPointer(
      bitPattern: pointee.base &+ UInt(truncatingIfNeeded: free.trailingZeroBitCount) &* stride)
  }

  /// Takes from this slot from now on.
  private func select(_ slot: Int) {
    guard let page = pointee.slots[slot].page else { return }
    let cell = pointee.slots[slot].cell
    pointee.current = page.held(cell).word
    pointee.base = page.address(ofItem: cell << 6)
  }

  /// Makes a leased cell current whose free set is not empty, or can be filled with what others freed; false: none is.
  func refill() -> Bool {
    for slot in 0..<CacheLeases.slotCount {
      guard let page = pointee.slots[slot].page else { continue }
      if page.held(pointee.slots[slot].cell).loadRelaxed() != 0 {
        select(slot)
        return true
      }
    }
    for slot in 0..<CacheLeases.slotCount {
      guard let page = pointee.slots[slot].page, page.collect(pointee.slots[slot].cell) else { continue }
      select(slot)
      return true
    }
    return false
  }

  /// The page of a leased cell, which is therefore in the list.
  var page: CachePagePointer? {
    for slot in 0..<CacheLeases.slotCount {
      let index = (slot + Int(pointee.victim) + CacheLeases.slotCount - 1) % CacheLeases.slotCount
      if let page = pointee.slots[index].page { return page }
    }
    return nil
  }

  /// Notes a cell that was just leased, and makes it current. Another one is given up for it when all slots are in use.
  func add(_ page: CachePagePointer, _ cell: UInt) {
    let slot = Int(pointee.victim)
    pointee.victim = (pointee.victim + 1) % UInt(CacheLeases.slotCount)
    if let old = pointee.slots[slot].page { old.giveBack(pointee.slots[slot].cell) }
    pointee.slots[slot] = CacheLeases.Slot(page: page, cell: cell)
    select(slot)
  }

  /// Ends all leases.
  func giveBackAll() {
    pointee.current = noneWord
    for slot in 0..<CacheLeases.slotCount {
      guard let page = pointee.slots[slot].page else { continue }
      pointee.slots[slot].page = nil
      page.giveBack(pointee.slots[slot].cell)
    }
  }
}
