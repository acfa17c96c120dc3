import CMempoolShims

/// Where rendered bytes go. Renderers call it often, with few bytes at a time.
public protocol ByteSink {
  /// Takes all of `bytes`; they are the caller's again when this returns.
  mutating func write(_ bytes: UnsafeRawBufferPointer)
}

extension ByteSink {
  public mutating func write(_ text: StaticString) {
    write(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  mutating func write(byte: UInt8, count: Int = 1) {
    var byte = byte
    for _ in 0..<max(count, 0) { withUnsafeBytes(of: &byte) { write($0) } }
  }

  public mutating func write(decimal value: UInt) {
    if value >= 10 { write(decimal: value / 10) }
    write(byte: UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value % 10))
  }
}

extension UInt {
  /// Digits of the decimal form.
  var digitCount: Int { self < 10 ? 1 : 1 + (self / 10).digitCount }
}

/// A sink that writes to an open file by way of a buffer on the stack. ``flush()`` must be the last call. Never allocates.
///
/// The buffer holds all of a pool's statistics, so that processes that append to one file do not interleave.
public struct FileSink: ByteSink {
  private let descriptor: Int32
  private var bytes = InlineArray<8192, UInt8>(repeating: 0)
  private var count = 0
  /// Whether everything so far could be written.
  public private(set) var isComplete = true

  public init(descriptor: Int32) { self.descriptor = descriptor }

  public mutating func write(_ new: UnsafeRawBufferPointer) {
    for byte in new {
      bytes[count] = byte
      count += 1
      if count == 8192 { flush() }
    }
  }

  /// Writes out what the buffer holds.
  public mutating func flush() {
    let (descriptor, total) = (descriptor, count)
    let written = bytes.span.withUnsafeBytes { buffer in
      mp_write_all(descriptor, buffer.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self), total)
    }
    isComplete = isComplete && written == 0
    count = 0
  }
}
