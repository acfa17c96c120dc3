/// The locks of something above the pools, for the handlers that run around a fork.
///
/// A part of the record of what it belongs to, which enters it in the process's list while it lives. Its locks are taken before
/// those of caches and pools, one group after the other.
struct LockGroup {
  // First, as ThreadSanitizer takes a write to any field for one to the record's first word. In the list, under the process's lock.
  var next: LockGroupPointer?
  // Whether this process was forked since the group was made; written by its only thread.
  var wasForked = AtomicWord()  // 1
  // The first mutex, and the bytes from one to the next.
  let first: UInt
  let stride: UInt
  let count: UInt
}

typealias LockGroupPointer = UnsafeMutablePointer<LockGroup>

extension UnsafeMutablePointer where Pointee == LockGroup {
  var wasForked: AtomicPointer { AtomicPointer(self, word: 1) }

  func forEach(_ body: (MutexPointer) -> Void) {
    for index in 0..<pointee.count {
      body(MutexPointer(bitPattern: pointee.first + index * pointee.stride).unsafelyUnwrapped)
    }
  }
}
