import Foundation
import MempoolCore

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// Whether the pool's invariants hold at a point where no worker uses it. Dispatch may be ending one of its threads just then,
  /// which gives its heap up: what looks broken while that happens, and only that, is looked at again.
  func isSound() -> Bool {
    for _ in 0..<10 {
      let owned = statisticsAtRest().ownedHeapCount
      if checkInvariants() { return true }
      usleep(100_000)
      if statisticsAtRest().ownedHeapCount >= owned { return false }
      FileHandle.standardError.write(Data("mempool-stress: a thread ended during the check; checking again\n".utf8))
    }
    return false
  }
}
