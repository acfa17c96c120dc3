/// Items of one size, in pages of their own, for any number of threads.
///
/// A record in the metadata arena of one of its pool's segments, made and destroyed by floor 6. Any thread may take and put at any
/// time. Each thread leases a few cells, from which it takes and into which it puts with plain loads and stores: no lock,
/// no atomic read-modify-write, no system call. Otherwise a put is one read-modify-write, and a take looks for a cell to
/// lease: at worst at every page of the cache, then at the segment's bitmap.
///
/// What a thread may hold back is bounded: ``CacheLeases/slotCount`` cells of at most 64 items and 16 KiB.
/// docs/decisions/0005-slab-cache-leases.md says why leases are as they are.
public struct SlabCache {
  // What the fast paths read, never written after the start.
  // Never reused, so that what a thread remembers of a destroyed cache is never taken for another.
  @usableFromInline let id: UInt
  // Bytes from item to item: a multiple of the alignment.
  @usableFromInline let stride: UInt
  // The pages of the pool's first segment, and their entries.
  @usableFromInline let base: UInt
  @usableFromInline let byteCount: UInt
  @usableFromInline let entries: PageEntryPointer
  // Where pages and records come from.
  let segments: SegmentListPointer
  // That segment.
  let metadata: SegmentPointer
  @usableFromInline let itemSize: UInt

  // Guards the list of pages: its links, and which pages are in it.
  var pagesLock = ReadWriteLock()  // 8, 9
  // One thread at a time makes a page.
  var growth = Mutex()  // 10
  // Under the read lock: where the next search begins. 0: at the first page.
  var cursor = AtomicWord()  // 11
  var pagesMade = AtomicWord()  // 12
  // Under the write lock. Pages in the list == pagesMade - pagesReturned.
  var pagesReturned = AtomicWord()  // 13
  // Raised by each shrink: who finds another number than it knows gives its leases back.
  var revision = AtomicWord()  // 14
  var searches = AtomicWord()  // 15: takes that no cell leased by their thread could serve
  // All lease records, by their threads' hash: stacks that are only ever pushed to.
  var leases = InlineArray<64, AtomicWord>(repeating: AtomicWord())  // 16…79

  // Under `pagesLock`.
  var firstPage: CachePagePointer?
  // What a new page should be; a full segment may have room for less.
  let layout: CacheLayout
  // NUL-terminated.
  var name = InlineArray<32, UInt8>(repeating: 0)
  // The caches of the process, under its lock.
  var next: SlabCachePointer?
}

public typealias SlabCachePointer = UnsafeMutablePointer<SlabCache>

extension UnsafeMutablePointer where Pointee == SlabCache {
  var pagesLock: ReadWriteLockPointer {
    (UnsafeMutableRawPointer(self) + 8 * 8).assumingMemoryBound(to: ReadWriteLock.self)
  }
  var growth: MutexPointer { (UnsafeMutableRawPointer(self) + 10 * 8).assumingMemoryBound(to: Mutex.self) }
  var cursor: AtomicPointer { AtomicPointer(self, word: 11) }
  var pagesMade: AtomicPointer { AtomicPointer(self, word: 12) }
  var pagesReturned: AtomicPointer { AtomicPointer(self, word: 13) }
  var revision: AtomicPointer { AtomicPointer(self, word: 14) }
  var searches: AtomicPointer { AtomicPointer(self, word: 15) }

  static var bucketCount: Int { 64 }
  func bucket(_ index: Int) -> AtomicPointer { AtomicPointer(self, word: 16 + index) }

  /// The largest size of an item, in bytes, its alignment included.
  public static var largestItemSize: UInt { 1 << 20 }

  /// A cache without pages, whose first segment is `metadata`; nil when there is no memory for its record.
  ///
  /// - Parameters:
  ///   - itemSize: At least 1; rounded up to `alignment`, at most ``largestItemSize``.
  ///   - alignment: A power of two, at most a page.
  ///   - name: NUL-terminated; the first 31 bytes are kept.
  static func make(
    id: UInt, itemSize: UInt, alignment: UInt, name: UnsafePointer<CChar>?, segments: SegmentListPointer,
    metadata: SegmentPointer
  ) -> SlabCachePointer? {
    guard let block = segments.allocateRecord(UInt(MemoryLayout<SlabCache>.size)) else { return nil }
    let cache = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: SlabCache.self)
    let stride = (itemSize + alignment - 1) & ~(alignment - 1)
    cache.initialize(
      to: SlabCache(
        id: id, stride: stride, base: metadata.pointee.base, byteCount: metadata.pageBytes,
        entries: metadata.pointee.entries, segments: segments, metadata: metadata, itemSize: itemSize,
        layout: CacheLayout(stride: stride)))
    var next = name
    for index in 0..<31 {
      guard let character = next?.pointee, character != 0 else { break }
      cache.pointee.name[index] = UInt8(bitPattern: character)
      next = next.map { $0 + 1 }
    }
    let isOwn = metadata.pointee.backing != .buffer
    Memcheck.poolMade(UInt(bitPattern: cache), isOwn ? UInt(MemoryLayout<SlabCache>.size) : 0)
    return cache
  }

  /// Bytes of one item, as asked for.
  public var itemSize: UInt { pointee.itemSize }

  /// The most items that ``takeArray(_:call:)`` gives at once: what a page holds.
  public var arrayCapacity: UInt { pointee.layout.itemCount }

  // MARK: Finding

  /// What lies at an address.
  enum Place {
    /// A page of this or another slab cache.
    case page(CachePagePointer)
    /// Something else that an allocator of this process handed out, or may.
    case ours
    case foreign
  }

  /// Where an address lies. O(1); the address is not followed.
  func place(_ address: UInt) -> Place {
    let entry: PageEntryPointer
    if address &- pointee.base < pointee.byteCount {
      entry = pointee.metadata.entry(of: address)
    } else {
      switch AddressMap.owner(of: address) {
      case .segment(let segment) where segment.contains(address): entry = segment.entry(of: address)
      case .segment, nil: return .foreign
      case .span: return .ours
      }
    }
    guard !entry.isSlab, entry.kind == .cache, let record = entry.slab.loadPointerRelaxed() else { return .ours }
    return .page(record.assumingMemoryBound(to: CachePage.self))
  }

  /// Whether `pointer` lies in a page of this cache: not whether it is an item that is out. O(1), any address.
  public func owns(_ pointer: UnsafeRawPointer) -> Bool {
    guard case .page(let page) = place(UInt(bitPattern: pointer)) else { return false }
    return page.pointee.cacheID == pointee.id
  }
}
