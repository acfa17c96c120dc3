import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// Makes an object pool in this memory pool, for any thread.
  ///
  /// - Parameters:
  ///   - itemSize: At least 1, at most ``largestItemSize`` with the alignment.
  ///   - count: Objects to prepare, at least 1.
  ///   - alignment: A power of two, at most a page; 16 when it is less.
  ///   - name: NUL-terminated; the first 63 bytes are kept.
  /// - Throws: Invalid arguments also for a pool in a caller's buffer, whose addresses nobody can tell the owner of.
  public func makeObjectPool(
    itemSize: UInt, count: UInt, alignment: UInt = 16, name: UnsafePointer<CChar>? = nil,
    _ options: ObjectPool.Options = ObjectPool.Options()
  ) throws(PoolError) -> ObjectPoolPointer {
    guard MemoryPoolPointer.shared.start(), start() else { throw .reservationFailed(errno: mp_errno_get()) }
    guard itemSize > 0, itemSize <= ObjectPoolPointer.largestItemSize, count > 0, alignment > 0,
      alignment <= Page.byteCount, alignment & (alignment - 1) == 0, !isInBuffer
    else { throw .invalidArgument }
    let alignment = max(alignment, 16)
    let stride = (itemSize + alignment - 1) & ~(alignment - 1)
    let isPassThrough = options.isPassThrough || self.isPassThrough
    // What the machine does not have cannot be ready; it would be found out page by page.
    let (byteCount, overflow) = count.multipliedReportingOverflow(by: stride)
    guard !overflow, isPassThrough || byteCount <= UInt(mp_system_memory_size()) else { throw .outOfMemory }
    guard ObjectPools.register() else { throw .outOfMemory }
    ObjectPools.destroyOrphans()
    let shape = ObjectPool.Shape(itemSize: itemSize, stride: stride, alignment: alignment)
    guard
      let pool = ObjectPoolPointer.make(
        id: Process.makeID(), shape, count: isPassThrough ? 0 : count, name: name, fallback: options.fallback, in: self)
    else { throw .outOfMemory }
    ObjectPools.enter(pool)
    return pool
  }

  private var isInBuffer: Bool {
    if case .buffer = pointee.options.backing { return true }
    return false
  }
}

extension UnsafeMutablePointer where Pointee == ObjectPool {
  /// A pool with `count` objects, known to nobody; nil when there is no memory. 0 passes through.
  static func make(
    id: UInt, _ shape: ObjectPool.Shape, count: UInt, name: UnsafePointer<CChar>?, fallback: ObjectPool.Fallback,
    in memory: MemoryPoolPointer
  ) -> ObjectPoolPointer? {
    let segments = memory.isPassThrough ? MemoryPoolPointer.shared.segments : memory.segments
    guard let block = segments.allocateRecord(UInt(MemoryLayout<ObjectPool>.size)) else { return nil }
    let pool = UnsafeMutableRawPointer(bitPattern: block).unsafelyUnwrapped.assumingMemoryBound(to: ObjectPool.self)
    pool.initialize(
      to: ObjectPool(
        id: id, recentOffset: id & UInt(MP_THREAD_RECENT - 1) * UInt(MemoryLayout<mp_thread_entry>.stride),
        stride: shape.stride, itemSize: shape.itemSize, alignment: shape.alignment, count: count, memory: memory,
        segments: segments, fallback: fallback,
        isWatched: count > 0 && (mp_sanitizer_watches() != 0 || Memcheck.isRunning)))
    Memcheck.poolMade(block, UInt(MemoryLayout<ObjectPool>.size))
    pool.setName(name)
    if pool.prepare() { return pool }
    pool.release()
    return nil
  }

  fileprivate func setName(_ name: UnsafePointer<CChar>?) {
    var next = name
    for index in 0..<63 {
      guard let character = next?.pointee, character != 0 else { break }
      pointee.name[index] = UInt8(bitPattern: character)
      next = next.map { $0 + 1 }
    }
  }

  /// Makes the prepared objects; false: there is no memory for all of them.
  fileprivate func prepare() -> Bool {
    let stride = pointee.stride
    var left = pointee.count
    var most = ObjectPage.mostItems(stride: stride)
    var last: ObjectPagePointer?
    while left > 0 {
      let items = min(left, most)
      let pages = CacheLayout.leastPageCount(stride: items * stride)
      let claimed = pointee.memory.segments.claim(pages: pages) {
        ObjectPagePointer.make(self, itemCount: items, in: $0)
      }
      guard let (page, _) = claimed else {
        // There may be room for fewer in one piece.
        if pages == CacheLayout.leastPageCount(stride: stride) { return false }
        most = (most + 1) / 2
        continue
      }
      if let before = last {
        page.pointee.next = before.pointee.next
        before.pointee.next = page
      } else {
        pointee.pages = page
        cursor.storeRelaxed(UInt(bitPattern: page))
      }
      last = page
      pointee.pageBytes += pages << Page.shift
      pointee.cellCount += page.cellCount
      if pointee.isWatched { mp_sanitizer_poison(page.object(0), Int(bitPattern: items * stride)) }
      left -= items
    }
    return true
  }

  // MARK: Destroying

  /// Gives everything back unless objects are out; whether it did. No call on the pool but ``release(_:call:)`` may be running.
  public func destroy() -> Bool { ObjectPools.destroy { $0 == self } > 0 }

  /// Destroys the pool as soon as none of its objects is out: now, or when the last one is released. Nothing but releasing may
  /// be done with it any more.
  public func orphan() {
    firstPage { page in
      page.gate.storeRelaxed(0)
      return false
    }
    ObjectPools.markOrphaned(self)
    ObjectPools.destroyOrphans()
  }

  /// Objects that are out: when it says 0 while nobody acquires, all are back for good, and what their last users did happened
  /// before. O(prepared objects / 64).
  public func objectsOut() -> UInt {
    var count = fallbackNow()
    firstPage { page in
      count += page.itemsOut()
      return false
    }
    return count
  }

  /// Everything given back, lease records of all threads and the pool's record included. By whoever took it out of the list, or
  /// never entered it; no call on it is running or follows, and no object is out.
  func release() {
    forget()
    if let first = pointee.pages {
      var page = first.pointee.next
      while page != first {
        let next = page.pointee.next
        page.destroy()
        page = next
      }
      first.destroy()
    }
    let segments = pointee.segments
    forEachLeases { segments.deallocateRecord(UInt(bitPattern: $0), UInt(MemoryLayout<ObjectLeases>.size)) }
    segments.deallocateRecord(UInt(bitPattern: self), UInt(MemoryLayout<ObjectPool>.size))
  }

  /// Has memcheck and a sanitizer forget the pool, and what of it is free: others may get this memory.
  func forget() {
    Memcheck.poolGone(UInt(bitPattern: self), isObject: true)
    guard mp_sanitizer_watches() != 0 else { return }
    firstPage { page in
      mp_sanitizer_unpoison(page.object(0), Int(bitPattern: page.pointee.itemCount * pointee.stride))
      return false
    }
  }
}
