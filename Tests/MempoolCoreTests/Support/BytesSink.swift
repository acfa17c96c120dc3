@testable import MempoolCore

/// A sink that keeps what it gets, to look at.
struct BytesSink: ByteSink {
  var bytes: [UInt8] = []

  mutating func write(_ new: UnsafeRawBufferPointer) { bytes += new }

  var text: String { String(decoding: bytes, as: UTF8.self) }
}
