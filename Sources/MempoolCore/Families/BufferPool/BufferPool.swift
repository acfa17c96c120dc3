/// A complete allocator inside memory that the caller brings, bookkeeping included: on the stack, static, shared, of a device.
///
/// It calls no operating system and takes no other memory, unless it is given a fallback. The caller owns the memory, which must
/// outlive the pool and stay where it is; there is nothing to destroy but what came from the fallback, which
/// ``drain()`` gives back. Not for several threads at once, unless it is given a lock, which is then held
/// during each call, also while the fallback is called.
///
/// Memory is divided into blocks of one size, with two bits each: *used*, and *continued*, which says that the block belongs to the
/// same object as the one before it. An object is neighbouring blocks; its size is nowhere else. Search is first fit from the
/// lowest free block on, 64 blocks a step: objects of one block in order cost O(1), others O(blocks / 64) at
/// worst. Giving back costs O(object's blocks / 64). Nothing is ever written beside the memory, and
/// nothing that a caller passes in is dereferenced before it is known to be the pool's.
public struct BufferPool {
  // First, because ThreadSanitizer takes a write to any field for one to the record's first byte, and others are read without
  // the lock. == number of set bits in `used`
  var usedBlocks: UInt = 0
  // == number of objects in blocks
  var objects: UInt = 0
  var peakBlocks: UInt = 0
  // No block below it is free.
  var firstFree: UInt = 0
  // Cumulative: bytes asked for, and the blocks given for them.
  var requestedBytes: UInt = 0
  var grantedBlocks: UInt = 0
  // Cumulative: requests that no blocks could meet, whatever the fallback did.
  var misses: UInt = 0
  // The root of FallbackTree, 0 when nothing came from the fallback.
  var fallbackRoot: UInt = 0
  var fallbackLive: UInt = 0
  // Cumulative.
  var fallbackCount: UInt = 0
  var fallback: RawAllocator?
  // From here on nothing changes while other threads may be in a call.
  var lock: LockHook?
  let start: UInt
  let byteCount: UInt
  let blockSize: UInt
  let blockCount: UInt
  // Where the first block begins, see BlockLayout.
  let blocks: UInt
  // == seal(address)
  let magic: UInt

  public static var defaultBlockSize: UInt { 8 }
}

public typealias BufferPoolPointer = UnsafeMutablePointer<BufferPool>

/// Why a call on a buffer pool changed nothing.
public enum BufferPoolError: Error {
  /// Neither blocks nor the fallback could meet the request.
  case outOfMemory
  /// The lock said no.
  case lockRefused
  /// A pointer into a block that is free: it was given back, or never handed out.
  case free
  /// A pointer into an object, not to its start.
  case interior
  /// A pointer to memory that is not the pool's.
  case foreign

  /// What a report says of it.
  public func text(_ purpose: Purpose) -> StaticString {
    switch self {
    case .outOfMemory: "out of memory"
    case .lockRefused: "the lock was refused"
    case .free: purpose.freedOrNeverAllocated
    case .interior: "not the start of an object"
    case .foreign: "not memory of this pool"
    }
  }
}

extension UnsafeMutablePointer where Pointee == BufferPool {
  /// Makes a pool in `byteCount` bytes from `start` on; nil when not one block fits. Writes to the bookkeeping only.
  public static func make(
    in start: UnsafeMutableRawPointer?, _ byteCount: UInt, blockSize: UInt = BufferPool.defaultBlockSize,
    fallback: RawAllocator? = nil, lock: LockHook? = nil
  ) -> BufferPoolPointer? {
    guard let start,
      let layout = BlockLayout(start: UInt(bitPattern: start), byteCount: byteCount, blockSize: blockSize)
    else { return nil }
    let pool = BufferPoolPointer(bitPattern: layout.record).unsafelyUnwrapped
    pool.initialize(
      to: BufferPool(
        fallback: fallback, lock: lock, start: UInt(bitPattern: start), byteCount: byteCount, blockSize: blockSize,
        blockCount: layout.blockCount, blocks: layout.blocks, magic: pool.seal))
    pool.used.clearAll()
    pool.continued.clearAll()
    return pool
  }

  /// A number that no memory but a pool at this place bears, not even a copy of one elsewhere.
  private var seal: UInt { (UInt(bitPattern: self) &* 0x9e37_79b9_7f4a_7c15) ^ 0x6275_6666_6572_706f }

  /// Whether there is a pool here. Looks at a word of memory that must be readable.
  public var isSealed: Bool { pointee.magic == seal }

  var used: BlockBits { BlockBits(words: row(0), count: pointee.blockCount) }
  var continued: BlockBits { BlockBits(words: row(1), count: pointee.blockCount) }

