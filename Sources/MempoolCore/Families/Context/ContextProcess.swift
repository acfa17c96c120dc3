import CMempoolShims

/// What all trees of the process have in common: the secret that blocks bear, who hears of misuse, and the tracker.
///
/// The tracker is a block below which every root hangs while it is there: so that all of a program can be reported on. Its list of
/// children is changed with a lock held, as roots belong to many threads. Nothing else is shared.
public enum ContextProcess {
  private static var start: UnsafeMutableRawPointer { mp_context_address() }
  private static var word: AtomicPointer { AtomicPointer(start.assumingMemoryBound(to: UInt.self)) }
  // secret << 32 | fill << 8 | marks: 1: it is made; 2: freed memory is filled
  private static var settings: AtomicPointer { word }
  // The address of the tracker's block; 0 while there is none.
  private static var root: AtomicPointer { word.advanced(by: 1) }
  // Of a function (UnsafeMutableRawPointer?, Int32) -> Void; 0: a line and SIGABRT.
  private static var hook: AtomicPointer { word.advanced(by: 2) }
  private static var isEntered: AtomicPointer { word.advanced(by: 3) }
  static var lock: MutexPointer { (start + 4 * 8).assumingMemoryBound(to: Mutex.self) }
  private static var group: LockGroupPointer { (start + 5 * 8).assumingMemoryBound(to: LockGroup.self) }

  @inline(__always)
  static var secret: UInt32 { UInt32(truncatingIfNeeded: settings.loadRelaxed() >> 32) }

  /// The byte that freed payloads are filled with.
  @inline(__always)
  static var fill: UInt8? {
    let word = settings.loadRelaxed()
    return word & 2 == 0 ? nil : UInt8(truncatingIfNeeded: word >> 8)
  }

  /// Before the first block: draws the secret.
  @inline(__always)
  static func prepare() {
    if settings.loadRelaxed() == 0 { drawSecret() }
  }

  @inline(never)
  private static func drawSecret() {
    _ = settings.compareAndSwapRelaxed(0, mp_random_word() << 32 | 1)
  }

  /// A number that nobody can guess, the same while the process runs.
  public static var magic: Int32 {
    prepare()
    return Int32(bitPattern: secret)
  }

  /// From now on freed payloads are filled with a byte.
  public static func setFill(_ byte: UInt8) {
    prepare()
    _ = settings.fetchAndRelaxed(~0xff00)
    _ = settings.fetchOrRelaxed(UInt(byte) << 8 | 2)
  }

  // MARK: Misuse

  /// Who hears of a pointer that is no live block, before the process ends: gets where it was freed, or nil and whether it was.
  public typealias Hook = @convention(c) (_ location: UnsafePointer<CChar>?, _ isFreed: Int32) -> Void

  public static func setHook(_ function: @escaping Hook) {
    hook.storeRelaxed(unsafeBitCast(function, to: UInt.self))
  }

  @inline(never)
  static func fail(_ block: ContextPointer) -> Never {
    let isFreed = block.isFreed && secret != 0
    let address = hook.loadRelaxed()
    if address != 0 {
      unsafeBitCast(address, to: Hook.self)(isFreed ? block.pointee.name : nil, isFreed ? 1 : 0)
      mp_abort()
    }
    misuse("context", UInt(bitPattern: block.payload), isFreed ? "access after free" : "unknown value")
  }

  // MARK: The tracker

  /// The block below which roots hang; nil while none is tracked.
  @inline(__always)
  public static var tracker: ContextPointer? {
    // acquire: pairs with the release in setTracker(_:)
    root.loadPointerAcquire()?.assumingMemoryBound(to: ContextBlock.self)
  }

  private static func setTracker(_ block: ContextPointer?) {
    root.storeRelease(UInt(bitPattern: block))  // release: pairs with the acquire in tracker
  }

  /// Tracks roots that are made from now on; false when there is no memory for it.
  public static func track(name: UnsafePointer<CChar>?, isStrict: Bool) -> Bool {
    if tracker != nil { return true }
    guard let block = ContextPointer.allocate(0, under: nil, isStrict: isStrict) else { return false }
    block.name = name
    block.set(ContextBlock.Mark.isTracker)
    if isEntered.compareAndSwapRelaxed(0, 1) == 0 {
      group.initialize(
        to: LockGroup(first: UInt(bitPattern: lock), stride: UInt(MemoryLayout<Mutex>.stride), count: 1))
      Process.enter(group)
    }
    setTracker(block)
    return true
  }

  /// Ends tracking: what hangs below the tracker are roots again. O(roots). For who is alone with all trees.
  public static func untrack() {
    guard let block = tracker else { return }
    setTracker(nil)
    lock.withLock {
      var next = block.pointee.child
      block.pointee.child = nil
      while let root = next {
        next = root.pointee.next
        root.pointee.parent = nil
        root.pointee.next = nil
        root.pointee.previous = nil
      }
    }
    _ = block.free(at: nil)
  }
}
