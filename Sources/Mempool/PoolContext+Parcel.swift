internal import MempoolCore

extension PoolContext {
  /// A tree on its way to another thread.
  ///
  /// ```swift
  /// let parcel = PoolContext.Parcel(tree)
  /// Task.detached {
  ///   if let tree = parcel.take() { finish(tree) }
  /// }
  /// ```
  ///
  /// The compiler sees to it that who packs it keeps nothing of the tree, nor of the values in it that are not `Sendable`.
  ///
  /// **Threads.** Any. One of those who ask gets the tree; who is never asked frees it.
  @safe
  public final class Parcel: Sendable {
    // Of the tree's topmost block; 0: it was taken.
    private nonisolated(unsafe) let tree: UnsafeMutablePointer<UInt>

    /// Packs a tree.
    public init(_ tree: consuming sending PoolContext) {
      unsafe self.tree = .allocate(capacity: 1)
      unsafe self.tree.initialize(to: UInt(bitPattern: tree.giveUp()))
    }

    deinit {
      _ = take()
      unsafe tree.deallocate()
    }

    /// The tree, for the first who asks; nil for all others.
    ///
    /// Memory ordering: who gets the tree sees what was done before it was packed, if the parcel itself came to it in order.
    public func take() -> sending PoolContext? {
      let word = unsafe AtomicPointer(tree)
      let packed = word.loadRelaxed()
      guard let block = unsafe ContextPointer(bitPattern: packed), word.compareAndSwapRelaxed(packed, 0) == packed
      else {
        return nil
      }
      return unsafe PoolContext(owning: block)
    }
  }
}
