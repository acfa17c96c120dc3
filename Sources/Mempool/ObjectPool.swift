public import MempoolCore

/// Values of one type, places for a count of them kept ready, for any number of threads.
///
/// A value lives in an ``Object``, a handle that cannot be copied and gives its place back by itself, from whichever thread. The
/// pool of a place is found from its address, so a handle is one word.
///
/// ```swift
/// let calls = try ObjectPool<Call>(count: 1024, name: "calls")
/// var call = try calls.acquire(Call(request))
/// call.value.run()
/// // the call is deinitialised and its place is free when `call` goes out of scope
/// ```
///
/// **More than the count.** When all places are taken, or held ready by other threads, values go where ``ObjectPoolFallback`` says,
/// and that is counted: choose the count near ``ObjectPoolStatistics/maxHot`` and add ``ObjectPoolStatistics/maxFallback``.
///
/// **Threads.** Any thread may acquire, and objects may go to other threads, if the element is `Sendable`. Each thread leases a
/// few cells of up to 64 places, from which it acquires and to which it releases without a lock or an atomic read-modify-write.
///
/// **Lifetime.** The pool goes when its last reference is gone and its last object is released, whichever comes last.
///
/// **Memory ordering.** Releasing a place releases, and acquiring it again acquires.
@safe
public final class ObjectPool<Element: ~Copyable>: Sendable {
  @usableFromInline let owner: ObjectPoolOwner

  /// Makes a pool with its places.
  ///
  /// - Parameters:
  ///   - count: Places to keep ready, at least 1.
  ///   - pool: Where they lie; kept alive until they are gone. Not one in a caller's buffer. With one that passes through, every
  ///     object comes from the system's allocator.
  ///   - name: For statistics, the first 63 bytes.
  ///   - fallback: Where objects come from that have no place.
  /// - Throws: ``PoolError/outOfMemory``, or ``PoolError/invalidArgument`` for a count below 1, a pool that it cannot be in, or an
  ///   element larger than 1 MiB.
  public init(
    count: Int, in pool: MemoryPool = .shared, name: String = "", fallback: ObjectPoolFallback = .segment
  ) throws(PoolError) {
    owner = try ObjectPoolOwner(
      max(MemoryLayout<Element>.size, 1), MemoryLayout<Element>.alignment, count, pool, name, fallback)
  }

  /// A value that lives in an ``ObjectPool``: its owner, and the only one.
  ///
  /// Goes where its owner goes, to another thread too if the element is `Sendable`. At its end it deinitialises the value and
  /// gives the place back.
  @safe @frozen
  public struct Object: ~Copyable {
    @usableFromInline let pointer: UnsafeMutablePointer<Element>

    @inlinable
    init(_ pointer: UnsafeMutablePointer<Element>) { unsafe self.pointer = unsafe pointer }

    /// The value.
    @inlinable
    public var value: Element {
      _read { yield unsafe pointer.pointee }
      _modify { yield unsafe &pointer.pointee }
    }

    /// Moves the value out and gives its place back.
    @inlinable
    public consuming func take() -> Element {
      let pointer = unsafe pointer
      discard self
      let value = unsafe pointer.move()
      unsafe ObjectPoolPointer.release(pointer, call: "ObjectPool.Object.take")
      return value
    }

    @inlinable @inline(__always)
    deinit {
      // Moved out and dropped: for a value without references no code is left of this, where deinitialize(count:) is a call.
      _ = unsafe pointer.move()
      unsafe ObjectPoolPointer.release(pointer, call: "ObjectPool.Object.deinit")
    }
  }
}

extension ObjectPool where Element: ~Copyable {
  /// Puts a value into a place.
  ///
  /// - Parameter value: Moved into the pool. It is lost when this throws.
  /// - Returns: The handle that the value lives in from now on.
  /// - Throws: ``PoolError/outOfMemory`` when there is neither a place nor memory.
  /// - Complexity: O(1) when this thread has a free place at hand: some twenty instructions. Otherwise a look at the pool's cells,
  ///   and at worst what the fallback costs.
  ///
  /// Memory ordering: acquires what the last user of the place released by giving it back.
  @inlinable @inline(__always)
  public func acquire(_ value: consuming Element) throws(PoolError) -> Object {
    guard let place = unsafe owner.core.acquire() else { throw .outOfMemory }
    let pointer = unsafe place.assumingMemoryBound(to: Element.self)
    unsafe pointer.initialize(to: value)
    return unsafe Object(pointer)
  }

  /// What the pool has counted so far.
  ///
  /// - Complexity: O(threads + pages), no lock.
  public func statistics() -> ObjectPoolStatistics { owner.statistics() }

  /// Gives back what is idle: to all, the places that this thread holds ready, and those of other threads the next time that they
  /// have none at hand; to the system, memory that the pool's memory pool does not need.
  ///
  /// - Returns: The bytes given to the system.
  @discardableResult
  public func sweep() -> Int { unsafe Int(bitPattern: owner.core.sweep()) }
}

extension ObjectPool where Element: BitwiseCopyable {
  /// A place whose bytes are all zero, which must be a value of the element: a number, or a structure of numbers.
  ///
  /// - Throws: As ``acquire(_:)``.
  public func acquireZeroed() throws(PoolError) -> Object {
    guard let place = unsafe owner.core.acquireZeroed() else { throw .outOfMemory }
    return unsafe Object(place.assumingMemoryBound(to: Element.self))
  }
}

// Whoever holds the object is the only one who reaches the value.
extension ObjectPool.Object: @unchecked Sendable where Element: Sendable & ~Copyable {}

/// Where objects come from when all of a pool's places are out.
public enum ObjectPoolFallback: Sendable {
  /// From the memory pool that the places lie in: by the calling thread's heap, without a lock.
  case segment
  /// From the system's allocator.
  case system
}
