import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// A pool in the machine's memory, small enough that every page counts.
enum HeapBench {
  nonisolated(unsafe) static var pool = MemoryPoolPointer(bitPattern: 8)!
  // Whether this scenario has one.
  nonisolated(unsafe) static var isMade = false
  /// Items of 3840 bytes: 4 in a slab, which is a page.
  static var large: UInt { 3840 }
  /// Items of 4096 bytes, 4 in a slab, in memory that can grow.
  static var medium: UInt { 4096 }
  /// Items of 32 KiB, 2 in a class's first slab.
  static var largestMedium: UInt { 32768 }
  /// Items of 256 bytes: 64 in a slab, which are numbered from 1, so that the last one is alone in its cell.
  static var small: UInt { 256 }

  static var segment: SegmentPointer { pool.pointee.first }
  static var registry: HeapRegistryPointer { pool.registry }

  /// The threads from 0 on, so many, get a heap. Elastic: 64 pages, which the system gives.
  static func make(
    pages: UInt = 12, owners: Int, isElastic: Bool = false, maxRetries: UInt? = nil,
    small: PoolOptions.SmallObjects = .classes
  ) {
    Items.clear()
    isMade = true
    let start = UInt(bitPattern: mp_machine_memory())
    let byteCount = (pages + 1) << Page.shift
    var settings = Segment.Settings()
    settings.maxRetries = maxRetries
    let segment =
      isElastic
      ? SegmentPointer.elastic(byteCount: 1 << 20, settings)!
      : SegmentPointer.buffer(start, byteCount: byteCount, settings)!
    let record = segment.allocateMetadata(UInt(MemoryPoolPointer.recordByteCount))!
    pool = UnsafeMutableRawPointer(bitPattern: record)!.assumingMemoryBound(to: MemoryPool.self)
    var options = PoolOptions()
    options.maxRetries = maxRetries
    options.smallObjects = small
    options.backing = isElastic ? .elastic(reserve: 1 << 20) : .buffer(start: start, count: Int(byteCount))
    precondition(pool.start(options, segment))
    for thread in 0..<owners { as_(thread) { precondition(pool.threadHeap() != nil) } }
    as_(0) {}
    Names.add(segment)
    Names.add(registry)
    for index in 0..<registry.count { Names.add(registry.heap(index)!) }
  }

  /// During set-up, and when a run is checked: acts as this thread.
  static func as_(_ thread: Int, _ body: () -> Void) {
    mp_machine_as(Int32(thread))
    body()
    mp_machine_as(0)
  }

  /// During set-up: items that a thread has, and keeps.
  static func hold(_ count: Int, _ byteCount: UInt, by thread: Int = 0) -> [UInt] {
    var items: [UInt] = []
    as_(thread) { items = (0..<count).map { _ in take(byteCount)! } }
    Items.keep()
    return items
  }

  /// During set-up: all items that there are. What else there is is taken, too, by nobody.
  static func fill(_ byteCount: UInt) -> [UInt] {
    var items: [UInt] = []
    while let object = pool.allocate(byteCount) {
      let item = UInt(bitPattern: object)
      guard segment.entry(of: item).isSlab else { continue }
      Items.take(item)
      items.append(item)
    }
    Items.keep()
    return items
  }

  // What threads do.

  static func take(_ byteCount: UInt) -> UInt? {
    guard let item = pool.allocate(byteCount) else {
      mp_model_note("gets nothing", 0)
      return nil
    }
    Items.take(UInt(bitPattern: item))
    return UInt(bitPattern: item)
  }

  /// The same; there is always one.
  static func sureTake(_ byteCount: UInt) -> UInt? {
    let item = take(byteCount)
    if item == nil { mp_model_fail("gets nothing, where there is always something") }
    return item
  }

  /// From the class's next slab with room, as the shared pool does first when the current one has nothing left; there is one.
  static func takeNext(_ byteCount: UInt) {
    guard let item = pool.threadHeap()!.takeNext(SizeClass.index(byteCount)) else {
      mp_model_fail("finds no next slab")
    }
    Items.take(UInt(bitPattern: item))
  }

  static func give(_ item: UInt?) {
    guard let item else { return }
    Items.give(item)
    pool.deallocate(UnsafeMutableRawPointer(bitPattern: item))
  }

  /// To a full slab of this thread's first heap, in which nobody else has freed; as the shared pool does.
  static func giveOwn(_ item: UInt) {
    Items.give(item)
    let slab = segment.entry(of: item).slab.loadPointerRelaxed()!.assumingMemoryBound(to: Slab.self)
    let index = (item - slab.pointee.base) / slab.pointee.itemSize
    guard slab.mayPut(index) else { return pool.deallocate(UnsafeMutableRawPointer(bitPattern: item)) }
    if slab.put(index) { slab.pointee.heap.settleOwn(slab) }
  }

  static func turn(_ byteCount: UInt) { give(take(byteCount)) }

  /// Collects what others have freed.
  static func drain() {
    mp_model_note("drains", 0)
    _ = pool.threadHeap()!.drain()
  }

  /// Gives back the empty slabs that the heap of another thread keeps, as the purger does.
  static func releaseSpares() {
    mp_model_note("releases spares", 0)
    registry.heap(1)!.releaseSpares()
  }

