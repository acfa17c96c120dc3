import CMempoolShims

/// The thread that gives back what nobody needed for a whole purge delay, when the process has threads anyway.
///
/// It exists while a process that has taken 2 MiB has a second thread, and sleeps for as long as no page is idle and no medium object waits
/// for an owner who collects it. While it is there, nobody else purges: a burst of frees that is followed by a burst of allocations
/// makes no system call. It only sleeps, claims idle pages, empty slabs and uncollected objects, and returns their memory. Here is what
/// segments must know of it; ``Process`` runs it.
enum Purger {
  enum State {
    /// There is none: whoever releases pages purges.
    static var none: UInt { 0 }
    static var starting: UInt { 1 }
    static var awake: UInt { 2 }
    /// Asleep until somebody wakes it: there was nothing to do.
    static var parked: UInt { 3 }
    /// The last of the other threads has ended, so it must end, too, or the process never would.
    static var leaving: UInt { 4 }
    /// There is none and will be none.
    static var off: UInt { 5 }
  }

  static var state: AtomicPointer { AtomicPointer(mp_purger_address()) }

  static var isThere: Bool {
    let state = state.loadRelaxed()
    return state == State.awake || state == State.parked
  }

  /// Whether the purger sees to pages that have just become idle. Wakes it.
  static func takesOver() -> Bool {
    guard isThere else { return false }
    fenceFull()  // pairs with those in park(unless:) and purgeWhileNeeded(): one of the two sees what the other wrote
    wake(from: State.parked, to: State.awake)
    return true
  }

  /// After a thread has ended: without a second one the process needs no purger, and without any must not have one.
  static func threadEnded(left: UInt) {
    guard left <= 1, isThere else { return }
    wake(from: State.parked, to: State.awake)
    if left == 0 { wake(from: State.awake, to: State.leaving) }
  }

  private static func wake(from old: UInt, to new: UInt) {
    if state.loadRelaxed() == old, state.compareAndSwapRelaxed(old, new) == old { mp_futex_wake(state.word, 1) }
  }

  // By the purger.

  /// Sleeps until somebody has idle pages, unless `hasWork` says that there are some.
  static func park(unless hasWork: () -> Bool) {
    guard state.compareAndSwapRelaxed(State.awake, State.parked) == State.awake else { return }
    fenceFull()  // pairs with the fence in takesOver()
    if hasWork() { _ = state.compareAndSwapRelaxed(State.parked, State.awake) }
    while state.loadRelaxed() == State.parked { mp_futex_wait(state.word, State.parked) }
  }

  /// Sleeps for so long, or until it must end.
  static func sleep(milliseconds: UInt) {
    let end = mp_clock_nanoseconds() + UInt64(milliseconds) * 1_000_000
    while state.loadRelaxed() == State.awake {
      let now = mp_clock_nanoseconds()
      if now >= end { return }
      mp_futex_wait_for(state.word, State.awake, end - now)
    }
  }

  /// Whether it ends: it must, or `wants` to and nobody says otherwise.
  static func ends(wants: Bool) -> Bool {
    let seen = state.loadRelaxed()
    guard wants || seen == State.leaving else { return false }
    return state.compareAndSwapRelaxed(seen, State.none) == seen
  }
}
