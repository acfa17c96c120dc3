public import MempoolCore

/// Memory as a tree: what hangs below a context goes with it, newest first.
///
/// This is the tree's owner, and its topmost context. It cannot be copied, and frees the tree at its end. What is made in it is reached by handles,
/// ``Node`` and ``Value``, that cannot outlive it: a program in which one could does not compile.
///
/// ```swift
/// let session = try PoolContext(named: "session")
/// let request = try session.makeChild(named: "request")
/// let user = try request.allocate(User(name: "ada"))
/// user.value.visits += 1
/// // `session` ends: the user is deinitialised, and the memory of all three is free
/// ```
///
/// A context may have a pool (``Node/pool(byteCount:named:)``, ``withContext(pool:named:_:)``): what hangs below it takes its memory there, by moving
/// a pointer, and it goes at once.
///
/// **Threads.** A tree is for one thread at a time; trees are free of each other. A whole tree goes to another thread as a `sending` argument, or in
/// a ``Parcel``.
///
/// **Memory.** 64 bytes in front of each block, and 16 more for a value that must be deinitialised. It comes from ``MemoryPool/shared``.
@safe
public struct PoolContext: ~Copyable {
  @usableFromInline let block: ContextPointer

  init(owning block: ContextPointer) { unsafe self.block = unsafe block }

  /// Makes a tree of one context.
  ///
  /// - Parameters:
  ///   - name: For reports.
  ///   - pool: Bytes of a pool for what hangs below it; nil: none.
  /// - Throws: ``PoolError/outOfMemory``, or ``PoolError/invalidArgument`` for a pool that nobody can have.
  public init(named name: StaticString? = nil, pool: ByteCount? = nil) throws(PoolError) {
    unsafe block = try .make(name, pool, under: nil)
  }

  deinit { unsafe block.leaveParent(at: nil) }

  /// The topmost context.
  public var node: Node {
    @_lifetime(borrow self) get { unsafe Node(block, of: self) }
  }

  /// Calls `body` with the topmost context. The tree may be given away afterwards, which the compiler does not allow in a function that has
  /// taken handles from it.
  public borrowing func use<Result: ~Copyable, Failure: Error>(
    _ body: (Node) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(node)
  }

  /// Frees everything but the topmost context.
  public mutating func freeChildren() { unsafe block.freeChildren(at: nil) }

  /// Takes a child out of the tree, with what hangs below it: the newest of this name among those of the topmost context.
  ///
  /// The two trees may be used by two threads. So a child stays that would share something with what it leaves: a pool, as one does that was made
  /// below a context with a pool, or a reference from one to the other.
  ///
  /// - Returns: The child as a tree of its own; nil when there is none of this name, or it must stay.
  /// - Complexity: O(children), and O(blocks) below the child; each reference there takes O(depth).
  public mutating func detach(named name: String) -> PoolContext? {
    guard let child = unsafe name.withCString({ unsafe block.child(named: $0) }), unsafe child.standsAlone else {
      return nil
    }
    unsafe child.move(to: nil)
    return unsafe PoolContext(owning: child)
  }

  /// Hangs the tree below a context of another one, or of none of its own.
  ///
  /// - Returns: Its topmost context, for as long as the other tree lives.
  /// - Complexity: O(1); O(blocks) where one of the two has a limit. May exceed a limit.
  @discardableResult
  @_lifetime(copy parent)
  public consuming func move(to parent: Node) -> Node { parent.adopt(self) }

  consuming func giveUp() -> ContextPointer {
    let block = unsafe block
    discard self
    return unsafe block
  }
}

/// It goes to another thread as a whole: as a `sending` argument or in a ``PoolContext/Parcel``.
@available(*, unavailable)
extension PoolContext: Sendable {}

// What a topmost context has like any other.
extension PoolContext {
  /// Makes a context below this one; as ``node`` does.
  @_lifetime(borrow self)
  public borrowing func makeChild(named name: StaticString? = nil) throws(PoolError) -> Node {
    unsafe Node(try .make(name, nil, under: block), of: self)
  }

  /// Makes a context with a pool below this one; see ``Node/pool(byteCount:named:)``.
  @_lifetime(borrow self)
  public borrowing func pool(byteCount: ByteCount, named name: StaticString? = nil) throws(PoolError) -> Node {
    unsafe Node(try .make(name, byteCount, under: block), of: self)
  }

  /// Puts a value into the tree; as ``node`` does.
  @_lifetime(borrow self)
  @inlinable
  public borrowing func allocate<Element: ~Copyable>(_ value: consuming Element) throws(PoolError) -> Value<Element> {
    unsafe Value(try block.put(value), of: self)
  }

  /// The same for a value whose copies are bytes: nothing is done when it goes.
  @_lifetime(borrow self)
  @inlinable
  public borrowing func allocate<Element: BitwiseCopyable>(_ value: Element) throws(PoolError) -> Value<Element> {
    unsafe Value(try block.putPlain(value), of: self)
  }

  /// Hangs another tree below this context; see ``move(to:)``.
  @discardableResult
  @_lifetime(borrow self)
  public borrowing func adopt(_ tree: consuming PoolContext) -> Node {
    let child = unsafe tree.giveUp()
    unsafe child.move(to: block)
    return unsafe Node(child, of: self)
  }

  /// Limits what the tree may take; see ``Node/setLimit(_:)``.
  public borrowing func setLimit(_ limit: ByteCount?) throws(PoolError) { try node.setLimit(limit) }

  /// The tree as text, JSON or a graph; see ``Node/report(as:depth:)``.
  public borrowing func report(as format: ReportFormat = .text, depth: Int? = nil) -> String {
    node.report(as: format, depth: depth)
  }

  /// What the tree holds.
  ///
  /// - Complexity: O(blocks), in constant memory.
  public borrowing func statistics() -> Statistics { node.statistics() }
}

/// Makes a context with a pool, calls `body` with it, and frees it with everything in it.
///
/// ```swift
/// try withContext(pool: .kibibytes(64)) { request in
///   let header = try request.allocate(Header(of: bytes))
///   try answer(header.value)
/// }
/// ```
///
/// Nothing of it gets out of `body`: handles do not escape, and a result is a value of its own.
///
/// - Parameters:
///   - pool: Bytes of the pool. What does not fit is taken elsewhere, and freed likewise.
///   - name: For reports.
///   - body: Gets the context, and keeps nothing of it.
/// - Throws: What `body` throws, or ``PoolError``.
public func withContext<Result: ~Copyable>(
  pool: ByteCount, named name: StaticString? = nil, _ body: (PoolContext.Node) throws -> Result
) throws -> Result {
  let context = try PoolContext(named: name, pool: pool)
  return try body(context.node)
}
