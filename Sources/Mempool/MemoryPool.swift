public import MempoolCore

/// A place to take memory from: small objects from the calling thread's heap, larger ones from runs and spans.
///
/// There is one pool for the whole process, ``shared``, and there are as many others as a program makes. A pool of its own
/// bounds what a part of the program may use, and gives everything back at once.
///
/// ```swift
/// let requests = try MemoryPool(PoolOptions(backing: .fixed(byteCount: 64 << 20)))
/// let bytes = try requests.allocate(byteCount: 4096)
/// requests.deallocate(bytes)
/// ```
///
/// **Lifetime.** A pool is a handle: copies of it are the same pool. When the last copy goes, its memory goes with it, and every
/// pointer into it, given back or not, is invalid from then on. ``shared`` is never destroyed.
///
/// **Threads.** Any thread may call anything at any time, and may give back what another thread took. A thread keeps a heap of
/// its own in each pool that it uses; that costs a few pages, and is handed on to another thread when it exits.
///
/// **Memory ordering.** A deallocation releases and the allocation that hands the same memory out again acquires: what the last
/// owner wrote is visible to the next. A pointer that is passed between threads needs the program's own synchronisation, as
/// with any allocator.
///
/// **Misuse.** Giving back what is not a live object of this pool, twice or in the middle of it, ends the process with one line
/// on standard error that names the call, the pointer and what is wrong.
@safe @frozen
public struct MemoryPool: Sendable {
  // Sendable: the record behind it is made for any thread, and the pointer never changes.
  @usableFromInline
  nonisolated(unsafe) let core: MemoryPoolPointer
  // Nil for the shared pool: no reference is counted there, which all threads would write to.
  @usableFromInline
  let lifetime: PoolLifetime?

  /// The pool of the whole process, made at its first use as the environment says (`MEMPOOL_FIXED` and others; run
  /// `mempool info --environment` for all of them). Never destroyed.
  @inlinable
  public static var shared: MemoryPool { unsafe MemoryPool(core: .shared, lifetime: nil) }

  @inlinable
  init(core: MemoryPoolPointer, lifetime: PoolLifetime?) {
    unsafe self.core = unsafe core
    self.lifetime = lifetime
  }

  /// Makes a pool with its own address space.
  ///
  /// - Parameter options: Where memory comes from and what happens when there is none; by default, as much as is asked for.
  /// - Throws: ``PoolError/reservationFailed(errno:)`` when the system refuses the address space,
  ///   ``PoolError/lockFailed(errno:)`` when the memory cannot be locked, ``PoolError/outOfMemory``, or
  ///   ``PoolError/invalidArgument`` for a size that no pool can have.
  /// - Complexity: A few system calls; with `prefaulted`, one page fault a page.
  public init(_ options: PoolOptions = PoolOptions()) throws(PoolError) {
    try self.init(core: options.core())
  }

  /// Makes a pool in memory that is there already, bookkeeping included. No system call, now or later.
  ///
  /// - Parameters:
  ///   - buffer: Memory that outlives the pool and that nobody else touches meanwhile.
  ///   - options: Everything but where memory comes from.
  /// - Throws: ``PoolError/invalidArgument`` when the buffer is too small to hold the bookkeeping and one page.
  @unsafe
  public init(
    in buffer: UnsafeMutableRawBufferPointer, _ options: PoolOptions = PoolOptions()
  ) throws(PoolError) {
    var core = try options.core()
    unsafe core.backing = .buffer(start: UInt(bitPattern: buffer.baseAddress), count: buffer.count)
    try self.init(core: core)
  }

  private init(core options: MempoolCore.PoolOptions) throws(PoolError) {
    let created: MemoryPoolPointer
    do {
      unsafe created = try .create(options)
    } catch {
      throw PoolError(error)
    }
    unsafe self.init(core: created, lifetime: PoolLifetime(created))
  }
}

/// What destroys a pool when the last handle of it goes.
@safe @usableFromInline
final class PoolLifetime: Sendable {
  private nonisolated(unsafe) let core: MemoryPoolPointer

  init(_ core: MemoryPoolPointer) { unsafe self.core = unsafe core }

  deinit { unsafe core.destroy() }
}

extension MemoryPool: Equatable {
  /// Whether both are handles of the same pool.
  public static func == (left: MemoryPool, right: MemoryPool) -> Bool { unsafe left.core == right.core }
}

extension MemoryPool {
  /// Takes `byteCount` bytes. Their content is whatever was there before.
  ///
  /// - Parameters:
  ///   - byteCount: The size; 0 gives a distinct object all the same.
  ///   - alignment: A power of two. Objects of 16 bytes and more are aligned to 16 whatever this says.
  /// - Returns: Memory that is the caller's until it is passed to ``deallocate(_:)`` or ``reallocate(_:byteCount:)``.
  /// - Throws: ``PoolError/outOfMemory`` when the pool is exhausted and its options say to fail, and
  ///   ``PoolError/invalidArgument`` when `byteCount` is negative or `alignment` is not a power of two.
  /// - Complexity: O(1) when this thread has a free item of the size, without lock, atomic read-modify-write or system call.
  ///   Otherwise a claim in the pool's bitmap, which may sleep for a bounded time, and at worst a system call.
  ///
  /// Memory ordering: acquires what the last owner of the memory released by giving it back.
  @inlinable @inline(__always)
  public func allocate(byteCount: Int, alignment: Int = 8) throws(PoolError) -> UnsafeMutableRawPointer {
    guard byteCount >= 0 else { throw .invalidArgument }
    let pointer: UnsafeMutableRawPointer?
    // A dense pool aligns no object to more than its size by itself.
    if alignment == 8, byteCount >= 8 {
      unsafe pointer = unsafe core.allocate(UInt(bitPattern: byteCount))
    } else {
      guard Self.isAlignment(alignment) else { throw .invalidArgument }
      unsafe pointer = unsafe core.allocateAligned(UInt(bitPattern: byteCount), alignment: UInt(bitPattern: alignment))
    }
    guard let pointer = unsafe pointer else { throw .outOfMemory }
    return unsafe pointer
  }

