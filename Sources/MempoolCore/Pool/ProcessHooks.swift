import CMempoolShims

/// What happens to threads, pools and the process, for those above this floor who keep records of them.
enum ProcessEvent {
  /// A thread ends; its number. Under the process's lock.
  static var threadExit: UInt { 0 }
  /// A memory pool is about to go; its address. Under the process's lock.
  static var poolEnd: UInt { 1 }
  /// In the child of a fork, by its only thread, when everything below is in order again.
  static var forkedChild: UInt { 2 }
}

typealias ProcessHook = @convention(c) (UInt, UInt) -> Void

extension Process {
  /// Hooks at most: one for each family that has use for one.
  static var hookCount: Int { 4 }

  /// Has a hook told of all events from now on, and its locks taken around a fork; false when there are too many. One that is
  /// there already changes nothing.
  static func add(_ hook: ProcessHook, _ locks: LockGroup, at group: LockGroupPointer) -> Bool {
    let word = unsafeBitCast(hook, to: UInt.self)
    return lock.withLock {
      for index in 0..<hookCount {
        let seen = hooks.advanced(by: index).loadRelaxed()
        if seen == word { return true }
        if seen != 0 { continue }
        hooks.advanced(by: index).storeRelaxed(word)
        group.initialize(to: locks)
        link(group)
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
