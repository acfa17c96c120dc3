/// A number of bytes, with its unit where it is written: `.kibibytes(64)`.
public struct ByteCount: Sendable, Hashable {
  /// In bytes.
  public let byteCount: Int

  /// So many bytes.
  public static func bytes(_ count: Int) -> ByteCount { ByteCount(byteCount: count) }

  /// So many times 1024 bytes.
  public static func kibibytes(_ count: Int) -> ByteCount { ByteCount(byteCount: count * 1024) }

  /// So many times 1024 kibibytes.
  public static func mebibytes(_ count: Int) -> ByteCount { ByteCount(byteCount: count * 1024 * 1024) }

  private init(byteCount: Int) { self.byteCount = byteCount }
}
