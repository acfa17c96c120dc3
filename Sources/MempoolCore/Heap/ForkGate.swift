import CMempoolShims

/// Keeps a fork out of the middle of what one thread at a time does: the fork waits until nobody is inside, and nobody goes in until the
/// fork is over.
///
/// No lock between threads that allocate and free: who may go in is settled elsewhere, so nobody ever waits but for a fork. Going in is one
/// swap of a word that nobody else writes, going out a store. A zero word is an open gate. Records who is inside, so that a fork by that
/// very thread, from a signal's handler, does not wait for itself.
struct ForkGate {
  // 0: open, and nobody is inside. block | inside, or block | closed: of the thread with that block.
  var state = AtomicWord()
}

typealias ForkGatePointer = UnsafeMutablePointer<ForkGate>

extension UnsafeMutablePointer where Pointee == ForkGate {
  @inline(__always) var state: AtomicPointer { AtomicPointer(self, word: 0) }

  private static var inside: UInt { 1 }
  private static var closed: UInt { 2 }
  private static var marks: UInt { 3 }
  @inline(__always) private var ownBlock: UInt { UInt(bitPattern: threadBlock()) }

  /// By the one thread whose turn it is.
  @inline(__always)
  func enter() {
    // acquire: pairs with leave() and open()
    if state.compareAndSwapAcquire(0, ownBlock | Self.inside) != 0 { enterSlowly() }
  }

  /// Between a fork's handlers the forking thread goes through: other handlers may allocate.
  @inline(never)
  private func enterSlowly() {
    while true {
      if state.loadRelaxed() == ownBlock | Self.closed { return }
      // acquire: pairs with leave() and open()
      if state.compareAndSwapAcquire(0, ownBlock | Self.inside) == 0 { return }
      mp_sleep_nanoseconds(1000)
    }
  }

  @inline(__always)
  func leave() {
    // release: pairs with enter(), enterSlowly() and close()
    if state.loadRelaxed() & Self.closed == 0 { state.storeRelease(0) }
  }

  /// Before a fork, unless this thread is inside already. Then it goes on after the fork, in the parent and in the child.
  func close() {
    if state.loadRelaxed() & ~Self.marks == ownBlock { return }
    // acquire: pairs with the release in leave()
    while state.compareAndSwapAcquire(0, ownBlock | Self.closed) != 0 { mp_sleep_nanoseconds(1000) }
  }

  /// In the parent, after the fork.
  func open() {
    // release: pairs with enter() and enterSlowly()
    if state.loadRelaxed() == ownBlock | Self.closed { state.storeRelease(0) }
  }

  /// In the child, by its only thread.
  func resetAfterFork() {
    let seen = state.loadRelaxed()
    if seen != ownBlock | Self.inside { state.storeRelaxed(0) }
  }

  /// Whether this thread is inside.
  var isInside: Bool { state.loadRelaxed() == ownBlock | Self.inside }
}
