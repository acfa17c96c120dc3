internal import MempoolCore

/// Where memory comes from, whatever it is: one C function for all, as `realloc` is, and what it works on.
///
/// Pools stack on pools by it: ``BufferPool/allocator``, ``Region/allocator`` and ``MemoryPool/allocator`` give one, and a
/// ``BufferPool`` takes one to fall back on. It keeps nothing alive: what it works on must outlive what came from it.
@safe
public struct RawAllocator {
  let core: MempoolCore.RawAllocator

  init(_ core: MempoolCore.RawAllocator) { self.core = core }

  /// An allocator of one's own.
  ///
  /// - Parameters:
  ///   - state: What is passed to each call.
  ///   - resize: Of a pointer that is nil, allocates; of 0 bytes, takes back and returns nil; otherwise resizes, and leaves the
  ///     object alone when it returns nil. What it returns is aligned to 8 at least.
  @unsafe
  public init(
    state: UnsafeMutableRawPointer?,
    resize:
      @escaping @convention(c) (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, Int) ->
      UnsafeMutableRawPointer?
  ) {
    core = unsafe MempoolCore.RawAllocator(resize: resize, state: state)
  }

  /// The system's malloc.
  public static var system: RawAllocator { RawAllocator(.system) }
}

extension MemoryPool {
  /// The pool as an allocator for others, on any thread. It must outlive them.
  public var allocator: RawAllocator { unsafe RawAllocator(core.allocator) }
}