  /// Gives back the pages of what others have freed of all heaps, and nobody has collected, as a purge does.
  static func returnUncollected() {
    mp_model_note("returns what is not collected", 0)
    for index in 1..<registry.count { registry.heap(index)!.returnUncollected(all: true) }
  }

  /// Looks at each heap, as who sums up or purges does: it is there, and complete.
  static func walk() {
    mp_model_note("walks all heaps", 0)
    for index in 0..<registry.count {
      guard let heap = registry.heap(index) else { mp_model_fail("a heap that is counted is not found") }
      let number = UnsafeRawPointer(heap) + MemoryLayout<ThreadHeap>.offset(of: \.index)!
      if mp_model_read(number) != index { mp_model_fail("a heap that is not complete") }
    }
  }

  /// Gives up its heap, as a thread does that ends.
  static func end() {
    mp_model_note("ends", 0)
    let heap = pool.threadHeap()!
    let block = threadBlock()
    block.pointee.state = UInt(MP_THREAD_DEAD)
    for slot in 0..<Int(MP_THREAD_RECENT) { mp_thread_recent(block)[slot].owner = 0 }
    heap.abandonAll()
  }

  // MARK: Checking

  static func forEachSlab(_ body: (SlabPointer) -> Void) {
    for page in 0..<segment.pageCount.loadRelaxed() {
      let entry = segment.entry(page)
      guard entry.isSlab, let record = entry.slab.loadPointerRelaxed() else { continue }
      let slab = record.assumingMemoryBound(to: Slab.self)
      if slab.address == segment.address(ofPage: page) { body(slab) }
    }
  }

  /// Gives the slabs that there are a name each.
  static func nameSlabs() {
    var number = 0
    forEachSlab { slab in
      Names.add(slab, "slab \(number)")
      // Who pushes a slab again writes its link, which its owner must have read before.
      mp_machine_keep_order(slab.pendingNext.word)
      for index in 0..<slab.cellCount { watch(slab, cell: index) }
      number += 1
    }
  }

  /// For a table: also those that were made during the run.
  static func nameNewSlabs() {
    guard isMade else { return }
    var number = 0
    forEachSlab { slab in
      if Names.of(slab.address).hasPrefix("page") { Names.add(slab, "new slab \(number)") }
      number += 1
    }
  }

  // Whether a slab is where it says: what the heap knows is no more than it says, but must not be less.
  private static func isFound(_ slab: SlabPointer) -> Bool {
    let sizeClass = Int(slab.pointee.sizeClass), heap = slab.pointee.heap
    switch slab.pointee.place {
    case .full: return true
    case .current:
      // In its own class's seat, of its heap or of the one that its owner had first.
      for index in 0..<registry.count where registry.heap(index)!.current(sizeClass) == slab { return true }
    case .room:
      var next = heap.pointee.room[sizeClass]
      while let other = next {
        if other == slab { return true }
        next = other.pointee.next == heap.pointee.room[sizeClass] ? nil : other.pointee.next
      }
    case .spare:
      var next = SlabPointer(bitPattern: heap.spares(sizeClass).loadRelaxed())
      while let other = next {
        if other == slab { return true }
        next = other.pointee.next
      }
    }
    return reportBroken("slab", UInt(bitPattern: slab), "not where it says")
  }

  static func partsAreSound() -> Bool {
    var isSound = segment.checkInvariants() && pool.segments.checkInvariants() && registry.checkInvariants()
    forEachSlab { if !$0.checkInvariants() || !isFound($0) { isSound = false } }
    for index in 0..<registry.count where !registry.heap(index)!.checkInvariants() { isSound = false }
    return isSound
  }

  // Whether a slab of medium objects is pending, and the heap does not say so.
  private static var hasUnnotedMedium: Bool {
    for index in 1..<registry.count {
      let heap = registry.heap(index)!
      var word = heap.pending.loadRelaxed()
      while let slab = SlabPointer(bitPattern: word) {
        if slab.isMedium, !heap.hasMediumPending { return true }
        word = slab.pendingNext.loadRelaxed()
      }
    }
    return false
  }

  /// Whether everything agrees, now and when the owners have collected what was freed; and exactly what is held is taken.
  static func check() -> String? {
    if !partsAreSound() { return String(cString: mp_machine_failure()) }
    if hasUnnotedMedium { return "medium objects that nobody will look at" }
    for thread in 0..<Int(MP_MODEL_THREADS) {
      as_(thread) {
        let block = threadBlock()
        for index in 1..<registry.count where registry.heap(index)!.owner.loadRelaxed() == UInt(bitPattern: block) {
          registry.heap(index)!.drain()
        }
      }
    }
    if !partsAreSound() { return String(cString: mp_machine_failure()) }
    var taken = 0
    var isIdle = false
    forEachSlab { slab in
      taken += Int(slab.used)
      if !registry.isOwned(slab.pointee.heap.pointee.index), slab.live == 0 { isIdle = true }
    }
    // Who frees the last item of an abandoned heap's slab sees to it.
    if isIdle { return "a slab without items, which nobody gives back" }
    return taken == Items.count ? nil : "\(Items.count) items are held, \(taken) are taken from slabs"
  }
}

extension UnsafeMutablePointer where Pointee == Slab {
  /// Items that are out, and not freed by another thread.
  fileprivate var live: UInt {
    var uncollected: UInt = 0
    for index in 0..<cellCount { uncollected += UInt((~cell(index << 6).loadRelaxed()).nonzeroBitCount) }
    return used - uncollected
  }
}
