import CMempoolShims

// The two floors that the front door stands on, for those who say which one they mean: C's mp_frag_alloc and mp_heap_alloc.
// Their objects may be given back through the front door too; the calls here take nothing but their own kind.

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// A run of fragments that holds `byteCount` bytes, aligned to a fragment; nil when the pool is exhausted, with errno ENOMEM.
  /// Never a span. Any thread.
  public func allocateFragments(_ byteCount: UInt, call: StaticString) -> UnsafeMutableRawPointer? {
    guard start() else { return exhaustedOfFragments(byteCount, call) }
    guard isPlain else {
      return isHardened ? allocateHardenedRun(byteCount, call) : exhaustedOfFragments(byteCount, call)
    }
    guard byteCount <= Self.largestByteCount, let (run, _) = claimRun(byteCount, alignment: 1) else {
      return exhaustedOfFragments(byteCount, call)
    }
    return told(UnsafeMutableRawPointer(bitPattern: run.address), byteCount)
  }

  private func exhaustedOfFragments(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    exhausted(byteCount, call, alignment: Page.fragmentByteCount, isRun: true)
  }

  /// Gives a run of fragments back; what is none is reported and aborts. Nil is nothing to do.
  public func deallocateFragments(_ pointer: UnsafeMutableRawPointer?, call: StaticString) {
    guard let pointer else { return }
    tellFreed(pointer)
    if !isPassThrough {
      switch locate(pointer, call) {
      case .run: break
      case .system where fallbackSet.kind(of: UInt(bitPattern: pointer)) == .run: break
      case .item, .span, .dense, .system, .guarded: misuse(call, UInt(bitPattern: pointer), "not a run of fragments")
      }
    }
    deallocateUntold(pointer, call: call)
  }

  /// Gives an object of a thread heap back; what is none is reported and aborts. Nil is nothing to do.
  public func deallocateSmall(_ pointer: UnsafeMutableRawPointer?, call: StaticString) {
    guard let pointer else { return }
    tellFreed(pointer)
    if !isPassThrough {
      switch locate(pointer, call) {
      case .item(let slab, _) where !slab.isMedium: break
      case .dense, .guarded: break
      case .system where fallbackSet.kind(of: UInt(bitPattern: pointer)) == .small: break
      // What a hardened pool watches over takes a little more than was asked for.
      case .run where isHardened && usableSize(of: pointer, call: call, for: .free) <= SizeClass.largest: break
      case .item, .run, .span, .system: misuse(call, UInt(bitPattern: pointer), "not an object of the heap")
      }
    }
    deallocateUntold(pointer, call: call)
  }
}
