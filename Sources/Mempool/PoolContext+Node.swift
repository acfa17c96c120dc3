public import MempoolCore

extension PoolContext {
  /// A context of a tree, and where new ones are made.
  ///
  /// A handle: copies name the same context. It lives at most as long as the ``PoolContext`` that it comes from, or the body of the call that made it.
  /// By handles a tree only grows; what goes, goes with its owner, with a scope, or by a call on the owner, when nobody has a handle.
  @safe
  public struct Node: ~Escapable {
    @usableFromInline let block: ContextPointer

    @_lifetime(borrow owner)
    init(_ block: ContextPointer, of owner: borrowing PoolContext) { unsafe self.block = unsafe block }

    @_lifetime(copy node)
    init(_ block: ContextPointer, with node: Node) { unsafe self.block = unsafe block }

    @_lifetime(copy node, copy other)
    init(_ block: ContextPointer, with node: Node, and other: Node) { unsafe self.block = unsafe block }
  }
}

@available(*, unavailable)
extension PoolContext.Node: Sendable {}

extension PoolContext.Node {
  /// Makes a context below this one.
  ///
  /// - Parameter name: For reports.
  /// - Throws: ``PoolError/outOfMemory`` when there is no memory, or a limit forbids it.
  /// - Complexity: O(1).
  @_lifetime(copy self)
  public func makeChild(named name: StaticString? = nil) throws(PoolError) -> Self {
    unsafe Self(try .make(name, nil, under: block), with: self)
  }

  /// Makes a context below this one whose name is made when the program runs: the name is copied, into a block of its own.
  @_lifetime(copy self)
  public func makeChild(copyingName name: String) throws(PoolError) -> Self {
    let child = unsafe try ContextPointer.make(nil, nil, under: block)
    guard unsafe child.copyName(name) else {
      unsafe child.leaveParent(at: nil)
      throw .outOfMemory
    }
    return unsafe Self(child, with: self)
  }

  /// Makes a context with a pool below this one: what hangs below it takes its memory there, by moving a pointer, as long as it has room.
  ///
  /// - Parameters:
  ///   - byteCount: Bytes of the pool. A block takes 64 and its own, rounded up to a multiple of 16; see ``usableByteCount(blocks:)``.
  ///   - name: For reports.
  /// - Throws: ``PoolError/outOfMemory``, or ``PoolError/invalidArgument`` for a pool that nobody can have.
  @_lifetime(copy self)
  public func pool(byteCount: ByteCount, named name: StaticString? = nil) throws(PoolError) -> Self {
    unsafe Self(try .make(name, byteCount, under: block), with: self)
  }

  /// Makes a context below this one, calls `body` with it, and frees it with everything in it.
  ///
  /// - Parameters:
  ///   - name: For reports.
  ///   - pool: Bytes of a pool of its own; nil: none.
  ///   - body: Gets the context, and keeps nothing of it.
  /// - Throws: What `body` throws, or ``PoolError``.
  public func withChild<Result: ~Copyable>(
    named name: StaticString? = nil, pool: ByteCount? = nil, _ body: (Self) throws -> Result
  ) throws -> Result {
    let child = unsafe PoolContext(owning: try .make(name, pool, under: block))
    return try body(child.node)
  }

  /// Hangs a tree below this context; see ``PoolContext/move(to:)``.
  @discardableResult
  @_lifetime(copy self)
  public func adopt(_ tree: consuming PoolContext) -> Self {
    let child = unsafe tree.giveUp()
    unsafe child.move(to: block)
    return unsafe Self(child, with: self)
  }

  /// Keeps another context, which has a parent elsewhere, for as long as this one lives: when its parent goes it moves here.
  ///
  /// - Returns: The other context, as a handle that lives as long as both: what hangs below it still goes by a call on its own owner.
  /// - Throws: ``PoolError/outOfMemory``.
  @discardableResult
  @_lifetime(copy self, copy other)
  public func refer(to other: Self) throws(PoolError) -> Self {
    guard unsafe other.block.addReference(from: block, at: nil) else { throw .outOfMemory }
    return unsafe Self(other.block, with: self, and: other)
  }

