/// Objects of one size, a count of them kept ready, for any number of threads.
///
/// A record in the metadata arena of one of its memory pool's segments. The prepared objects lie in pages of their own, made with
/// the pool and given back with it. Each thread leases a few cells of up to 64 of them, from which it acquires and into which it
/// releases with plain loads and stores: no lock, no atomic read-modify-write, no system call. An object's pool is found from
/// its address, by the page's entry. When all of the prepared objects are out, or in other threads' leases, more come from where
/// ``Fallback`` says, and are counted.
///
/// What a thread may hold back is bounded: ``ObjectLeases/slotCount`` cells, fewer where threads are many.
public struct ObjectPool {
  // What the fast path reads, never written after the start.
  // Never reused, so that what a thread remembers of a destroyed pool is never taken for another.
  @usableFromInline let id: UInt
  // Where a thread's block has what it remembers of this pool: bytes from the first entry on.
  @usableFromInline let recentOffset: UInt
  // Bytes from object to object: a multiple of the alignment, and of 16.
  @usableFromInline let stride: UInt

  let itemSize: UInt
  let alignment: UInt
  // Prepared objects; 0 for a pool that passes through.
  let count: UInt
  let memory: MemoryPoolPointer
  // Where records come from.
  let segments: SegmentListPointer

  // Words that threads write begin another line of the cache.

  // Where the next search begins: a page.
  var cursor = AtomicWord()  // 8
  // Raised by each sweep: who finds another number than he knows gives his leases back.
  var revision = AtomicWord()  // 9
  // What threads without leases have acquired and released of the prepared objects.
  var sharedTaken = AtomicWord()  // 10
  var sharedGiven = AtomicWord()  // 11
  // The most of the prepared objects that were out.
  var hotPeak = AtomicWord()  // 12
  // Objects that came from elsewhere, ever; those given back; the most that there were.
  var misses = AtomicWord()  // 13
  var fallbackGiven = AtomicWord()  // 14
  var fallbackPeak = AtomicWord()  // 15
  // 1: goes with its last object.
  var orphaned = AtomicWord()  // 16
  // Threads that have lease records.
  var threadCount = AtomicWord()  // 17
  // The newest lease record; the others through their links.
  var newestLeases = AtomicWord()  // 18
  // The thread of a lease record that is nobody's, for cells that nobody leases.
  var nobody = AtomicWord(ObjectLeases.nobody)  // 19
  var sweeps = AtomicWord()  // 20
  // All lease records, by their threads' numbers: stacks that are only ever pushed to.
  var buckets = InlineArray<32, AtomicWord>(repeating: AtomicWord())  // 21…52
  // The pools of the process, under its lock.
  var next = AtomicWord()  // 53
  // NUL-terminated.
  var name = InlineArray<64, UInt8>(repeating: 0)  // 54

  let fallback: Fallback
  // A sanitizer or memcheck is to know which objects are free: every acquire and release takes the slow way.
  let isWatched: Bool
  // One of the ring; nil without prepared objects.
  var pages: ObjectPagePointer?
  var pageBytes: UInt = 0
  var cellCount: UInt = 0

  /// Where objects come from when the prepared ones are all out.
  public enum Fallback: UInt, Sendable {
    /// From the memory pool that the prepared ones lie in, by the calling thread's heap.
    case segment
    /// From the system's allocator.
    case system
  }

  /// Sizes, checked.
  struct Shape {
    let itemSize: UInt
    // A multiple of the alignment, which is at least 16
    let stride: UInt
    let alignment: UInt
  }

  /// How a pool is to be.
  public struct Options: Sendable {
    public var fallback: Fallback = .segment
    /// Every object comes from the system's allocator and goes back to it at once, so that tools which watch that one see
    /// each of them. A memory pool that passes through has it so, too.
    public var isPassThrough = false

    public init() {}
  }
}

public typealias ObjectPoolPointer = UnsafeMutablePointer<ObjectPool>

