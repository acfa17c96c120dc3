import CMempoolShims

/// How long a claim waits when it finds nothing, and how often that happened: settings and counters of one bitmap or of many.
///
/// A record in memory that threads share; a zeroed one holds the defaults. Any thread may set and read it at any time; a
/// claim under way sees a new setting before its next sleep. Everything here is relaxed: no other memory depends on it.
public struct BoundedWait {
  // The settings are held plus 1, so that a zero word means the default.
  var maxRetries = AtomicWord()  // 0
  var waitNanoseconds = AtomicWord()  // 1
  var sleeps = AtomicWord()  // 2: sleeps ≤ maxRetries * (claims that waited)
  var failures = AtomicWord()  // 3
  var passes = AtomicWord()  // 4
  var lostSwaps = AtomicWord()  // 5
  // Tests: a C function called instead of sleeping, and its argument.
  var hook = AtomicWord()  // 6
  var hookArgument = AtomicWord()  // 7

  /// The defaults, and nothing counted.
  public init() {}

  /// `MPMAXRETRIES` and `MPWAITTIME` when nobody says otherwise.
  public static var defaultMaxRetries: UInt { 3 }
  public static var defaultWaitNanoseconds: UInt { 1000 }
}

public typealias BoundedWaitPointer = UnsafeMutablePointer<BoundedWait>

/// The process-wide record: what the C functions on bitmaps wait by.
public var defaultBoundedWait: BoundedWaitPointer {
  UnsafeMutableRawPointer(mp_default_wait_address()).assumingMemoryBound(to: BoundedWait.self)
}

extension UnsafeMutablePointer where Pointee == BoundedWait {
  private func word(_ index: Int) -> AtomicPointer { AtomicPointer(self, word: index) }

  private func setting(_ index: Int, default value: UInt) -> UInt {
    let stored = word(index).loadRelaxed()
    return stored == 0 ? value : stored &- 1
  }

  /// Sleeps before a claim fails; 0 is allowed and means that it fails at once.
  public var maxRetries: UInt {
    get { setting(0, default: BoundedWait.defaultMaxRetries) }
    nonmutating set { word(0).storeRelaxed(Swift.min(newValue, UInt.max - 1) + 1) }
  }

  /// The least time that one sleep takes.
  public var waitNanoseconds: UInt {
    get { setting(1, default: BoundedWait.defaultWaitNanoseconds) }
    nonmutating set { word(1).storeRelaxed(Swift.min(newValue, UInt.max - 1) + 1) }
  }

  /// Whether somebody has said how to wait, so that the defaults do not count any more.
  public var isSet: Bool { word(0).loadRelaxed() != 0 && word(1).loadRelaxed() != 0 }

  /// Says how to wait where nobody has yet. Threads that do so at the same time say the same.
  public func setIfUnset(maxRetries: UInt, waitNanoseconds: UInt) {
    _ = word(0).compareAndSwapRelaxed(0, Swift.min(maxRetries, UInt.max - 1) + 1)
    _ = word(1).compareAndSwapRelaxed(0, Swift.min(waitNanoseconds, UInt.max - 1) + 1)
  }

  /// Sleeps so far: each is one retry in the sense of ``maxRetries``.
  public var sleeps: UInt { word(2).loadRelaxed() }

  /// Claims that gave up after the last sleep that they were allowed.
  public var failures: UInt { word(3).loadRelaxed() }

  /// Looks at every cell of a bitmap: because its hints had led to nothing, or, where there are none, in vain. Each sleep
  /// follows one.
  public var passes: UInt { word(4).loadRelaxed() }

  /// Swaps in vain: the cell had changed since it was loaded. A measure of contention.
  public var lostSwaps: UInt { word(5).loadRelaxed() }

  func countPass() { _ = word(4).fetchAddRelaxed(1) }

  func countLostSwaps(_ count: UInt) {
    if count > 0 { _ = word(5).fetchAddRelaxed(count) }
  }

  /// Called in place of each sleep, for tests that need to act during one. Set it before other threads use the record.
  typealias Hook = @convention(c) (_ argument: UnsafeMutableRawPointer?) -> Void

  func setHook(_ hook: Hook?, argument: UnsafeMutableRawPointer?) {
    word(7).storeRelaxed(UInt(bitPattern: argument))
    word(6).storeRelaxed(unsafeBitCast(hook, to: UInt.self))
  }

  /// Tries until `body` succeeds, sleeping before each further try; nil after ``maxRetries`` sleeps.
  @inline(__always)
  func patiently<Found>(_ body: () -> Found?) -> Found? {
    var slept: UInt = 0
    while true {
      if let found = body() { return found }
      guard slept < maxRetries else { break }
      slept += 1
      sleep()
    }
    _ = word(3).fetchAddRelaxed(1)
    return nil
  }

  @inline(never)
  private func sleep() {
    _ = word(2).fetchAddRelaxed(1)
    if let hook = unsafeBitCast(word(6).loadRelaxed(), to: Hook?.self) {
      hook(UnsafeMutableRawPointer(bitPattern: word(7).loadRelaxed()))
    } else {
      mp_sleep_nanoseconds(UInt64(waitNanoseconds))
    }
  }
}
