public import CMempoolShims

/// One machine word that threads share. A cell, a list head, a lock.
///
/// The storage is inert; every operation is on an ``AtomicPointer`` to it. Key paths do not compile in Embedded Swift, and
/// `&record.field` is a write in ThreadSanitizer's eyes, so a record says at which word of itself each one lives, and a test
/// compares that with the compiler's layout:
///
/// ```swift
/// extension UnsafeMutablePointer where Pointee == Slab {
///   var summary: AtomicPointer { AtomicPointer(self, word: 0) }
/// }
/// ```
public struct AtomicWord {
  @usableFromInline var storage: UInt

  @inlinable public init(_ value: UInt = 0) { storage = value }
}

/// Where an ``AtomicWord`` lives. The verb carries the memory ordering; nothing here is sequentially consistent but
/// ``fenceFull()``.
public struct AtomicPointer {
  @usableFromInline let word: UnsafeMutablePointer<UInt>

  /// The word of `record` that is `index` words from its start.
  @inlinable @inline(__always)
  public init<Record>(_ record: UnsafeMutablePointer<Record>, word index: Int) {
    word = UnsafeMutableRawPointer(record).assumingMemoryBound(to: UInt.self) + index
  }

  @inlinable @inline(__always)
  public init(address: UInt) {
    word = UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  @inlinable @inline(__always)
  public init(_ word: UnsafeMutablePointer<UInt>) { self.word = word }

  /// The word `count` words further on.
  @inlinable @inline(__always)
  public func advanced(by count: Int) -> AtomicPointer { AtomicPointer(word + count) }

  @inlinable @inline(__always)
  public func loadRelaxed() -> UInt { mp_load_relaxed(word) }

  @inlinable @inline(__always)
  public func loadAcquire() -> UInt { mp_load_acquire(word) }

  @inlinable @inline(__always)
  public func storeRelaxed(_ value: UInt) { mp_store_relaxed(word, value) }

  @inlinable @inline(__always)
  public func storeRelease(_ value: UInt) { mp_store_release(word, value) }

  /// Adds without atomicity, for a word that only one thread writes: one ordinary instruction.
  @inlinable @inline(__always)
  public func addUnshared(_ value: UInt) { mp_store_relaxed(word, mp_load_relaxed(word) &+ value) }

  // Each returns the value found: the swap happened when it equals `expected`.

  @inlinable @inline(__always)
  public func compareAndSwapRelaxed(_ expected: UInt, _ desired: UInt) -> UInt {
    mp_compare_and_swap_relaxed(word, expected, desired)
  }

  @inlinable @inline(__always)
  public func compareAndSwapAcquire(_ expected: UInt, _ desired: UInt) -> UInt {
    mp_compare_and_swap_acquire(word, expected, desired)
  }

  @inlinable @inline(__always)
  public func compareAndSwapRelease(_ expected: UInt, _ desired: UInt) -> UInt {
    mp_compare_and_swap_release(word, expected, desired)
  }

  @inlinable @inline(__always)
  public func compareAndSwapAcquireRelease(_ expected: UInt, _ desired: UInt) -> UInt {
    mp_compare_and_swap_acq_rel(word, expected, desired)
  }

  // Each returns the value before.

  @inlinable @inline(__always)
  public func exchangeAcquire(_ value: UInt) -> UInt { mp_exchange_acquire(word, value) }

  @inlinable @inline(__always)
  public func exchangeRelease(_ value: UInt) -> UInt { mp_exchange_release(word, value) }

  @inlinable @inline(__always)
  public func exchangeAcquireRelease(_ value: UInt) -> UInt { mp_exchange_acq_rel(word, value) }

  @inlinable @inline(__always)
  public func fetchAndRelaxed(_ mask: UInt) -> UInt { mp_fetch_and_relaxed(word, mask) }

  @inlinable @inline(__always)
  public func fetchAndRelease(_ mask: UInt) -> UInt { mp_fetch_and_release(word, mask) }

  @inlinable @inline(__always)
  public func fetchAndAcquireRelease(_ mask: UInt) -> UInt { mp_fetch_and_acq_rel(word, mask) }

  @inlinable @inline(__always)
  public func fetchOrRelaxed(_ mask: UInt) -> UInt { mp_fetch_or_relaxed(word, mask) }

  @inlinable @inline(__always)
  public func fetchOrAcquire(_ mask: UInt) -> UInt { mp_fetch_or_acquire(word, mask) }

  @inlinable @inline(__always)
  public func fetchOrAcquireRelease(_ mask: UInt) -> UInt { mp_fetch_or_acq_rel(word, mask) }

  @inlinable @inline(__always)
  public func fetchAddRelaxed(_ value: UInt) -> UInt { mp_fetch_add_relaxed(word, value) }

  @inlinable @inline(__always)
  public func fetchAddAcquireRelease(_ value: UInt) -> UInt { mp_fetch_add_acq_rel(word, value) }

  // A word that holds an address.

  @inlinable @inline(__always)
  public func loadPointerAcquire() -> UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: loadAcquire()) }

  @inlinable @inline(__always)
  public func loadPointerRelaxed() -> UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: loadRelaxed()) }
}

/// Orders every access before it against every access after it, in one order that all threads agree on.
@inlinable @inline(__always)
public func fenceFull() { mp_fence_full() }

/// Keeps the compiler from moving accesses across it: what a fork in this thread would see. No instruction.
@inlinable @inline(__always)
public func fenceCompiler() { mp_fence_compiler() }

extension UInt {
  /// The address of what a pointer points to, as the word that an ``AtomicWord`` holds.
  @inlinable @inline(__always)
  init<T>(pointer: UnsafeMutablePointer<T>?) { self = UInt(bitPattern: pointer) }
}
