import CMempoolShims
import Foundation
import MempoolCore
import MempoolStudy

/// An allocator to be measured that has a state.
protocol TimedSubject {
  func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer?
  func deallocate(_ pointer: UnsafeMutableRawPointer)
  /// After all that was allocated in a batch has been given back.
  func batchIsOver()
}

extension TimedSubject {
  @inline(__always) func batchIsOver() {}
}

/// In what order objects come and go.
enum TimedPattern: CaseIterable {
  case lastInFirstOut, batches, replacement

  var title: String {
    switch self {
    case .lastInFirstOut: "one at a time"
    case .batches: "batches of 100"
    case .replacement: "random replacement among 1000"
    }
  }

  /// Nanoseconds of one allocation and one free.
  func nanoseconds<Subject: TimedSubject>(_ subject: Subject, _ byteCount: Int) -> Double {
    let pairs = 20_000
    var live: [UnsafeMutableRawPointer] = []
    var random = SplitMix64(seed: 1)
    if self == .replacement { for _ in 0..<1000 { live.append(take(subject, byteCount)) } }
    live.reserveCapacity(1000)
    let start = mp_clock_nanoseconds()
    switch self {
    case .lastInFirstOut:
      for _ in 0..<pairs { subject.deallocate(take(subject, byteCount)) }
    case .batches:
      for _ in 0..<pairs / 100 {
        for _ in 0..<100 { live.append(take(subject, byteCount)) }
        for object in live { subject.deallocate(object) }
        live.removeAll(keepingCapacity: true)
        subject.batchIsOver()
      }
    case .replacement:
      for _ in 0..<pairs {
        let index = Int(truncatingIfNeeded: random.next() >> 32) % 1000
        subject.deallocate(live[index])
        live[index] = take(subject, byteCount)
      }
    }
    let nanoseconds = mp_clock_nanoseconds() - start
    for object in live { subject.deallocate(object) }
    subject.batchIsOver()
    return Double(nanoseconds) / Double(pairs)
  }

  @inline(__always)
  private func take<Subject: TimedSubject>(_ subject: Subject, _ byteCount: Int) -> UnsafeMutableRawPointer {
    guard let object = subject.allocate(byteCount) else {
      warn("bench: no memory for \(byteCount) bytes")
      exit(EX_OSERR)
    }
    object.storeBytes(of: 1, as: UInt8.self)
    return object
  }
}
