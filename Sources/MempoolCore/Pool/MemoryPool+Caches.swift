import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// Makes a slab cache in this pool, for any thread.
  ///
  /// - Parameters:
  ///   - itemSize: At least 1; rounded up to `alignment`, at most ``largestItemSize``.
  ///   - alignment: A power of two, at most a page.
  ///   - name: NUL-terminated; the first 31 bytes are kept.
  public func makeCache(
    itemSize: UInt, alignment: UInt = 1, name: UnsafePointer<CChar>? = nil
  ) throws(PoolError) -> SlabCachePointer {
    guard start() else { throw .reservationFailed(errno: mp_errno_get()) }
    guard !isPassThrough, itemSize > 0, itemSize <= SlabCachePointer.largestItemSize, alignment > 0,
      alignment <= Page.byteCount, alignment & (alignment - 1) == 0
    else { throw .invalidArgument }
    let cache = SlabCachePointer.make(
      id: Process.makeID(), itemSize: itemSize, alignment: alignment, name: name, segments: segments,
      metadata: pointee.first)
    guard let cache else { throw .outOfMemory }
    Process.enter(cache)
    return cache
  }
}

extension UnsafeMutablePointer where Pointee == SlabCache {
  /// Gives everything back, leases of other threads included. No other call on the cache may be running or follow. Items that
  /// are out are reported on one line, and the process aborts.
  ///
  /// - Parameter subject: The address that the report names; by default the cache's own.
  public func destroy(call: StaticString = "destroy", subject: UInt? = nil) {
    Process.leave { $0 == self }
    let count = itemsOut()
    if count == 0 { return release() }
    var line = ReportLine()
    line.append(call)
    line.append("(")
    line.append(address: subject ?? UInt(bitPattern: self))
    line.append("): ")
    line.append(decimal: count)
    line.append(count == 1 ? " item is still out" : " items are still out")
    line.write()
    mp_abort()
  }

  /// Gives everything back unless items are out; whether it did. No call but ``put(_:call:)`` may be running or follow.
  public func destroyIfUnused() -> Bool {
    var isUnused = false
    Process.leave { cache in
      if cache == self { isUnused = itemsOut() == 0 }
      return cache == self && isUnused
    }
    if isUnused { release() }
    return isUnused
  }
}