  /// Takes `byteCount` bytes, all of them zero. Memory that comes fresh from the system is not cleared again.
  ///
  /// - Parameter byteCount: The size; 0 gives a distinct object all the same.
  /// - Throws: As ``allocate(byteCount:alignment:)``.
  /// - Complexity: As ``allocate(byteCount:alignment:)``, and O(*byteCount*) for memory that was used before.
  public func allocateZeroed(byteCount: Int) throws(PoolError) -> UnsafeMutableRawPointer {
    guard byteCount >= 0 else { throw .invalidArgument }
    guard let pointer = unsafe core.allocateZeroed(count: 1, byteCount: UInt(bitPattern: byteCount)) else {
      throw .outOfMemory
    }
    return unsafe pointer
  }

  /// Takes room for `count` elements, uninitialised and aligned for them.
  ///
  /// The elements are the caller's to initialise and to deinitialise; give the room back with ``deallocate(_:)``, passing
  /// `baseAddress`.
  ///
  /// - Throws: As ``allocate(byteCount:alignment:)``; also ``PoolError/invalidArgument`` when the size overflows.
  public func allocate<Element: ~Copyable>(
    _ type: Element.Type, count: Int
  ) throws(PoolError) -> UnsafeMutableBufferPointer<Element> {
    let (byteCount, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard count >= 0, !overflow else { throw .invalidArgument }
    let alignment = max(MemoryLayout<Element>.alignment, 8)
    let bytes = try unsafe allocate(byteCount: byteCount, alignment: alignment)
    let start = unsafe bytes.bindMemory(to: Element.self, capacity: count)
    return unsafe UnsafeMutableBufferPointer(start: start, count: count)
  }

  /// Changes an object's size, in place where it can: the result may be `pointer`.
  ///
  /// - Parameters:
  ///   - pointer: A live object of this pool, aligned to no more than 16. It is given back unless this throws.
  ///   - byteCount: The new size. A size below half of the old one moves the object, so that memory is really given back.
  /// - Returns: An object whose first `min(old, new)` bytes are those of `pointer`.
  /// - Throws: ``PoolError/outOfMemory`` or ``PoolError/invalidArgument``; `pointer` is then as it was.
  /// - Complexity: O(`min(old, new)`) where it has to copy; what has grown above 1 MiB is then moved by the system, page by page.
  @unsafe
  public func reallocate(
    _ pointer: UnsafeMutableRawPointer, byteCount: Int
  ) throws(PoolError) -> UnsafeMutableRawPointer {
    guard byteCount >= 0 else { throw .invalidArgument }
    // A pass-through pool asks the C library, for which a size of 0 means to free.
    let atLeastOne = UInt(bitPattern: max(byteCount, 1))
    guard let new = unsafe core.reallocate(pointer, atLeastOne) else { throw .outOfMemory }
    return unsafe new
  }

  /// Gives an object back. Nothing may use it afterwards.
  ///
  /// - Parameter pointer: A live object of this pool, taken by any thread; nil is nothing to do. Anything else is reported and
  ///   ends the process.
  /// - Complexity: O(1). On the thread whose heap owns the slab without atomic read-modify-write; from another thread one of
  ///   them, for most frees.
  ///
  /// Memory ordering: releases what this thread wrote to the allocation that hands the memory out next.
  @unsafe @inlinable @inline(__always)
  public func deallocate(_ pointer: UnsafeMutableRawPointer?) {
    unsafe core.deallocate(pointer)
  }

  /// Bytes that the caller may use from `pointer` on: at least what was asked for.
  ///
  /// - Parameter pointer: A live object of this pool. Anything else is reported and ends the process.
  /// - Complexity: O(1).
  @unsafe
  public func usableSize(of pointer: UnsafeRawPointer) -> Int {
    Int(bitPattern: unsafe core.usableSize(of: pointer))
  }

  /// Whether `pointer` points into memory of this pool. Says nothing on whether it is a live object. Never dereferences it.
  ///
  /// - Complexity: O(1).
  public func owns(_ pointer: UnsafeRawPointer) -> Bool {
    unsafe core.owns(pointer)
  }

  /// Returns idle memory of all threads' heaps to the system, now.
  ///
  /// A pool does this by itself for what has been idle for a while; call it when a program is about to be idle for long.
  /// Pools that are fixed have nothing to return.
  ///
  /// - Returns: The bytes returned.
  /// - Complexity: Proportional to the pages that are idle; one system call for each stretch of them.
  @discardableResult
  public func purge() -> Int {
    Int(bitPattern: unsafe core.purge())
  }

  /// What the pool has counted so far.
  ///
  /// - Complexity: A walk over heaps and slabs. No allocation or deallocation waits for it.
  public func statistics() -> MempoolStatistics {
    unsafe MempoolStatistics(core.statistics())
  }

  @inlinable
  static func isAlignment(_ alignment: Int) -> Bool {
    alignment > 0 && alignment & (alignment &- 1) == 0
  }
}
