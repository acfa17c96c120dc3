internal import MempoolCore

/// Objects named by handles: 4 bytes of overhead each, in pages that come and go one by one.
///
/// A handle is not a pointer: an object's bytes are reached while it is mapped. So they need no address at other times, may lie in a file of
/// which a window is mapped, and may be moved.
///
/// ```swift
/// let pages = try CompactPool()
/// let page = try pages.allocate(byteCount: compressed.count)
/// try pages.withMapped(page) { $0.update(from: compressed) }
/// pages.free(page)
/// ```
///
/// **Threads.** Any thread may call anything at any time, and may free what another thread allocated. Pages are sharded over threads, with
/// a lock a shard.
///
/// **Memory.** On mixed sizes and lifetimes some 6 to 7 % above the live bytes at the peak. Pages in which nothing lies go back to the
/// system at once, but for a small reserve.
///
/// **Misuse.** Freeing or mapping what is not a live object of this pool ends the process with one line on standard error that names
/// the call, the handle and what is wrong. Records lie between the objects, where an overflow reaches them; what it did is reported
/// when a neighbour is freed.
@safe
public final class CompactPool: Sendable {
  // Sendable: the record is made for any thread; the pointer never changes.
  private nonisolated(unsafe) let core: CompactPoolPointer
  private let memory: MemoryPool

  /// Names an object of a ``CompactPool``. A value: copies name the same object.
  public struct Handle: Sendable, Hashable {
    /// The number of the page that it begins in, or of its slot, if it may move.
    public let page: UInt32
    /// Where it begins there, or how often its slot was used before.
    public let offset: UInt32

    /// A handle whose numbers came from elsewhere, from another process for example.
    public init(page: UInt32, offset: UInt32) {
      self.page = page
      self.offset = offset
    }

    init(_ core: CompactHandle) { self.init(page: core.page, offset: core.offset) }
    var core: CompactHandle { CompactHandle(page: page, offset: offset) }
  }

  /// Makes an empty pool.
  ///
  /// - Parameters:
  ///   - options: How it keeps its pages.
  ///   - memory: Where pages and records come from; kept alive by the pool. Not one that passes through.
  /// - Throws: ``PoolError/invalidArgument`` for options that no pool can have, ``PoolError/reservationFailed(errno:)`` or
  ///   ``PoolError/outOfMemory``.
  public init(_ options: CompactPoolOptions = CompactPoolOptions(), in memory: MemoryPool = .shared) throws(PoolError) {
    self.memory = memory
    do throws(MempoolCore.PoolError) {
      unsafe core = try .create(try options.core(), in: memory.core)
    } catch {
      throw PoolError(error)
    }
  }

  /// A pool that another process made, by the descriptor of its file: to map and measure objects by handles that came from there. It
  /// allocates nothing, and to free an object of it is misuse.
  ///
  /// - Parameter descriptor: As the other process's ``descriptor``; may be closed afterwards.
  /// - Throws: ``PoolError/invalidArgument`` when the file is none of a compact pool.
  public init(attachedTo descriptor: Int32) throws(PoolError) {
    memory = .shared
    do throws(MempoolCore.PoolError) {
      unsafe core = try .attach(descriptor)
    } catch {
      throw PoolError(error)
    }
  }

  deinit { unsafe core.destroy(call: "CompactPool.deinit") }

  /// Takes `byteCount` bytes. Their content is whatever was there before.
  ///
  /// - Parameters:
  ///   - byteCount: At least 1.
  ///   - grows: False: of the memory that the pool holds already. Looks at some hundred free places, not at all of them.
  /// - Returns: The name of an object that is the caller's until it is freed.
  /// - Throws: ``PoolError/outOfMemory``; or ``PoolError/invalidArgument`` for a size that no object can have.
  /// - Complexity: O(1), a lock; a system call when a page comes or goes.
  ///
  /// Memory ordering: acquires what the last owner of the memory released by freeing it.
  public func allocate(byteCount: Int, grows: Bool = true) throws(PoolError) -> Handle {
    guard byteCount > 0, unsafe UInt(byteCount) <= core.largest else { throw .invalidArgument }
    guard let handle = unsafe core.allocate(UInt(byteCount), grows: grows) else {
      if unsafe core.isAttached { throw .invalidArgument }
      throw .outOfMemory
    }
    return Handle(handle)
  }

