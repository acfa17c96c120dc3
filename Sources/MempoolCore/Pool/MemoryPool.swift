public import CMempoolShims

/// The front door: small objects to a thread heap, larger ones to runs of fragments, the largest to spans.
///
/// A pool is a record in the metadata arena of its own first segment, made by ``create(_:)``, used by any thread, and
/// destroyed with everything in it. One pool is shared by the whole process and is never destroyed; its record is static.
public struct MemoryPool {
  var state = AtomicWord()  // 0: one of State
  var fallbacks = AtomicWord()  // 1: allocations that went to the system's allocator
  var fallbackLive = AtomicWord()  // 2: of these, not yet given back
  var exhaustions = AtomicWord()  // 3
  var snapshots = AtomicWord()  // 4
  // Never reused, so that what a thread remembers of a destroyed pool is never taken for another.
  var id: UInt
  var options: PoolOptions
  var first: SegmentPointer
  // The pools of the process, under its lock.
  var next: MemoryPoolPointer?

  enum State {
    static var new: UInt { 0 }
    /// With the number of the process above it.
    static var starting: UInt { 1 }
    static var ready: UInt { 2 }
    static var passThrough: UInt { 4 }
    /// Ready, and every call takes another way: MemoryPool+Diverted.swift.
    static var hardened: UInt { 6 }

    /// Set where the pool has memory of its own: ready, or hardened.
    static var owning: UInt { 2 }
    static var kind: UInt { 7 }
    static var processShift: UInt { 3 }
  }
}

public typealias MemoryPoolPointer = UnsafeMutablePointer<MemoryPool>

extension UnsafeMutablePointer where Pointee == MemoryPool {
  var state: AtomicPointer { AtomicPointer(self, word: 0) }
  var fallbacks: AtomicPointer { AtomicPointer(self, word: 1) }
  var fallbackLive: AtomicPointer { AtomicPointer(self, word: 2) }
  var exhaustions: AtomicPointer { AtomicPointer(self, word: 3) }
  var snapshots: AtomicPointer { AtomicPointer(self, word: 4) }

  private static func aligned(_ offset: Int) -> Int { (offset + 63) & ~63 }
  private static var segmentsOffset: Int { aligned(MemoryLayout<MemoryPool>.stride) }
  private static var registryOffset: Int { aligned(segmentsOffset + MemoryLayout<SegmentList>.stride) }
  private static var spansOffset: Int { aligned(registryOffset + MemoryLayout<HeapRegistry>.stride) }
  private static var fallbackSetOffset: Int { aligned(spansOffset + MemoryLayout<SpanList>.stride) }
  /// The record and those that follow it.
  static var recordByteCount: Int { aligned(fallbackSetOffset + MemoryLayout<FallbackSet>.stride) }

