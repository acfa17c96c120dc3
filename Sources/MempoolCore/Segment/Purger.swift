import CMempoolShims

/// The thread that gives back what nobody needed for a whole purge delay, when the process has threads anyway.
///
/// It exists once a process with a second thread has taken 2 MiB, and sleeps for as long as no page is idle. While it is there,
/// nobody else purges: a burst of frees that is followed by a burst of allocations makes no system call. It only sleeps, claims
/// idle pages and returns them. Here is what segments must know of it; ``Process`` runs it.
enum Purger {
  enum State {
    /// There is none: whoever releases pages purges.
    static var none: UInt { 0 }
    static var starting: UInt { 1 }
    static var awake: UInt { 2 }
    /// Asleep until somebody wakes it: no page was idle.
    static var parked: UInt { 3 }
    /// There is none and will be none.
    static var off: UInt { 4 }
  }

  static var state: AtomicPointer { AtomicPointer(mp_purger_address()) }

  static var isThere: Bool {
    let state = state.loadRelaxed()
    return state == State.awake || state == State.parked
  }

  /// Whether the purger sees to pages that have just become idle. Wakes it.
  static func takesOver() -> Bool {
    guard isThere else { return false }
    fenceFull()  // pairs with the fence in park(unless:): one of the two sees what the other wrote
    if state.loadRelaxed() == State.parked, state.compareAndSwapRelaxed(State.parked, State.awake) == State.parked {
      mp_futex_wake(state.word, 1)
    }
    return true
  }

  /// Sleeps until somebody has idle pages, unless `hasWork` says that there are some. By the purger.
  static func park(unless hasWork: () -> Bool) {
    state.storeRelaxed(State.parked)
    fenceFull()  // pairs with the fence in takesOver()
    if hasWork() { _ = state.compareAndSwapRelaxed(State.parked, State.awake) }
    while state.loadRelaxed() == State.parked { mp_futex_wait(state.word, State.parked) }
  }
}
