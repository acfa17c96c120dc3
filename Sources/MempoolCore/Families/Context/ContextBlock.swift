/// A block of a tree of memory: 64 bytes in front of what its user has, and a context for other blocks.
///
/// A block hangs below its parent, or is a root. Freeing it frees what hangs below it, its newest child first. One tree is used by one thread at a time;
/// different trees are free of each other, also when roots are tracked (``ContextProcess``). A pointer to it comes from the calls that make one,
/// or from ``init(payload:)``, which compares the identity word before anything else of the block is believed.
///
/// **The block is within the program's reach**: what runs over the end of the one before it hits the identity first.
public struct ContextBlock {
  // == ContextPointer.mark while it is live, ~mark once it is freed.
  var identity: UInt32
  // Steps of 16 bytes back to the record of the pool that it lies in; 0: in none.
  var poolOffset: UInt32
  // While it is being freed: where it was.
  var parent: ContextPointer?
  var next: ContextPointer?
  // The next newer sibling. While it is being freed: the block whose freeing goes on then.
  var previous: ContextPointer?
  // The newest.
  var child: ContextPointer?
  // Once it is freed: where from.
  var name: UnsafePointer<CChar>?
  // size | marks << 48. Of a free run of a pool: its bytes.
  var bits: UInt
  // Without a record of extras (Mark.hasExtras) the destructor's address or 0, otherwise the record's.
  var tail: UInt

  static var byteCount: UInt { 64 }

  /// No block is larger.
  public static var largest: UInt { 1 << 46 }
  /// Nor a pool.
  public static var largestPool: UInt { ContextPool.largest }

  /// Bits of ``ContextBlock/bits``, above the size.
  enum Mark {
    static var shift: UInt { 48 }
    /// Its destructor has been run, or there was none, and its children are being freed.
    static var freeing: UInt { 1 << 48 }
    static var isPool: UInt { 1 << 49 }
    static var hasExtras: UInt { 1 << 50 }
    /// It stands for a block that has another parent, too.
    static var isReference: UInt { 1 << 51 }
    /// It is of a tree that keeps to the layout and the figures of talloc.
    static var isStrict: UInt { 1 << 52 }
    /// It has a limit, or a block above it may have one. Never clear below a limit.
    static var isLimited: UInt { 1 << 53 }
    static var hasLimit: UInt { 1 << 54 }
    /// Its destructor is running.
    static var destructing: UInt { 1 << 55 }
    // Steps of 16 bytes, 0 to 3, by which it is longer in its pool than it needs.
    static var slackShift: UInt { 56 }
    static var slack: UInt { 3 << slackShift }
    /// What lies before it in its pool is free, and says in its last word where it begins.
    static var followsFree: UInt { 1 << 58 }
    /// The root of all roots, below which every change is made with a lock.
    static var isTracker: UInt { 1 << 59 }
    /// It is what a call to free was for: what is above it has nothing to do with it any more.
    static var isCutOff: UInt { 1 << 60 }

    static var inherited: UInt { isStrict | isLimited }
    static var all: UInt { ~0 << shift }
  }
}

public typealias ContextPointer = UnsafeMutablePointer<ContextBlock>

extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// The block of what a user has. What is none ends the process, by ``ContextProcess/fail(_:_:)``.
  @inline(__always)
  public init(payload: UnsafeRawPointer) {
    self.init(comparing: payload)
    check()
  }

  /// What is only compared: it need not be a block, and is not looked at.
  @inline(__always)
  public init(comparing payload: UnsafeRawPointer) {
    self = UnsafeMutableRawPointer(mutating: payload - Int(ContextBlock.byteCount)).assumingMemoryBound(
      to: ContextBlock.self)
  }

  @inline(__always)
  public var payload: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) + Int(ContextBlock.byteCount) }

  var address: UInt { UInt(bitPattern: self) }

  /// What a live block bears here, and not even a copy of it elsewhere.
  @inline(__always)
  var mark: UInt32 { ContextProcess.secret ^ UInt32(truncatingIfNeeded: address >> 4) }

  @inline(__always)
  func check() {
    if pointee.identity != mark { ContextProcess.fail(self) }
  }

  var isFreed: Bool { pointee.identity == ~mark }

  @inline(__always)
  func isMarked(_ mark: UInt) -> Bool { pointee.bits & mark != 0 }

  @inline(__always)
  func set(_ mark: UInt) { pointee.bits |= mark }

  @inline(__always)
  func clear(_ mark: UInt) { pointee.bits &= ~mark }

  /// Bytes that its user asked for.
  @inline(__always)
  public var size: UInt { pointee.bits & ~ContextBlock.Mark.all }

  func setSize(_ size: UInt) { pointee.bits = pointee.bits & ContextBlock.Mark.all | size }

  public var isPool: Bool { isMarked(ContextBlock.Mark.isPool) }
  public var isReference: Bool { isMarked(ContextBlock.Mark.isReference) }
  var isStrict: Bool { isMarked(ContextBlock.Mark.isStrict) }

  /// Nil unless somebody gave it one. Not copied: the bytes are the caller's, and outlive the block.
  public var name: UnsafePointer<CChar>? {
    get { pointee.name }
    nonmutating set { pointee.name = newValue }
  }

  /// O(1).
  public var parent: ContextPointer? { pointee.parent }

  /// Whether a block is this one or hangs somewhere below it: looks at no more than `depth` parents. This one is only compared.
  public func isAbove(_ block: ContextPointer, depth: UInt) -> Bool {
    var next: ContextPointer? = block
    var left = depth
    while let here = next, left > 0 {
      if here == self { return true }
      next = here.parent
      left -= 1
    }
    return false
  }
}
