import CMempoolShims

/// Where the calls of a pool go that is not the usual one: to the system's allocator, or through the checks of a hardened pool.
///
/// The usual pool pays nothing for the choice: it is the same look at the pool's state that tells whether it has started. A
/// thread of a hardened pool keeps the shims' empty heap in its block, so that what is inlined into callers ends here, too.
extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// By a pool that has started.
  @inline(never)
  func allocateDiverted(_ byteCount: UInt, alignment: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    if isHardened {
      let pointer = allocateHardened(byteCount, alignment: alignment, call)
      if Purger.state.loadRelaxed() == Purger.State.none, Process.hasThreads { Process.startPurger(for: self) }
      return pointer
    }
    let size = Int(bitPattern: byteCount)
    let pointer =
      alignment > 1 ? mp_system_memalign(Int(bitPattern: alignment), size) : mp_system_malloc(size)
    return pointer ?? exhausted(byteCount, call)
  }

  @inline(never)
  func allocateZeroedDiverted(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    guard start() else { return exhausted(byteCount, call) }
    if isPlain { return allocateZeroedUntold(1, byteCount, call) }
    if isPassThrough { return mp_system_calloc(1, Int(bitPattern: byteCount)) ?? exhausted(byteCount, call) }
    let pointer = allocateDiverted(byteCount, alignment: 1, call)
    // All else is zero by then.
    if isDense, byteCount <= SizeClass.largest {
      pointer?.initializeMemory(as: UInt8.self, repeating: 0, count: Int(byteCount))
    }
    return pointer
  }

  @inline(never)
  func deallocateDiverted(_ pointer: UnsafeMutableRawPointer, _ call: CallName) {
    isPassThrough ? mp_system_free(pointer) : deallocateHardened(pointer, call)
  }

  @inline(never)
  func usableSizeDiverted(_ pointer: UnsafeRawPointer, _ call: CallName) -> UInt {
    if isPassThrough { return UInt(mp_system_usable_size(UnsafeMutableRawPointer(mutating: pointer))) }
    return hardenedObject(pointer, call)?.byteCount ?? usableSize(of: pointer, call)
  }

  @inline(never)
  func reallocateDiverted(
    _ pointer: UnsafeMutableRawPointer, _ byteCount: UInt, _ call: StaticString
  ) -> UnsafeMutableRawPointer? {
    // Asked for nothing, the system's frees: here that is a distinct object.
    if isPassThrough {
      return mp_system_realloc(pointer, Int(bitPattern: max(byteCount, 1))) ?? exhausted(byteCount, call)
    }
    return reallocateHardened(pointer, byteCount, call)
  }

  /// Whether this pool knows with how many bytes a live object was asked for.
  func isSizeKept(of pointer: UnsafeRawPointer) -> Bool {
    isHardened && hardenedObject(pointer, CallName("free")) != nil
  }
}
