import CMempoolShims
import MempoolCore

/// What an embedded file system asks of its allocator: it opens a disk, lists it, and closes it.
enum DiskWorkload {
  private static let fileCount = 12
  private static let chainLength = 9

  /// Whether there was memory for all of it. Everything is given back in either case.
  static func run(_ allocator: RawAllocator) -> Bool {
    var live: [UnsafeMutableRawPointer] = []
    live.reserveCapacity(4 * fileCount)
    defer { for object in live.reversed() { allocator.deallocate(object) } }
    func take(_ byteCount: UInt) -> Bool {
      guard let object = allocator.allocate(byteCount) else { return false }
      live.append(object)
      return true
    }
    guard take(112) else { return false }
    for _ in 0..<fileCount {
      // A node, and the numbers of its blocks, eight bytes for four of them, by and by.
      guard take(40), take(8) else { return false }
      for link in 2...chainLength {
        guard let longer = allocator.reallocate(live[live.count - 1], UInt(8 * link)) else { return false }
        live[live.count - 1] = longer
      }
    }
    guard take(96) else { return false }
    for _ in 0..<fileCount where !take(7) { return false }
    return true
  }
}

/// The system's allocator, counted: calls for memory, and the most bytes that it held, its own bookkeeping included.
final class CountedSystem {
  private(set) var calls = 0
  private(set) var peakBytes = 0
  private var bytes = 0

  /// Lives as long as this object.
  var allocator: RawAllocator {
    RawAllocator(
      resize: { state, pointer, byteCount in
        let this = Unmanaged<CountedSystem>.fromOpaque(state!).takeUnretainedValue()
        this.calls += 1
        if let pointer { this.bytes -= mp_system_usable_size(pointer) + 8 }
        let result = RawAllocator.system.resize(nil, pointer, byteCount)
        if let result { this.bytes += mp_system_usable_size(result) + 8 }
        this.peakBytes = max(this.peakBytes, this.bytes)
        return result
      }, state: Unmanaged.passUnretained(self).toOpaque())
  }
}
