import CMempoolShims
import Foundation
import MempoolCore

/// Where a benchmark's objects come from.
protocol ObjectSource {
  static var name: String { get }
  static func acquire() -> UnsafeMutableRawPointer?
  static func release(_ object: UnsafeMutableRawPointer?)
}

/// Prepared objects of an object pool.
enum PreparedObjects: ObjectSource {
  static let name = "mempool"
  // Set while no thread is measured.
  nonisolated(unsafe) static var pool: ObjectPoolPointer?

  @inline(__always) static func acquire() -> UnsafeMutableRawPointer? { pool.unsafelyUnwrapped.acquire() }
  @inline(__always) static func release(_ object: UnsafeMutableRawPointer?) { ObjectPoolPointer.release(object) }
}

/// The engine's own malloc and free.
enum EngineObjects: ObjectSource {
  static let name = "mempool malloc, free"

  @inline(__always) static func acquire() -> UnsafeMutableRawPointer? { MemoryPoolPointer.shared.allocate(objectSize) }
  @inline(__always) static func release(_ object: UnsafeMutableRawPointer?) {
    MemoryPoolPointer.shared.deallocate(object)
  }
}

/// The C library's.
enum SystemObjects: ObjectSource {
  static let name = "libc malloc, free"

  @inline(__always) static func acquire() -> UnsafeMutableRawPointer? { mp_system_malloc(Int(objectSize)) }
  @inline(__always) static func release(_ object: UnsafeMutableRawPointer?) { mp_system_free(object) }
}

/// The way of the original's first design: a list of free objects under one lock, for all threads.
enum OneLockObjects: ObjectSource {
  static let name = "a list, one lock"
  private nonisolated(unsafe) static var free: UnsafeMutableRawPointer?
  private nonisolated(unsafe) static let lock: UnsafeMutablePointer<pthread_mutex_t> = {
    let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    pthread_mutex_init(lock, nil)
    return lock
  }()

  static func acquire() -> UnsafeMutableRawPointer? {
    pthread_mutex_lock(lock)
    let object = free
    free = object?.load(as: UnsafeMutableRawPointer?.self)
    pthread_mutex_unlock(lock)
    return object ?? mp_system_malloc(Int(objectSize))
  }

  static func release(_ object: UnsafeMutableRawPointer?) {
    pthread_mutex_lock(lock)
    object?.storeBytes(of: free, as: UnsafeMutableRawPointer?.self)
    free = object
    pthread_mutex_unlock(lock)
  }
}

/// Bytes of an object in all of these: a call frame, an inode of the original's users.
let objectSize: UInt = 256

/// Threads that begin together.
enum TogetherThreads {
  private final class Body: @unchecked Sendable {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }

  /// Nanoseconds from when all of `count` threads are there until the last one has come back from `body`.
  static func time(_ count: Int, _ body: @escaping (Int) -> Void) throws(Failure) -> Double {
    let barrier = UnsafeMutablePointer<pthread_barrier_t>.allocate(capacity: 1)
    guard pthread_barrier_init(barrier, nil, UInt32(count + 1)) == 0 else {
      throw Failure("no barrier for \(count) threads", status: EX_OSERR)
    }
    defer {
      pthread_barrier_destroy(barrier)
      barrier.deallocate()
    }
    var threads: [pthread_t] = []
    for number in 0..<count {
      let run = Body {
        pthread_barrier_wait(barrier)
        body(number)
        pthread_barrier_wait(barrier)
      }
      var thread = pthread_t()
      let error = pthread_create(
        &thread, nil,
        { argument in
          Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
          return nil
        }, Unmanaged.passRetained(run).toOpaque())
      // Threads that are there already wait at the barrier for ever; the process ends with this error.
      guard error == 0 else { throw Failure("cannot start \(count) threads: \(errorText(error))", status: EX_OSERR) }
      threads.append(thread)
    }
    pthread_barrier_wait(barrier)
    let start = mp_clock_nanoseconds()
    pthread_barrier_wait(barrier)
    let end = mp_clock_nanoseconds()
    for thread in threads { pthread_join(thread, nil) }
    return Double(end - start)
  }

  private static func errorText(_ error: Int32) -> String { String(cString: strerror(error)) }
}
