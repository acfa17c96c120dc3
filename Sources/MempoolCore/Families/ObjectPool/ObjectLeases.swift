/// The cells of one object pool that one thread leases, and what it has acquired and released there.
///
/// A record in the metadata arena of one of the pool's segments, registered with its pool and never freed before it: when its
/// thread exits, the leases are given back and another thread may take the record over, counts included. Only its thread writes it.
public struct ObjectLeases {
  // The free set that objects come from, and the address of its cell's first object; `none` where there is none. First, as
  // ThreadSanitizer takes a write to any field for one to the record's first word: it must be nobody else's.
  @usableFromInline var current: UnsafeMutablePointer<UInt>
  @usableFromInline var base: UInt
  // The thread's number, or `nobody`.
  @usableFromInline var thread: AtomicWord  // 2
  // Of the prepared objects, ever: acquired by this thread, and released by it, whoever had acquired them.
  @usableFromInline var taken = AtomicWord()  // 3
  @usableFromInline var given = AtomicWord()  // 4
  // Always 0: the free set of no cell.
  var none: UInt = 0  // 5
  // The pool's revision when the leases were last given back.
  var revision: UInt
  // Misses in a row that found nothing, and how many more are not worth a search.
  var fruitless: UInt = 0
  var skips: UInt = 0
  // Times that objects had to be claimed.
  var claims: UInt = 0
  // The next slot to give up when all are in use.
  var victim = 0
  // Slots from here on are free.
  var limit = 0
  var slots = InlineArray<32, Slot>(repeating: Slot())
  // The records pushed before this one, in its bucket and in all; these never change.
  var nextInBucket: ObjectLeasesPointer?
  var next: ObjectLeasesPointer?

  /// A leased cell.
  struct Slot {
    // nil: the slot is free.
    var page: ObjectPagePointer?
    var cell: UInt = 0
  }

  /// Cells that a thread leases at most; where there are several, half of its share, but one.
  static var slotCount: Int { 32 }

  /// No thread's number, not even that of a thread which has none, 0.
  static var nobody: UInt { ~0 }
}

public typealias ObjectLeasesPointer = UnsafeMutablePointer<ObjectLeases>

extension UnsafeMutablePointer where Pointee == ObjectLeases {
  @inlinable @inline(__always) var thread: AtomicPointer { AtomicPointer(self, word: 2) }
  @inlinable @inline(__always) var taken: AtomicPointer { AtomicPointer(self, word: 3) }
  @inlinable @inline(__always) var given: AtomicPointer { AtomicPointer(self, word: 4) }

  // The word `none`.
  private var noneWord: UnsafeMutablePointer<UInt> {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt.self) + 5
  }

  /// A record for the thread of that number, without leases.
  func start(_ number: UInt, revision: UInt) {
    initialize(to: ObjectLeases(current: noneWord, base: 0, thread: AtomicWord(number), revision: revision))
  }

  /// An object from the current free set; nil when it is empty. A load and a store.
  @inlinable @inline(__always)
  func take(_ stride: UInt) -> UnsafeMutableRawPointer? {
    let held = AtomicPointer(pointee.current)
    let free = held.loadRelaxed()
    if free == 0 { return nil }
    taken.addUnshared(1)
    held.storeRelaxed(free & (free &- 1))
    return UnsafeMutableRawPointer(
      bitPattern: pointee.base &+ UInt(truncatingIfNeeded: free.trailingZeroBitCount) &* stride
    ).unsafelyUnwrapped
  }

  /// Takes from this slot from now on.
  private func select(_ page: ObjectPagePointer, _ cell: UInt) {
    pointee.current = page.held(cell).word
    pointee.base = page.address(ofItem: cell << 6)
  }

  /// Makes a leased cell current whose free set is not empty; false: all are.
  func selectHeld() -> Bool {
    for slot in 0..<pointee.limit {
      guard let page = pointee.slots[slot].page else { continue }
      let cell = pointee.slots[slot].cell
      if page.held(cell).loadRelaxed() == 0 { continue }
      select(page, cell)
      return true
    }
    return false
  }

  /// The same after claiming at most `most` objects of it that others have released, or that are left of it.
  func collect(atMost most: UInt) -> Bool {
    for slot in 0..<pointee.limit {
      guard let page = pointee.slots[slot].page else { continue }
      let cell = pointee.slots[slot].cell
      if page.collect(cell, atMost: most) == 0 { continue }
      select(page, cell)
      return true
    }
    return false
  }

  /// Notes a cell that was just leased, and makes it current. Others are given up for it where they are more than `most` then.
  func add(_ page: ObjectPagePointer, _ cell: UInt, most: Int) {
    giveBack(from: most)
    let slot = pointee.victim < most ? pointee.victim : 0
    pointee.victim = slot + 1
    giveBack(slot)
    pointee.slots[slot] = ObjectLeases.Slot(page: page, cell: cell)
    pointee.limit = max(pointee.limit, slot + 1)
    select(page, cell)
  }

  private func giveBack(_ slot: Int) {
    guard let page = pointee.slots[slot].page else { return }
    pointee.slots[slot].page = nil
    page.giveBack(pointee.slots[slot].cell)
  }

  private func giveBack(from first: Int) {
    while pointee.limit > first {
      pointee.limit -= 1
      giveBack(pointee.limit)
    }
  }

  /// Ends all leases.
  func giveBackAll() {
    pointee.current = noneWord
    giveBack(from: 0)
  }

  /// Has no leases any more: the cells have been given back already.
  func forget() {
    pointee.current = noneWord
    // All: its thread may have been in the middle of giving one up.
    for slot in 0..<ObjectLeases.slotCount { pointee.slots[slot].page = nil }
    pointee.limit = 0
  }

  /// A search has found nothing: the more often, the less often the next ones are worth their while.
  func noteFruitless() {
    pointee.fruitless = min(pointee.fruitless * 2 + 1, 63)
    pointee.skips = pointee.fruitless
  }

  /// Something is there to be found.
  func noteRoom() {
    pointee.fruitless = 0
    pointee.skips = 0
  }
}
