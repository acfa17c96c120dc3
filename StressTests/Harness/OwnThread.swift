import Glibc

/// A thread that begins and ends at points that its maker chooses.
final class OwnThread {
  private var thread = pthread_t()

  /// Nil when the system has no more threads.
  init?(_ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(Body(body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, Sanitizer.current == .none ? 256 << 10 : 2 << 20)
    let error = pthread_create(
      &thread, &attributes, { Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run() }, box.toOpaque())
    if error != 0 {
      box.release()
      return nil
    }
  }

  /// Interrupts it. Not after ``join()``.
  func send(_ signal: Int32) { pthread_kill(thread, signal) }

  /// Lets it go on alone. Instead of ``join()``.
  func detach() { pthread_detach(thread) }

  /// Waits until it is gone, its exit handlers included. Once only.
  func join() { pthread_join(thread, nil) }

  private final class Body: Sendable {
    private let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }

    func run() -> UnsafeMutableRawPointer? {
      // The run's threads block them, and so do those that they make.
      for signal in SignalMask.sent { SignalMask.unblock(signal) }
      body()
      return nil
    }
  }
}

/// Work for a thread's exit handlers: run once in each round of key destructors, so both before and after the allocator's own
/// handler, while `next` says that there is more.
final class LateWork {
  private let next: () -> Bool
  private var roundsLeft = mostRounds

  private init(_ next: @escaping () -> Bool) { self.next = next }

  /// The system runs four, and the allocator's own handler comes in the one after a thread's first allocation: that may be the last of these, if
  /// a full pool has refused all before. Sanitizers finish the thread in the fourth.
  private static var mostRounds: Int { Sanitizer.current == .none ? 3 : 2 }

  /// Arms it for the calling thread.
  static func arm(_ next: @escaping () -> Bool) {
    pthread_setspecific(key, Unmanaged.passRetained(LateWork(next)).toOpaque())
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    let error = pthread_key_create(&key) { LateWork.roundCame($0!) }
    precondition(error == 0, "no thread-specific key is left")
    return key
  }()

  private static func roundCame(_ value: UnsafeMutableRawPointer) {
    let work = Unmanaged<LateWork>.fromOpaque(value)
    let late = work.takeUnretainedValue()
    late.roundsLeft -= 1
    if late.next(), late.roundsLeft > 0 {
      pthread_setspecific(key, value)
    } else {
      work.release()
    }
  }
}

/// Which signals interrupt the calling thread.
enum SignalMask {
  /// Those that scenarios send.
  static var sent: [Int32] { [SIGUSR1, SIGUSR2] }

  /// Whether it was blocked.
  @discardableResult
  static func unblock(_ signal: Int32) -> Bool { change(SIG_UNBLOCK, signal) }

  static func block(_ signal: Int32) { change(SIG_BLOCK, signal) }

  @discardableResult
  private static func change(_ how: Int32, _ signal: Int32) -> Bool {
    var signals = sigset_t(), before = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, signal)
    pthread_sigmask(how, &signals, &before)
    return sigismember(&before, signal) == 1
  }
}
