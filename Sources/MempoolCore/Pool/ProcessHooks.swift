import CMempoolShims

/// What happens to threads, pools and the process, for those above this floor who keep records by thread or pool.
enum ProcessEvent {
  /// A thread ends; its number. Under the process's lock.
  static var threadExit: UInt { 0 }
  /// A memory pool is about to go; its address. Under the process's lock.
  static var poolEnd: UInt { 1 }
  /// Before a fork, when the process's lock and all of this floor are taken; afterwards in the parent, before they are given back;
  /// and in the child, by its only thread, where everything below is in order again.
  static var forkPrepare: UInt { 2 }
  static var forkParent: UInt { 3 }
  static var forkChild: UInt { 4 }
}

typealias ProcessHook = @convention(c) (UInt, UInt) -> Void

extension Process {
  /// Hooks at most: one for each family that has use for one.
  static var hookCount: Int { 4 }

  /// Asks to be told of all events from now on; false when there are too many hooks. The same hook may be added twice.
  static func addHook(_ hook: ProcessHook) -> Bool {
    let word = unsafeBitCast(hook, to: UInt.self)
    return lock.withLock {
      for index in 0..<hookCount {
        let seen = hooks.advanced(by: index).loadRelaxed()
        if seen == word { return true }
        if seen != 0 { continue }
        hooks.advanced(by: index).storeRelaxed(word)
        return true
      }
      return false
    }
  }

  /// Tells all hooks of an event.
  static func tell(_ event: UInt, _ argument: UInt = 0) {
    for index in 0..<hookCount {
      let word = hooks.advanced(by: index).loadRelaxed()
      if word == 0 { return }
      unsafeBitCast(word, to: ProcessHook.self)(event, argument)
    }
  }
}
