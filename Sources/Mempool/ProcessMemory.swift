#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// What the kernel says of this process's memory: the other side of ``MempoolStatistics``.
///
/// A pool knows what it may use, the kernel what is really there. Of the whole process: code, stacks and other allocators
/// are in these numbers too. In bytes.
public struct ProcessMemory: Sendable, Equatable {
  /// In memory now, shared pages included.
  public let residentBytes: Int
  /// In memory, of this process alone, and written to: what giving memory back must make smaller.
  public let privateDirtyBytes: Int
  /// Given back to the kernel, which has not taken it yet. Part of ``residentBytes``; that number lies by as much.
  public let lazyFreeBytes: Int
  /// In huge pages, which are in memory whole if one byte of them is used.
  public let anonymousHugePageBytes: Int

  /// Reads the kernel's figures; nil where there are none (`/proc/self/smaps_rollup`, Linux 4.14 or later).
  ///
  /// - Complexity: The kernel walks the process's page tables: milliseconds for gigabytes.
  public static func current() -> ProcessMemory? {
    guard let text = contents(of: "/proc/self/smaps_rollup") else { return nil }
    return ProcessMemory(smaps: text)
  }

  init?(smaps text: String) {
    var figures: [Substring: Int] = [:]
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 3, words[2] == "kB", let kibibytes = Int(words[1]) else { continue }
      figures[words[0]] = kibibytes * 1024
    }
    guard let resident = figures["Rss:"], let dirty = figures["Private_Dirty:"] else { return nil }
    residentBytes = resident
    privateDirtyBytes = dirty
    lazyFreeBytes = figures["LazyFree:"] ?? 0
    anonymousHugePageBytes = figures["AnonHugePages:"] ?? 0
  }

  private static func contents(of path: String) -> String? {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while true {
      let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
        unsafe count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
      }
      if chunk.isEmpty { break }
      bytes += chunk
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
