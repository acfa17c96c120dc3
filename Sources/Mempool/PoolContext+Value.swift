extension PoolContext {
  /// A value that lives in a tree, and is deinitialised with it.
  ///
  /// A handle: copies name the same value. Reading and changing it at once, through two of them, is reported and ends the process, as Swift does for a
  /// variable that a closure has captured. It lives as long as the ``Node`` by which it was made.
  @safe
  public struct Value<Element: ~Copyable>: ~Escapable {
    @usableFromInline let place: ContextPlace<Element>

    @_lifetime(borrow owner)
    @inlinable
    init(_ place: ContextPlace<Element>, of owner: borrowing PoolContext) { unsafe self.place = unsafe place }

    @_lifetime(copy node)
    @inlinable
    init(_ place: ContextPlace<Element>, with node: Node) { unsafe self.place = unsafe place }

    @_lifetime(copy value, copy node)
    init(_ value: Self, with node: Node) { unsafe place = unsafe value.place }

    /// The value.
    @inlinable
    public var value: Element {
      _read {
        unsafe place.beginReading()
        defer { unsafe place.endReading() }
        yield unsafe place.pointer.pointee
      }
      nonmutating _modify {
        unsafe place.beginChanging()
        defer { unsafe place.endChanging() }
        yield unsafe &place.pointer.pointee
      }
    }

    /// Where the value lies: valid as long as this handle is. Two pointers know nothing of each other, nor of ``value``.
    @unsafe
    public var pointer: UnsafeMutablePointer<Element> { unsafe place.pointer }
  }

  /// Values of a type whose copies are bytes, one behind the other: nothing is done when they go.
  @safe
  public struct Buffer<Element: BitwiseCopyable>: ~Escapable {
    @usableFromInline let start: UnsafeMutablePointer<Element>
    /// How many.
    public let count: Int

    @_lifetime(copy node)
    @inlinable
    init(_ start: UnsafeMutablePointer<Element>, _ count: Int, with node: Node) {
      unsafe self.start = unsafe start
      self.count = count
    }

    /// One of them.
    ///
    /// - Parameter index: In `0..<count`; anything else ends the process.
    @inlinable
    public subscript(index: Int) -> Element {
      get {
        precondition(index >= 0 && index < count, "an index that the buffer does not have")
        return unsafe start[index]
      }
      nonmutating set {
        precondition(index >= 0 && index < count, "an index that the buffer does not have")
        unsafe start[index] = newValue
      }
    }

    /// Their indices.
    @inlinable
    public var indices: Range<Int> { 0..<count }

    /// All of them, valid as long as this handle is.
    @unsafe
    public var pointer: UnsafeMutableBufferPointer<Element> {
      unsafe UnsafeMutableBufferPointer(start: start, count: count)
    }
  }
}

@available(*, unavailable)
extension PoolContext.Value: Sendable where Element: ~Copyable {}

@available(*, unavailable)
extension PoolContext.Buffer: Sendable {}

extension PoolContext.Node {
  /// Puts a value into the tree, below this context.
  ///
  /// - Parameter value: Moved there. It is lost when this throws.
  /// - Returns: A handle, for as long as this one lives.
  /// - Throws: ``PoolError/outOfMemory`` when there is no memory, or a limit forbids it.
  /// - Complexity: O(1).
  @_lifetime(copy self)
  @inlinable
  public func allocate<Element: ~Copyable>(
    _ value: consuming Element
  ) throws(PoolError) -> PoolContext.Value<Element> {
    unsafe PoolContext.Value(try block.put(value), with: self)
  }

  /// The same for a value whose copies are bytes: a pool in which nothing else lies goes at once.
  @_lifetime(copy self)
  @inlinable
  public func allocate<Element: BitwiseCopyable>(
    _ value: Element
  ) throws(PoolError) -> PoolContext.Value<Element> {
    unsafe PoolContext.Value(try block.putPlain(value), with: self)
  }

  /// Makes a buffer below this context.
  ///
  /// - Throws: ``PoolError/outOfMemory`` when there is no memory, or a limit forbids it; ``PoolError/invalidArgument`` when `count` is negative or
  ///   nobody has as many.
  /// - Complexity: O(count).
  @_lifetime(copy self)
  @inlinable
  public func allocate<Element: BitwiseCopyable>(
    repeating element: Element, count: Int
  ) throws(PoolError) -> PoolContext.Buffer<Element> {
    let start = unsafe try block.space(for: Element.self, count)
    unsafe start.initialize(repeating: element, count: count)
    return unsafe PoolContext.Buffer(start, count, with: self)
  }

  /// Makes a buffer with the elements of a collection below this context; see ``allocate(repeating:count:)``.
  @_lifetime(copy self)
  @inlinable
  public func allocate<Elements: Collection>(
    copying elements: Elements
  ) throws(PoolError) -> PoolContext.Buffer<Elements.Element> where Elements.Element: BitwiseCopyable {
    let count = elements.count
    let start = unsafe try block.space(for: Elements.Element.self, count)
    var copied = 0
    for element in elements where copied < count {
      unsafe (start + copied).initialize(to: element)
      copied += 1
    }
    precondition(copied == count, "a collection with fewer elements than it says")
    return unsafe PoolContext.Buffer(start, count, with: self)
  }
}
