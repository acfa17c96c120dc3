@testable import MempoolCore

/// A sink that keeps what it gets, to look at.
struct BytesSink: ByteSink {
  var bytes: [UInt8] = []

  mutating func write(_ new: UnsafeRawBufferPointer) { bytes += new }

  var text: String { String(decoding: bytes, as: UTF8.self) }
}

/// Counts the lines of what is written, and keeps nothing of it.
struct LineCount: ByteSink {
  var count = 0

  mutating func write(_ new: UnsafeRawBufferPointer) { count += new.count { $0 == UInt8(ascii: "\n") } }
}
