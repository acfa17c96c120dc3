import Foundation
import MempoolCore

// One word for the process, as a signal handler can reach nothing else.
private nonisolated(unsafe) let wanted: UnsafeMutablePointer<UInt> = {
  let word = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
  word.initialize(to: 0)
  return word
}()

/// Whether somebody pressed Ctrl-C. The first time stops a study between two runs, the second ends the process.
package enum Interruption {
  package static var isWanted: Bool { AtomicPointer(wanted).loadRelaxed() != 0 }

  /// From now on. Also makes the word that the handler writes, which it could not.
  package static func watch() {
    AtomicPointer(wanted).storeRelaxed(0)
    for number in [SIGINT, SIGTERM] {
      signal(number) { caught in
        AtomicPointer(wanted).storeRelaxed(1)
        signal(caught, SIG_DFL)
      }
    }
  }
}
