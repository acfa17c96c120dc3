import Foundation

/// Threads that begin together. Made, started, joined, once each and in this order, by one thread.
final class Team {
  private final class Body: @unchecked Sendable {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }

  private let barrier: UnsafeMutablePointer<pthread_barrier_t>
  private var threads: [pthread_t] = []

  init(count: Int, _ body: @escaping (Int) -> Void) throws(StudyError) {
    barrier = .allocate(capacity: 1)
    guard pthread_barrier_init(barrier, nil, UInt32(count + 1)) == 0 else {
      throw StudyError("no barrier for \(count) threads")
    }
    let barrier = barrier
    for number in 0..<count {
      let run = Body {
        pthread_barrier_wait(barrier)
        body(number)
      }
      var thread = pthread_t()
      let error = pthread_create(
        &thread, nil,
        { argument in
          Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
          return nil
        }, Unmanaged.passRetained(run).toOpaque())
      // Threads that are there already wait at the barrier for ever; the process ends with this error.
      guard error == 0 else {
        throw StudyError("cannot start \(count) threads: \(String(cString: strerror(error)))")
      }
      threads.append(thread)
    }
  }

  deinit {
    if threads.isEmpty {
      pthread_barrier_destroy(barrier)
      barrier.deallocate()
    }
  }

  func start() { pthread_barrier_wait(barrier) }

  func join() {
    for thread in threads { pthread_join(thread, nil) }
    threads = []
  }
}
