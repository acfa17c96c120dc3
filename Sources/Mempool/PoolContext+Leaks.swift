#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif
internal import MempoolCore

extension PoolContext {
  /// From now on the process knows all trees, and writes those to standard error that are left at exit: a line with their number of blocks, then
  /// the trees, as ``report(as:depth:)`` shows one. Trees made before are not among them.
  ///
  /// Making and freeing a tree takes a lock then; what happens in a tree does not.
  ///
  /// - Throws: ``PoolError/outOfMemory``.
  public static func reportLeaksAtExit() throws(PoolError) {
    let name: StaticString = "all contexts"
    let text = unsafe UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    guard unsafe ContextProcess.track(name: text, isStrict: false) else { throw .outOfMemory }
    // Registered once, by whoever asks first.
    _ = isRegistered
  }

  private static let isRegistered: Bool = atexit { PoolContext.writeLeaks() } == 0

  private static func writeLeaks() {
    guard let all = unsafe ContextProcess.tracker else { return }
    let blocks = unsafe all.totalBlocks - 1
    if blocks == 0 { return }
    var sink = StringSink()
    unsafe all.writeText(to: &sink)
    var line = "mempool: contexts left at exit: \(blocks) blocks\n\(sink.text)\n"
    line.withUTF8 { bytes in
      var rest = unsafe bytes[...]
      while let start = unsafe UnsafeBufferPointer(rebasing: rest).baseAddress, unsafe !rest.isEmpty {
        let written = unsafe write(2, start, rest.count)
        if written <= 0 { return }
        unsafe rest = unsafe rest.dropFirst(written)
      }
    }
  }
}
