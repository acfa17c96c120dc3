import CMempoolShims

/// Objects named by handles: 4 bytes of overhead each, exact sizes, allocation and free in a number of steps that depends on nothing, and pages
/// that come and go one by one.
///
/// ``map(_:call:)`` is the only way to an object's bytes, so pages need not be mapped: they may lie in a file of memory that has no
/// name, of which a window is mapped. Any thread may call anything. Regions of 64 KiB belong to shards with a lock each; a thread
/// allocates from one shard, and from another one before the pool grows. Blocks lie in a region without gaps, over its pages'
/// boundaries; a page in which nothing lies has no memory.
///
/// **Metadata is within the program's reach**: an overflow hits the next block's header, a write after a free its links. Both are
/// compared with their neighbours on every free.
///
/// A record in a mapping of its own, with its shards, the bitmap of its regions and the root of their records behind it; made by
/// ``create(_:in:)``, destroyed with everything in it.
public struct CompactPool {
  // Words that change, each by itself; all else never does.
  var pages = AtomicWord()  // 0: held pages | idle pages << 32
  var peakPages = AtomicWord()  // 1: the most that were held
  var slotCount = AtomicWord()  // 2: slots that there are, with and without an object
  var metadataBytes = AtomicWord()  // 3
  var refusals = AtomicWord()  // 4: allocations that failed because they were not to grow, or nothing was left
  var mapCalls = AtomicWord()  // 5: regions mapped again
  var movedBytes = AtomicWord()  // 6
  var regionLimit = AtomicWord()  // 7: one more than the highest number of a region that there was
  var locks: LockGroup

  let memory: MemoryPoolPointer
  let options: CompactOptions
  let byteCount: UInt
  let shardCount: UInt
  let shards: UInt
  let bitmap: AtomicBitmap
  // Addresses of blocks of 64 region records, 0 where there are none.
  let root: UInt
  // The same of 1024 slots each; 0 unless objects may move.
  let slotRoot: UInt
  // -1 where pages are a pool's.
  let file: Int32
  /// Whether another process made it.
  let isForeign: Bool
  let pageShift: UInt
  /// Of blocks: 1, 2 or 4.
  let granule: UInt
  /// Regions that a shard keeps mapped beside those that are pinned.
  let window: UInt

  static var mostRegions: UInt { 1 << 18 }
  static var mostSlots: UInt { 1 << 26 }
}

public typealias CompactPoolPointer = UnsafeMutablePointer<CompactPool>

extension UnsafeMutablePointer where Pointee == CompactPool {
  var pages: AtomicPointer { AtomicPointer(self, word: 0) }
  var peakPages: AtomicPointer { AtomicPointer(self, word: 1) }
  var slotCount: AtomicPointer { AtomicPointer(self, word: 2) }
  var metadataBytes: AtomicPointer { AtomicPointer(self, word: 3) }
  var refusals: AtomicPointer { AtomicPointer(self, word: 4) }
  var mapCalls: AtomicPointer { AtomicPointer(self, word: 5) }
  var movedBytes: AtomicPointer { AtomicPointer(self, word: 6) }
  var regionLimit: AtomicPointer { AtomicPointer(self, word: 7) }
  var locks: LockGroupPointer { (UnsafeMutableRawPointer(self) + 8 * 8).assumingMemoryBound(to: LockGroup.self) }

  var isFile: Bool { pointee.file >= 0 }
  var isMovable: Bool { pointee.options.isMovable }

  /// Whether the pages may be changed by this process: not those of a file that another process made, nor after a fork those that the
  /// parent goes on using.
  var isOwner: Bool { !pointee.isForeign && (!isFile || locks.wasForked.loadRelaxed() == 0) }

  /// Whether another process's pool is looked at, or the parent's.
  public var isAttached: Bool { !isOwner }

  /// Whether a page's memory can be given back by itself.
  var canPurge: Bool { isFile || pointee.memory.isElastic }

  public var pageByteCount: UInt { 1 << pointee.pageShift }
  var pagesInRegion: UInt { CompactRegion.byteCount >> pointee.pageShift }

  // MARK: Units

  /// Where a region's blocks begin, and end: so that payloads are aligned.
  var firstUnit: UInt { pointee.granule - 1 }
  var endUnit: UInt { CompactRegion.unitCount - (pointee.granule == 1 ? 0 : 1) }
  var leastUnits: UInt { pointee.granule == 1 ? CompactRegion.leastListed : 4 }

