import Foundation

/// A value that a test hands to threads, having seen to it that this is safe.
struct Shared<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// A thread of the system's with a small stack, so that a thousand can be alive at once. `join()` returns when its exit
/// handlers have run.
struct TestThread {
  private let thread: pthread_t

  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  init(_ body: @escaping @Sendable () -> Void) {
    let attributes = UnsafeMutablePointer<pthread_attr_t>.allocate(capacity: 1)
    pthread_attr_init(attributes)
    pthread_attr_setstacksize(attributes, 256 << 10)
    var made = pthread_t()
    let error = pthread_create(
      &made, attributes,
      { argument in
        Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(Body(body)).toOpaque())
    precondition(error == 0, "no thread: error \(error)")
    pthread_attr_destroy(attributes)
    attributes.deallocate()
    thread = made
  }

  func join() { pthread_join(thread, nil) }

  /// Runs `body` on one thread, and returns when that is gone.
  static func run(_ body: @escaping @Sendable () -> Void) { TestThread(body).join() }

  /// Runs `body` on `count` threads at once, numbered from 0, and returns when all are gone.
  static func run(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let gate = ThreadGate(count)
    let threads = (0..<count).map { number in
      TestThread {
        gate.arrive()
        body(number)
      }
    }
    for thread in threads { thread.join() }
  }
}

/// Where threads wait for each other, as often as they like.
final class ThreadGate: @unchecked Sendable {
  private let lock = NSCondition()
  private let count: Int
  private var waiting = 0
  private var round = 0

  init(_ count: Int) { self.count = count }

  /// Returns when all have arrived.
  func arrive() {
    lock.lock()
    defer { lock.unlock() }
    waiting += 1
    if waiting == count {
      waiting = 0
      round += 1
      lock.broadcast()
      return
    }
    let mine = round
    while round == mine { lock.wait() }
  }
}

/// What threads found wrong, for the test to look at when they are gone.
final class Findings: @unchecked Sendable {
  private let lock = NSLock()
  private var list: [String] = []

  func report(_ what: String) { lock.withLock { if list.count < 20 { list.append(what) } } }

  func report(_ body: () throws -> Void) {
    do { try body() } catch { report("\(error)") }
  }

  var all: [String] { lock.withLock { list } }
}
