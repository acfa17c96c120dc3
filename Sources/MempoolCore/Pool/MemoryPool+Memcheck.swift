// What the front door tells memcheck of: objects of the shared pool as the process's, objects of others as their pool's. What came
// from the system's allocator, that one tells of.

extension Process {
  /// The first pool and the first slab cache are known here, and would be missed by nobody.
  static func tellStart() {
    let record = UInt(bitPattern: lock)
    Memcheck.keep(record, UInt(byteCount))
    Memcheck.close(record, UInt(byteCount))
  }
}

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// A new object of so many bytes, or nil, which is nothing to tell. In the caller's own frame, which memcheck then names.
  @inlinable @inline(__always)
  func told(_ pointer: UnsafeMutableRawPointer?, _ byteCount: UInt, isZeroed: Bool = false) -> UnsafeMutableRawPointer?
  {
    if Memcheck.isRunning, let pointer, owns(pointer) {
      Memcheck.allocated(UInt(bitPattern: pointer), byteCount, isZeroed: isZeroed, in: memcheckPool)
    }
    return pointer
  }

  /// Before it is looked at: what is wrong with it memcheck reports first, and knows where it was freed.
  @inlinable @inline(__always)
  func tellFreed(_ pointer: UnsafeMutableRawPointer?) {
    if Memcheck.isRunning, let pointer, !isTheSystems(pointer) {
      Memcheck.freed(UInt(bitPattern: pointer), in: memcheckPool)
    }
  }

  func tellResized(_ address: UInt, to byteCount: UInt, usable: UInt) {
    guard Memcheck.isRunning, let pointer = UnsafeRawPointer(bitPattern: address), owns(pointer) else { return }
    Memcheck.resized(address, to: byteCount, usable: usable, in: memcheckPool)
  }

  /// The pool goes, with the slab caches that are still in it.
  func tellGone() {
    if isPassThrough { return }
    let isOwn = pointee.first.pointee.backing != .buffer
    Process.leave { cache in
      if cache.pointee.segments == segments { Memcheck.poolGone(UInt(bitPattern: cache), isObject: isOwn) }
      return false
    }
    Memcheck.poolGone(UInt(bitPattern: self), isObject: isOwn)
  }

  @inlinable @inline(__always)
  var memcheckPool: UInt { self == .shared ? 0 : UInt(bitPattern: self) }

  /// Whether it is a live object from the system's allocator.
  @usableFromInline
  func isTheSystems(_ pointer: UnsafeMutableRawPointer) -> Bool {
    if isPassThrough { return true }
    return fallbackLive.loadRelaxed() != 0 && fallbackSet.kind(of: UInt(bitPattern: pointer)) != nil
  }
}
