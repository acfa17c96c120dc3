import Glibc
import MempoolCore
import Synchronization

/// Allocation in signal handlers. That is not supported, as with no malloc: a handler that interrupts the allocator must not call it.
/// One that interrupts anything else may, and what it takes and gives back is as good as any other.
///
/// Each worker has a thread that it interrupts, besides interrupting itself; whoever is in a call says so, and the handler then
/// only counts. Else it frees what the interrupted thread left for it, allocates, and leaves that.
final class SignalHandlers: Scenario {
  static let name = "signal-handlers"
  static let summary = "signal handlers allocate and free wherever they do not interrupt the allocator itself"
  static let mustCount: [Counter] = [.signals, .servedSignals, .allocations, .frees, .threads]

  /// What a thread shares with the handlers that interrupt it.
  private struct Interruptible: ~Copyable {
    // 1: the thread, or a handler in it, is in a call, or in `holding`.
    let isBusy = Atomic<Int>(0)
    let pool: MemoryPoolPointer
    let mayExhaust: Bool
    var holding: Holding
    var random: SplitMix64
    // By the handler: times that it allocated, and that it let the thread be.
    var served: UInt64 = 0
    var passed: UInt64 = 0
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    precondition(pthread_key_create(&key, nil) == 0, "no thread-specific key is left")
    return key
  }()

  private let visitors: Visitors

  init(_ setting: Setting) {
    visitors = Visitors(threads: setting.threads)
    _ = Self.key
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { _ in SignalHandlers.handle() }
    action.sa_flags = Int32(SA_RESTART)
    sigaction(SIGUSR1, &action, nil)
  }

  private static func handle() {
    guard let specific = pthread_getspecific(key) else { return }
    let state = specific.assumingMemoryBound(to: Interruptible.self)
    guard state.pointee.isBusy.load(ordering: .relaxed) == 0 else {
      state.pointee.passed += 1
      return
    }
    let saved = errno
    state.pointee.served += 1
    for _ in 0..<8 {
      let size = Sizes.medium(&state.pointee.random)
      if state.pointee.random.oneIn(2) && !state.pointee.holding.isFull {
        let isServed = state.pointee.holding.allocate(size, from: state.pointee.pool)
        if !isServed && !state.pointee.mayExhaust { state.pointee.holding.note("no memory in a signal handler") }
      } else {
        state.pointee.holding.freeAny(to: state.pointee.pool, &state.pointee.random)
      }
    }
    errno = saved
  }

  func work(_ worker: Worker) {
    let visitor = visitors.next(for: worker)
    guard let thread = OwnThread({ Self.load(visitor) }) else {
      return worker.run.fail("no thread could be started", in: worker)
    }
    worker.counters[.threads] += 1
    // The run's threads are interrupted by nobody; this one wants to be, for once.
    let isBlocked = SignalMask.unblock(SIGUSR1)
    defer { if isBlocked { SignalMask.block(SIGUSR1) } }
    Self.load(worker) {
      guard worker.random.oneIn(16) else { return }
      thread.send(SIGUSR1)
      worker.counters[.signals] += 1
    }
    thread.join()
    worker.counters.add(visitor.counters)
    while let block = visitor.shadow.takeLast() { worker.shadow.add(block) }
  }

  /// A thread's share of the load, interrupted by itself now and then, and by others.
  private static func load(_ worker: Worker, _ interrupt: () -> Void = {}) {
    let state = UnsafeMutablePointer<Interruptible>.allocate(capacity: 1)
    state.initialize(
      to: Interruptible(
        pool: worker.pool, mayExhaust: worker.poolMayExhaust, holding: Holding(capacity: 64, owner: worker.index),
        random: SplitMix64(seed: worker.random.next())))
    pthread_setspecific(key, state)
    while worker.step() && !worker.run.hasFailed {
      // Stays before what follows, for this thread's own handlers; so does the release after what precedes.
      state.pointee.isBusy.store(1, ordering: .sequentiallyConsistent)
      act(worker)
      // What the handlers took is this thread's to free, now and then.
      if worker.random.oneIn(32) { state.pointee.holding.freeAll(to: worker.pool) }
      state.pointee.isBusy.store(0, ordering: .releasing)
      if worker.random.oneIn(16) {
        raise(SIGUSR1)
        worker.counters[.signals] += 1
      }
      interrupt()
    }
    pthread_setspecific(key, nil)
    state.pointee.holding.freeAll(to: worker.pool)
    if let wrong = state.pointee.holding.wrong { worker.run.fail("\(wrong)", in: worker) }
    worker.counters[.allocations] += UInt64(state.pointee.holding.allocations)
    worker.counters[.servedSignals] += state.pointee.served
    worker.counters[.passedSignals] += state.pointee.passed
    state.pointee.holding.deallocateTable()
    state.deinitialize(count: 1)
    state.deallocate()
  }

  private static func act(_ worker: Worker) {
    for _ in 0..<4 {
      if worker.shadow.count < 200 && !worker.isFull && worker.random.oneIn(2) {
        if let block = worker.allocate(Sizes.any(&worker.random)) { worker.shadow.add(block) }
      } else if let block = worker.shadow.takeAny(&worker.random) {
        worker.free(block)
      }
    }
  }
}
