public import MempoolCore

/// A store of equal values, for any number of threads: taking one from it and giving it back costs a few nanoseconds.
///
/// A value lives in an ``Item``, a handle that cannot be copied and gives its place back by itself. Using a value after that,
/// or giving it back twice, does not compile.
///
/// ```swift
/// let connections = try SlabCache<Connection>(name: "connections")
/// var connection = try connections.make(Connection(socket))
/// connection.value.send(greeting)
/// // the connection is deinitialised and its place is free when `connection` goes out of scope
/// ```
///
/// **Threads.** Any thread may make items, and items may go to other threads, if the element is `Sendable`. Each thread leases a few
/// cells of up to 64 places, from which it takes and to which it gives back without a lock or an atomic read-modify-write.
///
/// **Lifetime.** The places go back to the pool when the cache and all of its items are gone, whichever goes last. An item does
/// not count references to its cache: that would be a word that all threads write to.
///
/// **Memory ordering.** Giving a place back releases, and taking it again acquires.
@safe
public final class SlabCache<Element: ~Copyable>: Sendable {
  // Sendable: the record is made for any thread; the pointer never changes.
  @usableFromInline
  nonisolated(unsafe) let owner: UnsafeMutablePointer<CacheOwner>

  /// Makes an empty cache. It takes its first memory with its first item.
  ///
  /// - Parameters:
  ///   - pool: Where its memory comes from; kept alive by the cache. Not one that passes through.
  ///   - name: For reports; the first 31 bytes are kept.
  /// - Throws: ``PoolError/outOfMemory``, or ``PoolError/invalidArgument`` when an element is larger than 1 MiB or the pool passes
  ///   through.
  public init(in pool: MemoryPool = .shared, name: String = "") throws(PoolError) {
    let itemSize = max(MemoryLayout<Element>.size, 1)
    unsafe owner = try CacheOwner.make(pool, itemSize, MemoryLayout<Element>.alignment, name)
  }

  deinit { unsafe owner.orphan() }

  /// A value that lives in a ``SlabCache``: its owner, and the only one.
  ///
  /// Goes where its owner goes, to another thread too if the element is `Sendable`. At its end it deinitialises the value and gives
  /// the place back.
  @safe @frozen
  public struct Item: ~Copyable {
    @usableFromInline let pointer: UnsafeMutablePointer<Element>
    @usableFromInline let owner: UnsafeMutablePointer<CacheOwner>

    @inlinable
    init(_ pointer: UnsafeMutablePointer<Element>, _ owner: UnsafeMutablePointer<CacheOwner>) {
      unsafe self.pointer = unsafe pointer
      unsafe self.owner = unsafe owner
    }

    /// The value.
    @inlinable
    public var value: Element {
      _read { yield unsafe pointer.pointee }
      _modify { yield unsafe &pointer.pointee }
    }

    /// Moves the value out and gives its place back.
    @inlinable
    public consuming func take() -> Element {
      let (pointer, owner) = unsafe (pointer, owner)
      discard self
      let value = unsafe pointer.move()
      unsafe owner.put(pointer)
      return value
    }

    @inlinable @inline(__always)
    deinit {
      // Moved out and dropped: for a value without references no code is left of this, where deinitialize(count:) is a call.
      _ = unsafe pointer.move()
      unsafe owner.put(pointer)
    }
  }
}

extension SlabCache where Element: ~Copyable {
  /// Puts a value into a free place.
  ///
  /// - Parameter value: Moved into the cache. It is lost when this throws.
  /// - Returns: The handle that the value lives in from now on.
  /// - Throws: ``PoolError/outOfMemory`` when the pool is exhausted.
  /// - Complexity: O(1) when this thread has leased a free place: some twenty instructions. Otherwise a look at the cache's
  ///   pages under their read lock, at worst a claim in the pool's bitmap, which may sleep for a bounded time.
  ///
  /// Memory ordering: acquires what the last user of the place released by giving it back.
  @inlinable @inline(__always)
  public func make(_ value: consuming Element) throws(PoolError) -> Item {
    guard let place = unsafe owner.pointee.core.take() else { throw .outOfMemory }
    let pointer = unsafe place.assumingMemoryBound(to: Element.self)
    unsafe pointer.initialize(to: value)
    return unsafe Item(pointer, owner)
  }

  /// Gives pages without a live item back to the pool.
  ///
  /// Other threads give back what they lease the next time that they look for a place; what an idle thread leases stays.
  ///
  /// - Returns: The bytes given back.
  /// - Complexity: O(pages).
  @discardableResult
  public func shrink() -> Int { unsafe Int(bitPattern: owner.pointee.core.shrink()) }

  /// What the cache has counted so far.
  ///
  /// - Complexity: O(pages), under the read lock of their list.
  public func statistics() -> CacheStatistics { unsafe CacheStatistics(owner.pointee.core.statistics()) }
}

// Whoever holds the item is the only one who reaches the value.
extension SlabCache.Item: @unchecked Sendable where Element: Sendable & ~Copyable {}