  private func row(_ number: UInt) -> UnsafeMutablePointer<UInt> {
    let offset = BlockLayout.recordBytes + number * BlockLayout.rowBytes(pointee.blockCount)
    return (UnsafeMutableRawPointer(self) + Int(offset)).assumingMemoryBound(to: UInt.self)
  }

  /// Takes `byteCount` bytes, of any content; 0 bytes give a distinct object of one block.
  ///
  /// `alignment` is a power of two. Without it an object begins at a multiple of what the block size is a multiple of, up to 16.
  public func allocate(
    _ byteCount: UInt, alignment: UInt = 1
  ) throws(BufferPoolError) -> UnsafeMutableRawPointer {
    try acquire()
    defer { release() }
    if let index = take(byteCount, alignment) { return pointer(index) }
    if let pointer = allocateFromFallback(byteCount, alignment) { return pointer }
    throw .outOfMemory
  }

  /// Takes `count` × `byteCount` bytes, all zero.
  public func allocateZeroed(count: UInt, byteCount: UInt) throws(BufferPoolError) -> UnsafeMutableRawPointer {
    let (sum, overflow) = count.multipliedReportingOverflow(by: byteCount)
    guard !overflow else { throw .outOfMemory }
    let pointer = try allocate(sum)
    pointer.initializeMemory(as: UInt8.self, repeating: 0, count: Int(sum))
    return pointer
  }

  /// Takes an object back. Nil is nothing to do.
  public func deallocate(_ pointer: UnsafeMutableRawPointer?) throws(BufferPoolError) {
    guard let pointer else { return }
    try acquire()
    defer { release() }
    switch try locate(pointer) {
    case .blocks(let index):
      vacate(index, length(index))
      pointee.objects -= 1
    case .fallback(let node): giveBackToFallback(node)
    }
  }

  /// Takes back all objects, also those from the fallback, and zeroes the blocks. O(memory).
  public func drain() throws(BufferPoolError) {
    try acquire()
    defer { release() }
    drainFallback()
    used.clearAll()
    continued.clearAll()
    pointee.usedBlocks = 0
    pointee.objects = 0
    pointee.firstFree = 0
    pointer(0).initializeMemory(as: UInt8.self, repeating: 0, count: Int(pointee.blockCount * pointee.blockSize))
  }

  /// The bytes that an object may use.
  public func usableSize(of pointer: UnsafeRawPointer?) throws(BufferPoolError) -> UInt {
    guard let pointer else { return 0 }
    try acquire()
    defer { release() }
    switch try locate(pointer) {
    case .blocks(let index): return length(index) * pointee.blockSize
    case .fallback(let node): return fallbackSize(node)
    }
  }

  /// Whether an address lies in the pool's blocks: from the first on, and before the end. Says nothing on whether an object is there.
  /// What came from the fallback is elsewhere. No lock: the blocks stay where they are.
  public func owns(_ pointer: UnsafeRawPointer?) -> Bool {
    UInt(bitPattern: pointer) &- pointee.blocks < pointee.blockCount * pointee.blockSize
  }

  /// Whether no block is free.
  public func isFull() throws(BufferPoolError) -> Bool {
    try acquire()
    defer { release() }
    return pointee.usedBlocks == pointee.blockCount
  }

  /// The pool as an allocator for others, on as many threads as its lock allows. Its objects are aligned to 8, whatever the block size. An
  /// object that is not the pool's ends the process.
  public var allocator: RawAllocator {
    RawAllocator(
      resize: { state, pointer, byteCount in
        let pool = state.unsafelyUnwrapped.assumingMemoryBound(to: BufferPool.self)
        if pointer == nil && byteCount == 0 { return nil }
        do throws(BufferPoolError) {
          return try pool.reallocate(pointer, UInt(bitPattern: byteCount), alignment: 8)
        } catch {
          if error == .outOfMemory || error == .lockRefused { return nil }
          misuse("BufferPool.allocator", UInt(bitPattern: pointer), error.text(byteCount == 0 ? .free : .use))
        }
      }, state: UnsafeMutableRawPointer(self))
  }

  /// Gives the pool a lock, or none. Nobody else may use the pool yet.
  public func setLock(_ lock: LockHook?) { pointee.lock = lock }

  /// What to fall back on from now on; false, and nothing is changed, while objects of another one are live.
  public func setFallback(_ fallback: RawAllocator?) throws(BufferPoolError) -> Bool {
    try acquire()
    defer { release() }
    guard pointee.fallbackLive == 0 else { return false }
    pointee.fallback = fallback
    return true
  }

  func acquire() throws(BufferPoolError) {
    guard let hook = pointee.lock else { return }
    if hook.lock(hook.state) != 0 { throw .lockRefused }
  }

  func release() {
    if let hook = pointee.lock { hook.unlock(hook.state) }
  }
}
