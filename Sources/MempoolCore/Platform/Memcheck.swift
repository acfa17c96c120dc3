#if Valgrind
  public import CValgrind
#endif

/// What valgrind's memcheck is told, in builds with the trait `Valgrind`; nothing of it is left in others.
///
/// Free memory is out of bounds, an object is as long as was asked for, and bookkeeping is out of bounds too, but may be used
/// without a report: so the leak check does not find in it the addresses of objects that nobody else knows any more. Outside of
/// valgrind nothing happens. docs/valgrind.md says what memcheck sees by this.
public enum Memcheck {
  /// Constant without the trait: what depends on it goes.
  @inlinable @inline(__always)
  public static var isRunning: Bool {
    #if Valgrind
      mp_memcheck_running() != 0
    #else
      false
    #endif
  }

  // MARK: Objects

  /// A new object, of the pool or the slab cache whose record this is; 0: of the process.
  @inlinable @inline(__always)
  public static func allocated(_ object: UInt, _ byteCount: UInt, isZeroed: Bool = false, in pool: UInt) {
    #if Valgrind
      if pool == 0 { return mp_memcheck_allocated(object, Int(bitPattern: byteCount), isZeroed ? 1 : 0) }
      mp_memcheck_pool_allocated(pool, object, Int(bitPattern: byteCount))
      if isZeroed { mp_memcheck_defined(object, Int(bitPattern: byteCount)) }
    #endif
  }

  /// Before others can get it. What is no object is reported.
  @inlinable @inline(__always)
  public static func freed(_ object: UInt, in pool: UInt) {
    #if Valgrind
      if pool == 0 { mp_memcheck_freed(object) } else { mp_memcheck_pool_freed(pool, object) }
    #endif
  }

  /// An object that has another size, where it is, of the `usable` bytes that it had room for. Its old size is what the program
  /// could access.
  static func resized(_ object: UInt, to byteCount: UInt, usable: UInt, in pool: UInt) {
    #if Valgrind
      let old = accessible(object, usable)
      if old == byteCount { return }
      if pool != 0 {
        mp_memcheck_pool_resized(pool, object, Int(bitPattern: byteCount))
        if old < byteCount { open(object + old, byteCount - old) } else { close(object + byteCount, old - byteCount) }
      } else if byteCount != 0 {
        mp_memcheck_resized(object, Int(bitPattern: old), Int(bitPattern: byteCount))
      } else {
        // Memcheck resizes nothing to nothing.
        mp_memcheck_freed(object)
        mp_memcheck_allocated(object, 0, 0)
      }
    #endif
  }

  /// Its record is an object, too: memcheck tells of a pool that nobody knows any more, and looks for leaks in pools only when
  /// there is an object outside of them.
  ///
  /// - Parameter byteCount: Of the record; 0: it must be no object.
  static func poolMade(_ pool: UInt, _ byteCount: UInt) {
    #if Valgrind
      mp_memcheck_pool_made(pool)
      if byteCount == 0 { return }
      mp_memcheck_allocated(pool, Int(bitPattern: byteCount), 0)
      close(pool, byteCount)
    #endif
  }

  /// With all of its objects.
  static func poolGone(_ pool: UInt, isObject: Bool) {
    #if Valgrind
      mp_memcheck_pool_gone(pool)
      if isObject { mp_memcheck_freed(pool) }
    #endif
  }

  // MARK: Memory

  /// Out of bounds.
  @inline(__always)
  static func close(_ start: UInt, _ byteCount: UInt) {
    #if Valgrind
      mp_memcheck_no_access(start, Int(bitPattern: byteCount))
    #endif
  }

  /// Accessible, and not initialised.
  @inline(__always)
  static func open(_ start: UInt, _ byteCount: UInt) {
    #if Valgrind
      mp_memcheck_undefined(start, Int(bitPattern: byteCount))
    #endif
  }

  /// Accessible, and initialised.
  @inline(__always)
  static func define(_ start: UInt, _ byteCount: UInt) {
    #if Valgrind
      mp_memcheck_defined(start, Int(bitPattern: byteCount))
    #endif
  }

  /// Bookkeeping, also what of the range becomes accessible later; that must be closed, too.
  @inline(__always)
  static func keep(_ start: UInt, _ byteCount: UInt) {
    #if Valgrind
      mp_memcheck_ignore(start, Int(bitPattern: byteCount))
    #endif
  }

  /// The range is bookkeeping no longer.
  @inline(__always)
  static func keepNot(_ start: UInt, _ byteCount: UInt) {
    #if Valgrind
      mp_memcheck_heed(start, Int(bitPattern: byteCount))
    #endif
  }

  /// Of `byteCount` bytes, those that the program may access: all, without memcheck.
  @inline(__always)
  static func accessible(_ start: UInt, _ byteCount: UInt) -> UInt {
    #if Valgrind
      UInt(bitPattern: mp_memcheck_accessible(start, Int(bitPattern: byteCount)))
    #else
      byteCount
    #endif
  }

  // MARK: The engine's own accesses

  /// What this thread does from here to ``listen()`` is the engine's business. Nests.
  @inline(__always)
  static func silence() {
    #if Valgrind
      mp_memcheck_silence()
    #endif
  }

  @inline(__always)
  static func listen() {
    #if Valgrind
      mp_memcheck_listen()
    #endif
  }
}