  /// Gives an object back. Nothing may use it afterwards, and nobody may have it mapped.
  ///
  /// - Complexity: O(1), a lock; a system call when a page goes.
  public func free(_ handle: Handle) { unsafe core.free(handle.core, call: "CompactPool.free") }

  /// The size that was asked for, exactly.
  public func byteCount(of handle: Handle) -> Int {
    unsafe Int(bitPattern: core.size(handle.core, call: "CompactPool.byteCount"))
  }

  /// Calls `body` with an object's bytes, which stay where they are meanwhile. Any number of threads may have it mapped, as far as
  /// what they do with the bytes allows that.
  ///
  /// - Parameters:
  ///   - handle: A live object. Anything else is reported and ends the process.
  ///   - body: Gets all of the object's bytes, to read and to write.
  /// - Throws: What `body` throws; ``PoolError/outOfMemory`` when the system refuses to map them, which only a pool in a file asks it to.
  /// - Complexity: Two compare-and-swaps; for a pool in a file, two system calls when its page is outside of the window.
  public func withMapped<Result: ~Copyable>(
    _ handle: Handle, _ body: (inout MutableSpan<UInt8>) throws -> Result
  ) throws -> Result {
    guard let (start, byteCount) = unsafe core.map(handle.core, call: "CompactPool.withMapped") else {
      throw PoolError.outOfMemory
    }
    defer { unsafe core.unmap(handle.core, call: "CompactPool.withMapped") }
    let count = Int(bitPattern: byteCount)
    let bytes = unsafe UnsafeMutableBufferPointer(
      start: start.bindMemory(to: UInt8.self, capacity: count), count: count)
    var span = unsafe MutableSpan(_unsafeElements: bytes)
    return try body(&span)
  }

  /// An object's bytes, which stay where they are until ``unmap(_:)`` has been called as often as this.
  ///
  /// - Throws: As ``withMapped(_:_:)``.
  @unsafe
  public func map(_ handle: Handle) throws(PoolError) -> UnsafeMutableRawBufferPointer {
    guard let (start, byteCount) = unsafe core.map(handle.core, call: "CompactPool.map") else { throw .outOfMemory }
    return unsafe UnsafeMutableRawBufferPointer(start: start, count: Int(bitPattern: byteCount))
  }

  /// Ends a use of an object's bytes.
  @unsafe
  public func unmap(_ handle: Handle) { unsafe core.unmap(handle.core, call: "CompactPool.unmap") }

  /// Pages held × page size.
  public var totalBytes: Int { unsafe Int(bitPattern: core.totalBytes) }

  /// Gives back the empty pages that are kept for the next allocation.
  ///
  /// - Returns: The bytes given back.
  @discardableResult
  public func trim() -> Int { unsafe Int(bitPattern: core.trim()) }

  /// Moves objects together, if they may move, so that pages between them go back to the system. What is mapped stays, with its
  /// neighbours. Handles stay valid.
  ///
  /// - Returns: The bytes given back; 0 if ``CompactPoolOptions/isMovable`` is false.
  /// - Complexity: O(objects), copying each at most once; other threads go on meanwhile, but for the 64 KiB that are being moved.
  @discardableResult
  public func compact() -> Int { unsafe Int(bitPattern: core.compact()) }

  /// The file that holds the pages, for another process to inherit or to be sent; nil unless they are in a file, and handles do not lead
  /// through a table. The pool's: not to be closed.
  public var descriptor: Int32? { unsafe core.descriptor }

  /// What the pool has, and has counted.
  ///
  /// - Complexity: O(shards), each under its lock.
  public func statistics() -> CompactPoolStatistics { unsafe CompactPoolStatistics(core.statistics()) }
}
