import CMempoolShims

/// Clearing memory that was given back, and seeing whether it has stayed clear.
enum Wipe {
  /// From so many bytes on the system's pages go back to it, which reads as zero, and costs less than writing them.
  static var leastReturned: UInt { 128 << 10 }

  /// Makes bytes zero.
  ///
  /// - Parameter mayReturn: Whether whole pages of the system's may go back to it.
  static func clear(_ address: UInt, _ byteCount: UInt, mayReturn: Bool) {
    guard mayReturn, byteCount >= leastReturned else { return write(address, byteCount) }
    let page = UInt(mp_system_page_size())
    let first = (address + page - 1) & ~(page - 1), last = (address + byteCount) & ~(page - 1)
    guard first < last, mp_pages_purge(pointer(first), Int(last - first)) == 0 else { return write(address, byteCount) }
    write(address, first - address)
    write(last, address + byteCount - last)
  }

  private static func write(_ address: UInt, _ byteCount: UInt) {
    mp_memory_clear(pointer(address), Int(byteCount))
  }

  private static func pointer(_ address: UInt) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }

  /// Whether all bytes are zero; address and count are multiples of 8.
  static func isClear(_ address: UInt, _ byteCount: UInt) -> Bool {
    let words = pointer(address).assumingMemoryBound(to: UInt.self)
    var seen: UInt = 0
    var index = 0
    while index < Int(bitPattern: byteCount &>> 3) {
      seen |= words[index]
      index &+= 1
    }
    return seen == 0
  }
}
