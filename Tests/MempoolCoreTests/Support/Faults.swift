import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// What tests do in a process of their own, where the system refuses memory, and what they look at there.
enum Faults {
  /// An error thrown by an exit test's body ends its process without a word to the parent; a recorded issue gets there.
  static func report(_ body: () throws -> Void) {
    do { try body() } catch { Issue.record("\(error)") }
  }

  static func calls() -> UInt {
    var counters = mp_system_counters()
    mp_system_counters_read(&counters)
    return counters.reserve + counters.map + counters.commit + counters.purge + counters.release + counters.lock
      + counters.resize
  }

  static func failedCalls() -> UInt {
    var counters = mp_system_counters()
    mp_system_counters_read(&counters)
    return counters.failed
  }

  /// What tests compare: libc's heap, which they make grow themselves, 128 KiB at a time, is not counted.
  static func addressSpaceButHeap() -> Int { addressSpace() - Int(bitPattern: sbrk(0)) }

  static func addressSpace() -> Int {
    var text = [CChar](repeating: 0, count: 64)
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    guard fgets(&text, 64, file) != nil else { return 0 }
    return Int(atol(text)) * Int(mp_system_page_size())
  }
}
