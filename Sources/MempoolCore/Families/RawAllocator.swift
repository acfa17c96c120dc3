import CMempoolShims

/// Where memory comes from, whatever it is: one function for all, as C's `realloc`, and what it works on.
///
/// A struct with a function pointer, so that C and Embedded Swift have it too, and that pools stack on pools: a pool gives one
/// of itself, and takes one to fall back on.
///
/// What the function returns is aligned to 8 at least, and is nil when there is no memory. `state` must live as long as what came
/// from it.
public struct RawAllocator {
  /// Of a pointer that is nil: allocates. Of 0 bytes: gives the pointer back, and returns nil. Otherwise resizes, keeps the
  /// beginning, and leaves the object alone when it returns nil.
  public typealias Resize =
    @convention(c) (
      _ state: UnsafeMutableRawPointer?, _ pointer: UnsafeMutableRawPointer?, _ byteCount: Int
    ) -> UnsafeMutableRawPointer?

  public let resize: Resize
  public let state: UnsafeMutableRawPointer?

  public init(resize: @escaping Resize, state: UnsafeMutableRawPointer?) {
    self.resize = resize
    self.state = state
  }

  /// At least one byte; nil when there is no memory.
  public func allocate(_ byteCount: UInt) -> UnsafeMutableRawPointer? {
    // A size that no Int holds is one that nobody has.
    guard let count = Int(exactly: byteCount) else { return nil }
    return resize(state, nil, max(count, 1))
  }

  /// As ``allocate(_:)``; of a pointer that came from here.
  public func reallocate(_ pointer: UnsafeMutableRawPointer, _ byteCount: UInt) -> UnsafeMutableRawPointer? {
    guard let count = Int(exactly: byteCount) else { return nil }
    return resize(state, pointer, max(count, 1))
  }

  public func deallocate(_ pointer: UnsafeMutableRawPointer) { _ = resize(state, pointer, 0) }

  /// The system's malloc.
  public static var system: RawAllocator {
    RawAllocator(
      resize: { _, pointer, byteCount in
        // A size_t that no Int holds is refused, not taken for nothing.
        if byteCount != 0 { return mp_system_realloc(pointer, byteCount) }
        mp_system_free(pointer)
        return nil
      }, state: nil)
  }
}

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// The pool as an allocator, for any thread.
  public var allocator: RawAllocator {
    RawAllocator(
      resize: { state, pointer, byteCount in
        let pool = state.unsafelyUnwrapped.assumingMemoryBound(to: MemoryPool.self)
        if byteCount != 0 { return pool.reallocate(pointer, UInt(bitPattern: byteCount), call: "MemoryPool.allocator") }
        pool.deallocate(pointer, call: "MemoryPool.allocator")
        return nil
      }, state: UnsafeMutableRawPointer(self))
  }
}