  /// Units of the block of an object of `byteCount` bytes: its header, itself, and its slot's number if it may move.
  func units(_ byteCount: UInt) -> UInt {
    let exact = (byteCount + (isMovable ? 8 : 4) + CompactRegion.unitBytes - 1) / CompactRegion.unitBytes
    return max((exact + pointee.granule - 1) & ~(pointee.granule - 1), leastUnits)
  }

  /// What a region's blocks can hold; larger objects have pages of their own.
  var largestBlock: UInt { (endUnit - firstUnit) * CompactRegion.unitBytes - (isMovable ? 8 : 4) }

  /// The largest object that there can be.
  public var largest: UInt { (UInt(pointee.bitmap.itemCount) - 1) << CompactRegion.shift - CompactMemory.runOffset }

  /// The handle of a place in a region.
  func handle(_ region: UInt, _ byte: UInt) -> CompactHandle {
    let address = region << CompactRegion.shift | byte
    return CompactHandle(
      page: UInt32(truncatingIfNeeded: address >> pointee.pageShift),
      offset: UInt32(truncatingIfNeeded: address & (pageByteCount - 1)))
  }

  /// The place that a handle names: a region's number and an offset in it; nil when no handle has such numbers.
  func place(_ handle: CompactHandle) -> (region: UInt, byte: UInt)? {
    guard UInt(handle.offset) < pageByteCount, UInt(handle.page) < UInt(pointee.bitmap.itemCount) * pagesInRegion else {
      return nil
    }
    let address = UInt(handle.page) << pointee.pageShift | UInt(handle.offset)
    return (address >> CompactRegion.shift, address & (CompactRegion.byteCount - 1))
  }

  // MARK: Shards

  func shard(_ index: UInt) -> CompactShardPointer {
    CompactShardPointer(bitPattern: pointee.shards + index * CompactShard.stride).unsafelyUnwrapped
  }

  /// The calling thread's shard.
  func ownShard() -> UInt {
    let block = threadBlock()
    Process.number(block)
    return (block.pointee.number - 1) % pointee.shardCount
  }

  // MARK: Regions

  private static var recordsShift: UInt { 6 }
  private func rootWord(_ region: UInt) -> AtomicPointer {
    AtomicPointer(address: pointee.root).advanced(by: Int(region >> Self.recordsShift))
  }

  /// The record of a region, of a number within the pool's limit; nil when there was never such a region.
  func record(_ region: UInt) -> CompactRegionPointer? {
    let block = rootWord(region).loadAcquire()  // acquire: pairs with the release in makeRecord(_:)
    guard block != 0 else { return nil }
    let index = region & (1 << Self.recordsShift - 1)
    return CompactRegionPointer(bitPattern: block + index * UInt(MemoryLayout<CompactRegion>.stride))
  }

  /// The same, made if there is none; nil when there is no memory for it.
  func makeRecord(_ region: UInt) -> CompactRegionPointer? {
    if let record = record(region) { return record }
    let byteCount = UInt(MemoryLayout<CompactRegion>.stride) << Self.recordsShift
    let segments = pointee.memory.segments
    guard let block = segments.allocateRecord(byteCount) else { return nil }
    // release: pairs with the acquire in record(_:)
    if rootWord(region).compareAndSwapRelease(0, block) != 0 {
      segments.deallocateRecord(block, byteCount)
    } else {
      _ = metadataBytes.fetchAddRelaxed(byteCount)
    }
    return record(region)
  }

  func forEachBlockOfRecords(_ body: (_ address: UInt, _ byteCount: UInt) -> Void) {
    let byteCount = UInt(MemoryLayout<CompactRegion>.stride) << Self.recordsShift
    for index in 0...(UInt(pointee.bitmap.itemCount) - 1) >> Self.recordsShift {
      let block = AtomicPointer(address: pointee.root).advanced(by: Int(index)).loadRelaxed()
      if block != 0 { body(block, byteCount) }
    }
  }

  /// Visits the numbers of all regions that there are, of whatever kind.
  func forEachRegion(_ body: (UInt, CompactRegionPointer) -> Void) {
    var region: UInt = 1
    while region < regionLimit.loadRelaxed() {
      if let record = record(region), record.owner.loadRelaxed() != CompactRegion.Kind.none { body(region, record) }
      region += 1
    }
  }

  var lastRegion: UInt { UInt(pointee.bitmap.itemCount) - 1 }

  func raiseRegionLimit(to limit: UInt) {
    var seen = regionLimit.loadRelaxed()
    while seen < limit {
      let found = regionLimit.compareAndSwapRelaxed(seen, limit)
      if found == seen { return }
      seen = found
    }
  }
}
