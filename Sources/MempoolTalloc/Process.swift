import CMempoolTalloc
import MempoolCore

// What talloc has once in a process: hooks, tracking of roots, reports at exit. Any thread.

private enum Shared {
  static var first: AtomicPointer { AtomicPointer(address: UInt(bitPattern: mempool_talloc_address())) }
  // Of the payload; 0: there is none.
  private static var autofree: AtomicPointer { first }
  // 1: the handler is registered; 2: what is left is reported at exit; 4: in full.
  static var atExit: AtomicPointer { first.advanced(by: 1) }

  /// The context that is freed at exit.
  static var autofreeContext: UnsafeMutableRawPointer? {
    UnsafeMutableRawPointer(bitPattern: autofree.loadAcquire())  // acquire: pairs with the swap in publish(_:)
  }

  /// False when somebody else has published one.
  static func publish(_ context: UnsafeMutableRawPointer) -> Bool {
    // release: pairs with the acquire in autofreeContext
    autofree.compareAndSwapRelease(0, UInt(bitPattern: context)) == 0
  }

  static func forgetAutofree() { autofree.storeRelaxed(0) }
}

/// When the library is loaded: who hears of misuse, and what freed memory is filled with.
@c(mempool_talloc_start) public func tallocStart() {
  ContextProcess.setHook { mempool_talloc_misuse($0, $1) }
  let fill = mempool_talloc_fill()
  if fill >= 0 { ContextProcess.setFill(UInt8(truncatingIfNeeded: fill)) }
}

@c(talloc_version_major) public func tallocVersionMajor() -> Int32 { 2 }

@c(talloc_version_minor) public func tallocVersionMinor() -> Int32 { 4 }

@c(talloc_test_get_magic) public func tallocTestGetMagic() -> Int32 { ContextProcess.magic }

public typealias TextHook = @convention(c) (UnsafePointer<CChar>) -> Void

@c(talloc_set_abort_fn) public func tallocSetAbort(_ hook: TextHook?) { mempool_talloc_set_abort(hook) }

@c(talloc_set_log_fn) public func tallocSetLog(_ hook: TextHook?) { mempool_talloc_set_log(hook) }

@c(talloc_set_log_stderr) public func tallocSetLogToStderr() { mempool_talloc_log_to_stderr() }

// MARK: Tracking

private func track() {
  _ = ContextProcess.track(name: literal("null_context"), isStrict: true)
}

@c(talloc_enable_null_tracking_no_autofree) public func tallocEnableTracking() { track() }

@c(talloc_enable_null_tracking) public func tallocEnableTrackingOfAll() {
  track()
  if let own = block(Shared.autofreeContext), own.parent == nil {
    own.move(to: nil)
  }
}

@c(talloc_disable_null_tracking) public func tallocDisableTracking() { ContextProcess.untrack() }

// MARK: At exit

private func mark(_ marks: UInt) {
  if Shared.atExit.fetchOrRelaxed(marks | 1) & 1 == 0 { mempool_talloc_at_exit { endProcess() } }
}

private func endProcess() {
  if let own = Shared.autofreeContext { _ = tallocFree(own, nil) }
  let marks = Shared.atExit.loadRelaxed()
  if marks & 6 == 0 || tallocTotalSize(nil) == 0 { return }
  mempool_talloc_report_leaks(marks & 4 == 0 ? 0 : 1)
}

@c(talloc_enable_leak_report) public func tallocReportLeaks() {
  tallocEnableTrackingOfAll()
  mark(2)
}

@c(talloc_enable_leak_report_full) public func tallocReportLeaksInFull() {
  tallocEnableTrackingOfAll()
  mark(4)
}

/// A context that is freed at exit, made when it is first asked for.
@c(talloc_autofree_context) public func tallocAutofree() -> UnsafeMutableRawPointer? {
  if let own = Shared.autofreeContext { return own }
  guard let own = make(nil, 0, literal("autofree_context")) else { return nil }
  ContextPointer(payload: own).setDestructor { _ in
    Shared.forgetAutofree()
    return 0
  }
  if !Shared.publish(own) {
    ContextPointer(payload: own).setDestructor(nil)
    _ = tallocFree(own, nil)
    return Shared.autofreeContext
  }
  mark(0)
  return own
}
