import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// The least usable size of a new object of `byteCount` bytes; `byteCount` itself when no object can be so large.
  /// O(1), starts nothing.
  public func goodSize(_ byteCount: UInt) -> UInt {
    if byteCount <= SizeClass.largest {
      var index = 0
      while SizeClass.itemSize(index) < byteCount { index += 1 }
      return SizeClass.itemSize(index)
    }
    if byteCount <= RunSize.most << Page.fragmentShift { return Self.fragments(byteCount) << Page.fragmentShift }
    let unit = isElastic && byteCount > SpanList.threshold ? UInt(mp_system_page_size()) : Page.fragmentByteCount
    let (sum, overflow) = byteCount.addingReportingOverflow(unit - 1)
    return overflow ? byteCount : sum & ~(unit - 1)
  }

  /// Whether an object of `usable` bytes may have been asked for with `byteCount`. What was asked for is not kept: only how
  /// it is rounded, and that reallocation keeps an object in place down to half of its size.
  public func isPlausible(_ byteCount: UInt, usable: UInt) -> Bool {
    byteCount <= usable && (byteCount >= usable / 2 || goodSize(byteCount) >= usable)
  }
}
