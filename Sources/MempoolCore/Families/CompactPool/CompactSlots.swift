/// The table that handles of movable objects lead through: where each object is, and how often its slot was used before.
///
/// A slot's word: the number of its object's block, or of the next free slot, below; its generation above, whose top bit says that it is free.
/// Written under a shard's lock, read by anybody. Blocks of 1024 slots lie in the metadata arena and stay until the pool ends. A
/// handle is a slot's number and its generation, so one that was freed is known until its slot was used another 2^31 times.
struct CompactSlots {
  let pool: CompactPoolPointer

  private static var blockShift: UInt { 10 }
  private static var blockBytes: UInt { 8 << blockShift }
  /// Slots that a shard gets at once: those of a block.
  private static var refill: UInt { 1 << blockShift }
  private static var free: UInt { 1 << 63 }

  static var rootBytes: UInt { 8 * CompactPool.mostSlots >> blockShift }

  private func rootWord(_ slot: UInt) -> AtomicPointer {
    AtomicPointer(address: pool.pointee.slotRoot).advanced(by: Int(slot >> Self.blockShift))
  }

  // Nil when there was never such a slot.
  private func word(_ slot: UInt) -> AtomicPointer? {
    guard slot < CompactPool.mostSlots else { return nil }
    let block = rootWord(slot).loadAcquire()  // acquire: pairs with the release in refill(_:)
    return block == 0 ? nil : AtomicPointer(address: block).advanced(by: Int(slot & (Self.refill - 1)))
  }

  /// A free slot, still without an object; nil when there is no memory for it, or when the table is not to grow for it.
  func take(_ hold: CompactHold, grows: Bool) -> UInt32? {
    if hold.shard.pointee.freeSlot == 0 { guard grows, refill(hold) else { return nil } }
    let slot = hold.shard.pointee.freeSlot, word = word(UInt(slot)).unsafelyUnwrapped
    hold.shard.pointee.freeSlot = UInt32(truncatingIfNeeded: word.loadRelaxed())
    return slot
  }

  /// Gives back what ``take(_:)`` returned.
  func putBack(_ slot: UInt32, _ hold: CompactHold) {
    let word = word(UInt(slot)).unsafelyUnwrapped
    word.storeRelaxed(word.loadRelaxed() & ~0xffff_ffff | UInt(hold.shard.pointee.freeSlot))
    hold.shard.pointee.freeSlot = slot
  }

  /// Leads a slot that was taken to an object; its handle.
  func fill(_ slot: UInt32, _ block: CompactBlock) -> CompactHandle {
    let word = word(UInt(slot)).unsafelyUnwrapped
    let generation = word.loadRelaxed() >> 32 & (Self.free >> 32 - 1)
    word.storeRelease(generation << 32 | UInt(block.number))  // release: pairs with the acquire in block(_:)
    return CompactHandle(page: slot, offset: UInt32(generation))
  }

  /// Leads a slot to where its object was moved.
  func move(_ slot: UInt32, to block: CompactBlock) {
    guard let word = word(UInt(slot)) else { return }
    let generation = word.loadRelaxed() >> 32
    word.storeRelease(generation << 32 | UInt(block.number))  // release: pairs with the acquire in block(_:)
  }

  /// Where the object of a handle is; nil when the handle is none, or was freed.
  func block(_ handle: CompactHandle) -> CompactBlock? {
    guard handle.page != 0, let word = word(UInt(handle.page)) else { return nil }
    let seen = word.loadAcquire()  // acquire: pairs with the release in fill(_:_:) and move(_:to:)
    return seen >> 32 == UInt(handle.offset) ? CompactBlock(UInt32(truncatingIfNeeded: seen)) : nil
  }

  /// Frees the slot of a live object.
  func release(_ slot: UInt32, _ hold: CompactHold) {
    let word = word(UInt(slot)).unsafelyUnwrapped
    let generation = (word.loadRelaxed() >> 32 + 1) & (Self.free >> 32 - 1)
    word.storeRelaxed(Self.free | generation << 32 | UInt(hold.shard.pointee.freeSlot))
    hold.shard.pointee.freeSlot = slot
  }

  private func refill(_ hold: CompactHold) -> Bool {
    let first = pool.slotCount.fetchAddRelaxed(Self.refill)
    guard first < CompactPool.mostSlots,
      let block = pool.pointee.memory.segments.allocateRecord(Self.blockBytes)
    else {
      // The number is lost, unless nobody has taken the next one.
      _ = pool.slotCount.compareAndSwapRelaxed(first + Self.refill, first)
      return false
    }
    _ = pool.metadataBytes.fetchAddRelaxed(Self.blockBytes)
    // 0 is no slot.
    let words = AtomicPointer(address: block)
    for index in (first == 0 ? 1 : 0)..<Self.refill {
      let next = index + 1 == Self.refill ? 0 : first + index + 1
      words.advanced(by: Int(index)).storeRelaxed(Self.free | next)
    }
    rootWord(first).storeRelease(block)  // release: pairs with the acquire in word(_:)
    hold.shard.pointee.freeSlot = UInt32(first == 0 ? 1 : first)
    return true
  }

  func forEachBlock(_ body: (_ address: UInt, _ byteCount: UInt) -> Void) {
    for index in 0..<CompactPool.mostSlots >> Self.blockShift {
      let block = AtomicPointer(address: pool.pointee.slotRoot).advanced(by: Int(index)).loadRelaxed()
      if block != 0 { body(block, Self.blockBytes) }
      if index << Self.blockShift > pool.slotCount.loadRelaxed() { return }
    }
  }
}