  /// Keeps a value of another context, as it does a context.
  @discardableResult
  @_lifetime(copy self, copy value)
  public func refer<Element: ~Copyable>(
    to value: PoolContext.Value<Element>
  ) throws(PoolError) -> PoolContext.Value<Element> {
    guard unsafe value.place.block.addReference(from: block, at: nil) else { throw .outOfMemory }
    return PoolContext.Value(value, with: self)
  }

  /// Has something done when the context goes: after what was made in it later, and before what was made earlier, as `defer` does.
  ///
  /// - Parameter action: Is called once. It cannot reach the tree.
  /// - Throws: ``PoolError/outOfMemory``; then it is not called.
  public func onFree(_ action: @escaping () -> Void) throws(PoolError) {
    let place = unsafe try block.put(ContextAction(action))
    unsafe place.pointer.pointee.isArmed = true
  }
}

/// What is done when its memory goes.
struct ContextAction: ~Copyable {
  private let action: () -> Void
  var isArmed = false

  init(_ action: @escaping () -> Void) { self.action = action }

  deinit { if isArmed { action() } }
}

// MARK: Looking at it

extension PoolContext.Node {
  /// The name; nil when it has none.
  public var name: String? { unsafe block.name.map { unsafe String(cString: $0) } }

  /// The name of its parent; nil when that has none, or for a topmost context. These, too, have a parent once ``PoolContext/reportLeaksAtExit()`` was called: `all contexts`.
  public var parentName: String? { unsafe block.parent?.name.map { unsafe String(cString: $0) } }

  /// Whether both are handles of the same context.
  public static func == (left: Self, right: Self) -> Bool { unsafe left.block == right.block }

  /// Whether this context is the other one, or hangs somewhere below it.
  ///
  /// - Complexity: O(depth).
  public func isBelow(_ other: Self) -> Bool { unsafe other.block.isAbove(block, depth: ~0) }

  /// How many references there are to it.
  public var referenceCount: Int { unsafe Int(bitPattern: block.referenceCount) }

  /// Of a pool: the bytes that are left at its end, of which a block takes 64. What is free between its blocks is used, and not counted. Nil: it is none.
  public var availableByteCount: Int? { unsafe block.available.map { Int(bitPattern: $0) } }

  /// Of a pool: the bytes that so many blocks can have together when it is empty, at worst. Nil: it is none.
  public func usableByteCount(blocks: Int) -> Int? {
    unsafe block.usable(blocks: UInt(max(blocks, 0))).map { Int(bitPattern: $0) }
  }

  /// Limits what the context and all below it may take from the system, headers included. What lies in a pool is charged with the pool. A
  /// limit again takes the place of the one before.
  ///
  /// - Parameter limit: Nil: none. What they have already may exceed it.
  /// - Throws: ``PoolError/outOfMemory``.
  /// - Complexity: O(blocks) the first time.
  public func setLimit(_ limit: ByteCount?) throws(PoolError) {
    guard unsafe block.setLimit(UInt(limit?.byteCount ?? 0)) else { throw .outOfMemory }
  }

  /// The bytes that are charged to its limit; nil when it never had one.
  public var chargedByteCount: Int? { unsafe (block.limit?.charged).map { Int(bitPattern: $0) } }

  /// What the context and all below it hold.
  ///
  /// - Complexity: O(blocks), in constant memory, at any depth.
  public func statistics() -> PoolContext.Statistics { unsafe PoolContext.Statistics(block.statistics()) }

  /// The context and all below it.
  ///
  /// - Parameters:
  ///   - format: As what.
  ///   - depth: How far below it, as text; nil: to the ground.
  /// - Complexity: O(blocks), at any depth.
  public func report(as format: PoolContext.ReportFormat = .text, depth: Int? = nil) -> String {
    var sink = StringSink()
    switch format {
    case .text: unsafe block.writeText(to: &sink, depths: depth.map { max($0, 0) })
    case .json: unsafe block.writeJSON(to: &sink)
    case .graphviz: unsafe block.writeGraph(to: &sink)
    }
    return sink.text
  }
}
