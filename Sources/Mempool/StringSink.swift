internal import MempoolCore

/// Rendered bytes as a string.
struct StringSink: ByteSink {
  private var bytes: [UInt8] = []

  mutating func write(_ new: UnsafeRawBufferPointer) { unsafe bytes += new }

  /// What was written so far, without the newline at its end.
  var text: String { String(decoding: bytes.last == UInt8(ascii: "\n") ? bytes.dropLast() : bytes[...], as: UTF8.self) }
}
