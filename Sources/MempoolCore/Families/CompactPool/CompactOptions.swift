/// How a compact pool keeps its pages. A plain value. Sizes are bytes.
public struct CompactOptions: Sendable {
  /// What the pages are.
  public enum Backing: Sendable {
    /// Runs of a pool's segments; always mapped.
    case pool
    /// A file of memory without a name, of which about `window` bytes are mapped at a time, more while more is mapped by callers. Other
    /// processes may attach to it. 0: 16 MiB.
    case file(window: UInt)
  }

  public var backing: Backing = .pool
  /// Where objects begin: 4, 8 or 16, and multiples of it.
  public var alignment: UInt = 4
  /// Parts with a lock each, 1…64; 0: eight.
  public var shardCount: UInt = 0
  /// Empty pages that are kept for the next allocation. Nil: up to 4, none when the pool has no object. Kept pages never raise the
  /// most that the pool has held.
  public var reservePages: UInt?
  /// What the pool's pages may take, at most 16 GiB; 0: that.
  public var byteLimit: UInt = 0
  /// Handles lead to objects by way of a table, so that `compact()` may move them. 12 bytes more an object.
  public var isMovable = false
  /// `destroy()` with live objects ends the process, instead of giving their memory back, too.
  public var refusesLiveObjects = false

  public init() {}
}

/// What names an object of a compact pool. A value; (0, 0) names none.
public struct CompactHandle: Sendable, Hashable {
  public let page: UInt32
  public let offset: UInt32

  @inlinable
  public init(page: UInt32, offset: UInt32) {
    self.page = page
    self.offset = offset
  }
}
