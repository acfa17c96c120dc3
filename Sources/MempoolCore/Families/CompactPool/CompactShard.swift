/// A part of a compact pool: regions that belong to it, an index of their free blocks, and the lock of both.
///
/// A record in the pool's. Any thread may take its lock; of two at a time nobody has more than one.
struct CompactShard {
  // First, as ThreadSanitizer takes a write to any field for one to the record's first word: it has to be one under the lock.
  var liveObjects: UInt = 0
  var mutex = Mutex()  // 1
  // No free block has more units; written under the lock, read by others as a hint.
  var room = AtomicWord()  // 2
  // The first region with idle pages, 0 for none, when the lock was last given back: for others as a hint.
  var idle = AtomicWord()  // 3
  // Sum of the sizes that were asked for.
  var liveBytes: UInt = 0
  // Sum of the live blocks' units, and of the bytes of pages that objects have of their own.
  var liveUnits: UInt = 0
  // Numbers of regions: the first with idle pages; of those mapped, the first in line to go, and the last.
  var listed: UInt32 = 0
  var firstMapped: UInt32 = 0
  var lastMapped: UInt32 = 0
  // In windows: 64 KiB each.
  var mappedCount: UInt = 0
  // The first slot that is free.
  var freeSlot: UInt32 = 0
  var regionCount: UInt = 0

  // The index follows the record.
  static var indexOffset: UInt { (UInt(MemoryLayout<CompactShard>.stride) + 63) & ~63 }
  static var stride: UInt { (indexOffset + UInt(MemoryLayout<SegregatedFit>.stride) + 127) & ~127 }
  static var mutexOffset: UInt { 8 }
}

typealias CompactShardPointer = UnsafeMutablePointer<CompactShard>

extension UnsafeMutablePointer where Pointee == CompactShard {
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: Mutex.self) }
  var room: AtomicPointer { AtomicPointer(self, word: 2) }
  var idle: AtomicPointer { AtomicPointer(self, word: 3) }
  var index: SegregatedFitPointer {
    (UnsafeMutableRawPointer(self) + Int(CompactShard.indexOffset)).assumingMemoryBound(to: SegregatedFit.self)
  }
}

/// One shard of a pool, its lock held: what is done to its regions and blocks.
struct CompactHold {
  let pool: CompactPoolPointer
  let shard: CompactShardPointer
  let number: UInt

  /// Takes the lock of shard `number`.
  init(_ pool: CompactPoolPointer, _ number: UInt) {
    self.pool = pool
    self.number = number
    shard = pool.shard(number)
    shard.mutex.lock()
    Memcheck.silence()
  }

  /// The same, unless somebody has it.
  init?(ifFree pool: CompactPoolPointer, _ number: UInt) {
    self.pool = pool
    self.number = number
    shard = pool.shard(number)
    guard shard.mutex.tryLock() else { return nil }
    Memcheck.silence()
  }

  /// Gives the lock back.
  func end() {
    if pool.isFile { shrinkWindow() }
    shard.room.storeRelaxed(shard.index.largestBound)
    shard.idle.storeRelaxed(UInt(shard.pointee.listed))
    Memcheck.listen()
    shard.mutex.unlock()
  }

  /// What a region of this shard has as its owner.
  func owner(_ kind: UInt) -> UInt { kind | number << 8 }

  func record(_ region: UInt) -> CompactRegionPointer { pool.record(region).unsafelyUnwrapped }
}
