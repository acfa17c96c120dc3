import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// The least usable size of a new object of `byteCount` bytes, guarded ones aside, which have just that; `byteCount` itself
  /// when no object can be so large. O(1), starts nothing. A pool that passes everything through does not know.
  public func goodSize(_ byteCount: UInt) -> UInt {
    let options = settledOptions
    if case .passThrough = options.backing { return byteCount }
    if options.hardening != .off, !options.smallObjects.isDense { return byteCount }
    if options.smallObjects.isDense, byteCount <= SizeClass.largest, let request = DenseRequest(byteCount) {
      return (request.units - 1) * DensePage.unitBytes
    }
    if byteCount <= SizeClass.largest {
      var index = 0
      while SizeClass.itemSize(index) < byteCount { index += 1 }
      return SizeClass.itemSize(index)
    }
    if case .elastic = options.backing, byteCount <= SizeClass.largestMedium, options.hardening == .off,
      options.smallObjects == .classes
    {
      return SizeClass.itemSize(SizeClass.medium(byteCount))
    }
    if byteCount <= RunSize.most << Page.fragmentShift { return Self.fragments(byteCount) << Page.fragmentShift }
    var unit = Page.fragmentByteCount
    if case .elastic = options.backing, byteCount > SpanList.threshold { unit = UInt(mp_system_page_size()) }
    let (sum, overflow) = byteCount.addingReportingOverflow(unit - 1)
    return overflow ? byteCount : sum & ~(unit - 1)
  }

  /// What the pool was made with; before the shared pool has started, what the environment asks for.
  private var settledOptions: PoolOptions {
    if self == .shared, !isReady {
      return EnvironmentSettings.process.pointee.poolOptions
    }
    return pointee.options
  }

  /// Frees an object that was asked for with `byteCount` bytes; one that cannot have been is misuse: in a hardened pool any other size,
  /// otherwise as far as sizes are rounded differently.
  ///
  /// - Parameter isExact: Whether it was not aligned: an alignment may have taken a much larger object.
  public func deallocate(
    _ pointer: UnsafeMutableRawPointer, byteCount: UInt, isExact: Bool, call: StaticString
  ) {
    let usable: UInt
    var isExact = isExact
    if isPlain {
      usable = usableSize(of: pointer, CallName(call))
    } else {
      usable = usableSizeDiverted(pointer, CallName(call))
      if isSizeKept(of: pointer) {
        if byteCount != usable { misuse(call, UInt(bitPattern: pointer), "not of this size") }
        isExact = false
      }
    }
    if byteCount > usable || isExact && !isPlausible(byteCount, usable: usable) {
      misuse(call, UInt(bitPattern: pointer), "not of this size")
    }
    deallocate(pointer, call: call)
  }

  /// Whether an object of `usable` bytes may have been asked for with `byteCount`. What was asked for is not kept: only how
  /// it is rounded, and that reallocation keeps an object in place down to half of its size.
  public func isPlausible(_ byteCount: UInt, usable: UInt) -> Bool {
    byteCount <= usable && (byteCount >= usable / 2 || goodSize(byteCount) >= usable)
  }
}