  private var record: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) }
  var segments: SegmentListPointer { (record + Self.segmentsOffset).assumingMemoryBound(to: SegmentList.self) }
  var registry: HeapRegistryPointer { (record + Self.registryOffset).assumingMemoryBound(to: HeapRegistry.self) }
  var spans: SpanListPointer { (record + Self.spansOffset).assumingMemoryBound(to: SpanList.self) }
  var fallbackSet: FallbackSetPointer {
    (record + Self.fallbackSetOffset).assumingMemoryBound(to: FallbackSet.self)
  }

  /// The pool of the whole process, what malloc is. It starts by itself, with the options that the environment gives.
  @inlinable @inline(__always)
  public static var shared: MemoryPoolPointer { mp_process_address().assumingMemoryBound(to: MemoryPool.self) }

  var isPassThrough: Bool { state.loadRelaxed() == MemoryPool.State.passThrough }

  var isHardened: Bool { state.loadRelaxed() == MemoryPool.State.hardened }

  /// Whether this is the usual pool: one that has started, has memory of its own and is not hardened.
  @inline(__always)
  var isPlain: Bool { state.loadRelaxed() == MemoryPool.State.ready }

  /// Whether it has started, and has memory of its own.
  @inline(__always)
  var isReady: Bool {
    state.loadAcquire() & MemoryPool.State.owning != 0  // acquire: pairs with create(_:) and start(_:_:)
  }

  var isDense: Bool { pointee.options.smallObjects.isDense }

  var isElastic: Bool {
    if case .elastic = pointee.options.backing { return true }
    return false
  }

  /// Makes a pool. A size that no pool can have, or an address space too small, is an error; nothing is left behind then.
  public static func create(_ options: PoolOptions) throws(PoolError) -> MemoryPoolPointer {
    guard MemoryPoolPointer.shared.start() else { throw .reservationFailed(errno: mp_errno_get()) }
    var options = options
    if case .elastic(0) = options.backing { options.backing = .elastic(reserve: Int(PoolOptions.ownReserveByteCount)) }
    if case .passThrough = options.backing {
      guard let block = MemoryPoolPointer.shared.segments.allocateRecord(UInt(recordByteCount)) else {
        throw .outOfMemory
      }
      let pool = at(block)
      pool.place(options, pool.pointee.first)
      pool.state.storeRelease(MemoryPool.State.passThrough)  // release: pairs with the acquire in isReady
      return pool
    }
    let segment = try firstSegment(options)
    guard let block = segment.allocateMetadata(UInt(recordByteCount)) else { throw refusal(segment) }
    let pool = at(block)
    guard pool.start(options, segment) else { throw refusal(segment) }
    return pool
  }

  // Why a pool does not fit its first segment, which goes: the system gave an elastic one no memory, others are too small.
  private static func refusal(_ segment: SegmentPointer) -> PoolError {
    let isElastic = segment.pointee.backing == .elastic
    segment.destroy()
    return isElastic ? .outOfMemory : .invalidArgument
  }

  private static func at(_ block: UInt) -> MemoryPoolPointer {
    UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: MemoryPool.self)
  }

  /// No machine has that much address space; the sums that lay a segment out do not overflow up to here.
  static var largestByteCount: UInt { 1 << 56 }

  static func firstSegment(_ options: PoolOptions) throws(PoolError) -> SegmentPointer {
    let settings = options.segmentSettings
    switch options.backing {
    case .elastic(let reserve):
      guard reserve >= 0 else { throw .invalidArgument }
      let wanted = min(options.reserveByteCount(reserve), largestByteCount)
      guard let segment = SegmentPointer.elastic(byteCount: wanted, settings) else {
        throw .reservationFailed(errno: mp_errno_get())
      }
      return segment
    case .fixed(let size, let locked, let prefault):
      guard size > 0 else { throw .invalidArgument }
      guard size <= largestByteCount else { throw .reservationFailed(errno: Int32(MP_ENOMEM)) }
      guard let segment = SegmentPointer.fixed(byteCount: UInt(size), settings) else {
        let error = mp_errno_get()
        throw error == Int32(MP_EINVAL) ? .invalidArgument : .reservationFailed(errno: error)
      }
      if locked, !segment.lockMemory() {
        let error = mp_errno_get()
        segment.destroy()
        throw .lockFailed(errno: error)
      }
      if prefault { segment.prefault() }
      return segment
    case .buffer(let start, let count):
      guard count > 0, start != 0, start.addingReportingOverflow(UInt(count)).overflow == false,
        let segment = SegmentPointer.buffer(start, byteCount: UInt(count), settings)
      else { throw .invalidArgument }
      return segment
    case .passThrough:
      throw .invalidArgument
    }
  }

  private func place(_ options: PoolOptions, _ segment: SegmentPointer) {
    pointee.options = options
    pointee.first = segment
    Process.enter(self)
  }

  /// Builds the pool's parts on its first segment; false when they do not fit.
  func start(_ options: PoolOptions, _ segment: SegmentPointer) -> Bool {
    var options = options
    // What is free, memcheck lets nobody look at; and it finds what hardening finds.
    if Memcheck.isRunning { options.hardening = .off }
    segments.initialize(to: SegmentList())
    if case .elastic(let reserve) = options.backing {
      segments.pointee.furtherReserve = options.reserveByteCount(reserve)
    }
    segments.pointee.settings = options.segmentSettings
    segments.insert(segment)
    // A heap is about 3 KiB, and a thread that finds none left uses the late one.
    let heaps = min(max(segment.pointee.pageCapacity / 8, 8), 16384)
    guard registry.start(segments, capacity: heaps, options.hardening, fit: options.smallObjects.fit) else {
      return false
    }
    // Of memory that cannot grow, something must be left for objects.
    let isFull = segment.usedPages.loadRelaxed() >= segment.pointee.pageCapacity
    if segment.pointee.backing != .elastic, isFull { return false }
    spans.initialize(to: SpanList(segments: segments))
    fallbackSet.initialize(to: FallbackSet())
    if self != .shared {
      // In a caller's buffer it is within an object, perhaps, where memcheck takes no other.
      let isOwn = segment.pointee.backing != .buffer
      Memcheck.poolMade(UInt(bitPattern: self), isOwn ? UInt(Self.recordByteCount) : 0)
    }
    place(options, segment)
    let ready = options.hardening == .off ? MemoryPool.State.ready : MemoryPool.State.hardened
    state.storeRelease(ready)  // release: pairs with the acquires in start() and isReady
    return true
  }

  /// Gives everything back, live objects included. No other call on the pool may be running or follow; a second one of this is reported.
  public func destroy() {
    if self == .shared { misuse("mp_pool_destroy", UInt(bitPattern: self), "the shared pool cannot be destroyed") }
    if !Process.leave(self) { misuse("mp_pool_destroy", UInt(bitPattern: self), "no pool: destroyed, or never made") }
    if isPassThrough {
      return MemoryPoolPointer.shared.segments.deallocateRecord(UInt(bitPattern: self), UInt(Self.recordByteCount))
    }
    if Memcheck.isRunning { tellGone() }
    Process.leave { $0.pointee.segments == segments }
    spans.destroy()
    fallbackSet.destroy()
    let first = pointee.first
    var segment = segments.newest
    while let current = segment {
      segment = current.next.loadPointerRelaxed()?.assumingMemoryBound(to: Segment.self)
      if current != first { current.destroy() }
    }
    first.destroy()
  }

  /// Returns idle memory to the system now: of this thread's heap, of abandoned heaps, empty slabs of all, what others freed and
  /// their owners have not collected, of all segments; the bytes returned.
  @discardableResult
  public func purge() -> UInt {
    guard isReady else { return 0 }
    registry.releaseQuarantines(CallName("purge"))
    if let heap = threadHeap(), heap != registry.late {
      heap.drain()
      heap.unseat()
    }
    for index in 1..<max(registry.count, 1) where registry.tryAdopt(index) { registry.heap(index)?.abandon() }
    var pages: UInt = 0, uncollectedBytes: UInt = 0
    for index in 1..<max(registry.count, 1) { registry.heap(index)?.releaseSpares() }
    // The purger may have some in hand, and leave what was freed last.
    Process.withoutPurger {
      for index in 0..<registry.count { uncollectedBytes += registry.heap(index)?.returnUncollected(all: true) ?? 0 }
    }
    segments.first { segment in
      pages += segment.purgeAll()
      // What another thread was about to return is not back before; and it may have lent it, or let go of some.
      if segment.isPurging, segment.waitForPurges() { pages += segment.purgeAll() }
      return false
    }
    return pages << Page.shift + uncollectedBytes
  }
}

extension PoolOptions {
  var segmentSettings: Segment.Settings {
    let environment = EnvironmentSettings.process.pointee
    return Segment.Settings(
      maxRetries: maxRetries ?? environment.maxRetries,
      waitNanoseconds: waitNanoseconds ?? environment.waitNanoseconds,
      purgeDelay: purgeDelayMilliseconds ?? environment.purgeDelayMilliseconds)
  }

  /// What a pool of one's own reserves when nothing is said, and again whenever that is full: there may be thousands of them.
  static var ownReserveByteCount: UInt {
    max(2 << 20, min(4 << 30, UInt(bitPattern: mp_address_space_limit()) / 128 * 7))
  }

  /// What the shared pool reserves: what was asked for, or 1 TiB, at most a quarter of the address-space limit.
  func reserveByteCount(_ asked: Int) -> UInt {
    if asked > 0 { return UInt(asked) }
    // Bookkeeping takes an eighth and a little more on top of the pages.
    return min(1 << 40, UInt(bitPattern: mp_address_space_limit()) / 32 * 7)
  }
}
