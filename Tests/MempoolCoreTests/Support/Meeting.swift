import Foundation

@testable import MempoolCore

/// Lets another thread run.
func yieldThread() { sched_yield() }

/// Where two threads wait for each other for a very short time, so that they leave together.
final class Meeting: @unchecked Sendable {
  private let arrivals: AtomicPointer

  init() {
    let word = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    word.initialize(to: 0)
    arrivals = AtomicPointer(word)
  }

  deinit { arrivals.word.deallocate() }

  func wait() {
    let mine = arrivals.fetchAddAcquireRelease(1)
    let goal = (mine / 2 + 1) * 2
    var looks = 0
    while arrivals.loadAcquire() < goal {
      looks += 1
      if looks % 200 == 0 { yieldThread() }
    }
  }
}