extension UnsafeMutablePointer where Pointee == ObjectPool {
  var cursor: AtomicPointer { AtomicPointer(self, word: 8) }
  var revision: AtomicPointer { AtomicPointer(self, word: 9) }
  var sharedTaken: AtomicPointer { AtomicPointer(self, word: 10) }
  var sharedGiven: AtomicPointer { AtomicPointer(self, word: 11) }
  var hotPeak: AtomicPointer { AtomicPointer(self, word: 12) }
  var misses: AtomicPointer { AtomicPointer(self, word: 13) }
  var fallbackGiven: AtomicPointer { AtomicPointer(self, word: 14) }
  var fallbackPeak: AtomicPointer { AtomicPointer(self, word: 15) }
  var orphaned: AtomicPointer { AtomicPointer(self, word: 16) }
  var threadCount: AtomicPointer { AtomicPointer(self, word: 17) }
  var newestLeases: AtomicPointer { AtomicPointer(self, word: 18) }
  /// What the lessee word of a cell holds that nobody leases: the address of a lease record of which there is but the thread, word 2.
  var nobody: UInt { UInt(bitPattern: AtomicPointer(self, word: 19 - 2).word) }
  var sweeps: AtomicPointer { AtomicPointer(self, word: 20) }

  var next: AtomicPointer { AtomicPointer(self, word: 53) }

  static var leaseBucketCount: UInt { 32 }
  func bucket(_ number: UInt) -> AtomicPointer { AtomicPointer(self, word: 21 + Int(number % Self.leaseBucketCount)) }

  /// The largest object, in bytes, its alignment included.
  public static var largestItemSize: UInt { SlabCachePointer.largestItemSize }

  /// What no other pool or cache of this process has had or will have.
  public var id: UInt { pointee.id }
  /// Bytes of one object, as asked for.
  public var itemSize: UInt { pointee.itemSize }
  /// Bytes from one prepared object to the next.
  public var itemStride: UInt { pointee.stride }
  /// Objects that are prepared.
  public var itemCount: UInt { pointee.count }
  /// NUL-terminated; lives as long as the pool.
  public var name: UnsafePointer<CChar> {
    UnsafeRawPointer(self).advanced(by: 54 * 8).assumingMemoryBound(to: CChar.self)
  }

  var isOrphaned: Bool { orphaned.loadRelaxed() != 0 }
  var passesThrough: Bool { pointee.count == 0 }

  /// Visits the prepared pages, until `body` returns true.
  func firstPage(where body: (ObjectPagePointer) -> Bool) {
    guard let first = pointee.pages else { return }
    var page = first
    repeat {
      if body(page) { return }
      page = page.pointee.next
    } while page != first
  }

  /// Visits the lease records that there are.
  func forEachLeases(_ body: (ObjectLeasesPointer) -> Void) {
    // acquire: pairs with the swap in push(_:_:_:)
    var next = newestLeases.loadPointerAcquire()?.assumingMemoryBound(to: ObjectLeases.self)
    while let leases = next {
      next = leases.pointee.next
      body(leases)
    }
  }

  /// Prepared objects that are out, as the threads have counted: right when none of them is in the middle of something.
  func hotNow() -> UInt {
    var out = sharedTaken.loadRelaxed() &- sharedGiven.loadRelaxed()
    forEachLeases { out &+= $0.taken.loadRelaxed() &- $0.given.loadRelaxed() }
    return min(UInt(max(0, Int(bitPattern: out))), pointee.count)
  }

  /// Objects from elsewhere that are out.
  func fallbackNow() -> UInt {
    let given = fallbackGiven.loadAcquire()  // acquire: pairs with the add in releaseElsewhere(_:)
    return UInt(max(0, Int(bitPattern: misses.loadRelaxed() &- given)))
  }

  /// Raises a peak to `value`, if it is lower.
  func raise(_ peak: AtomicPointer, to value: UInt) {
    var seen = peak.loadRelaxed()
    while seen < value {
      let found = peak.compareAndSwapRelaxed(seen, value)
      if found == seen { return }
      seen = found
    }
  }
}
