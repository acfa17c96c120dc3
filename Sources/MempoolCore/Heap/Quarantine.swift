import CMempoolShims

/// Objects that a thread gave back and that may not be handed out yet: a queue for each size class, for runs and for spans,
/// first in first out, bounded in number and in bytes.
///
/// A record in the metadata arena of one of the pool's segments, made when the thread first gives something back at such a level, and kept
/// with its heap. A lock, as any thread may empty it when the pool would be exhausted otherwise; it is held over a few instructions.
struct Quarantine {
  struct Entry {
    var owner: UInt = 0  // slab, segment, or span
    var place: UInt = 0  // number of the item, or address of the run
    var byteCount: UInt = 0
  }

  struct Queue {
    var start: UInt32 = 0  // of its entries among all
    var capacity: UInt32 = 0
    var first: UInt32 = 0
    var count: UInt32 = 0
    var byteCount: UInt = 0
  }

  var mutex = Mutex()  // 0
  var queues = InlineArray<50, Queue>(repeating: Queue())

  static var runs: Int { SizeClass.smallCount }
  static var spans: Int { SizeClass.smallCount + 1 }
  static var queueCount: Int { SizeClass.smallCount + 2 }

  /// Of a class: 16 KiB of items, but at least 4 and at most 64. A thread holds back 0.6 MiB of items at most, if it uses all classes.
  static var classBytes: UInt { 16 << 10 }
  /// Of runs. Larger ones than a quarter of it do not wait.
  static var runBytes: UInt { 1 << 20 }
  /// Of spans, which cost address space, and no memory.
  static var spanBytes: UInt { 1 << 30 }

  static func capacity(_ queue: Int) -> UInt {
    queue < runs ? min(max(classBytes / SizeClass.itemSize(queue), 4), 64) : 32
  }

  static func mostBytes(_ queue: Int) -> UInt { queue < runs ? .max : queue == runs ? runBytes : spanBytes }

  static func takes(_ queue: Int, _ byteCount: UInt) -> Bool { queue < runs || byteCount <= mostBytes(queue) / 4 }
}

typealias QuarantinePointer = UnsafeMutablePointer<Quarantine>

extension UnsafeMutablePointer where Pointee == Quarantine {
  var mutex: MutexPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Mutex.self) }

  private static var entriesOffset: Int { (MemoryLayout<Quarantine>.stride + 63) & ~63 }

  static var recordByteCount: UInt {
    var count: UInt = 0
    for queue in 0..<Quarantine.queueCount { count += Quarantine.capacity(queue) }
    return UInt(entriesOffset) + count * UInt(MemoryLayout<Quarantine.Entry>.stride)
  }

  private var entries: UnsafeMutablePointer<Quarantine.Entry> {
    (UnsafeMutableRawPointer(self) + Self.entriesOffset).assumingMemoryBound(to: Quarantine.Entry.self)
  }

  /// Empty, in zeroed memory.
  func start() {
    var start: UInt = 0
    for queue in 0..<Quarantine.queueCount {
      let capacity = Quarantine.capacity(queue)
      pointee.queues[queue].start = UInt32(start)
      pointee.queues[queue].capacity = UInt32(capacity)
      start += capacity
    }
  }

  /// Puts an object in, if there is room; else nothing has happened, and the oldest is what it returns: the caller releases that, and
  /// tries again.
  func put(_ entry: Quarantine.Entry, in queue: Int) -> Quarantine.Entry? {
    mutex.withLock {
      let now = pointee.queues[queue]
      if now.count == now.capacity || now.count > 0 && now.byteCount + entry.byteCount > Quarantine.mostBytes(queue) {
        return removeFirst(queue)
      }
      entries[Int(now.start + (now.first + now.count) % now.capacity)] = entry
      pointee.queues[queue].count = now.count + 1
      pointee.queues[queue].byteCount = now.byteCount + entry.byteCount
      return nil
    }
  }

  /// The oldest of a queue, which is the caller's to release; nil: it is empty.
  func take(_ queue: Int) -> Quarantine.Entry? { mutex.withLock { removeFirst(queue) } }

  private func removeFirst(_ queue: Int) -> Quarantine.Entry? {
    let now = pointee.queues[queue]
    if now.count == 0 { return nil }
    let entry = entries[Int(now.start + now.first)]
    pointee.queues[queue].first = (now.first + 1) % now.capacity
    pointee.queues[queue].count = now.count - 1
    pointee.queues[queue].byteCount = now.byteCount - entry.byteCount
    return entry
  }

  /// Objects that wait in a queue.
  func count(_ queue: Int) -> UInt { mutex.withLock { UInt(pointee.queues[queue].count) } }

  /// In a forked child, by its only thread: forgets all. What waited is found by its note, with what was on its way here.
  func forget() {
    for queue in 0..<Quarantine.queueCount {
      pointee.queues[queue].first = 0
      pointee.queues[queue].count = 0
      pointee.queues[queue].byteCount = 0
    }
  }
}
