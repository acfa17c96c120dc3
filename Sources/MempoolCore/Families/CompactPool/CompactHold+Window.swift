import CMempoolShims

// A region of a file is mapped when somebody pins it or when its shard needs a header, and unmapped by whoever holds the shard's lock, when
// it is not pinned and the shard has more mapped than its window. So what is looked at under the lock stays mapped.

extension CompactHold {
  /// A region's bytes, mapped until the lock is given back, at least. When the system refuses, the process
  /// ends: whoever asks is in the middle of a change.
  func bytes(_ region: UInt) -> CompactMemory {
    if let memory = reach(region) { return memory }
    fatal("compact pool", byteCount: CompactRegion.byteCount, "cannot map its own pages")
  }

  /// The same; nil when the system refuses.
  func reach(_ region: UInt) -> CompactMemory? {
    let record = record(region)
    if record.pins.loadRelaxed() & CompactRegion.Pins.mapped != 0 {
      return CompactMemory(start: record.address.loadRelaxed())
    }
    return map(region, record, CompactRegion.byteCount)
  }

  /// Maps `byteCount` bytes of a file from a region on that is not mapped.
  func map(_ region: UInt, _ record: CompactRegionPointer, _ byteCount: UInt) -> CompactMemory? {
    guard let address = mp_file_map(pool.pointee.file, Int(region << CompactRegion.shift), Int(byteCount)) else {
      return nil
    }
    _ = pool.mapCalls.fetchAddRelaxed(1)
    record.address.storeRelaxed(UInt(bitPattern: address))
    record.mappedBytes.storeRelaxed(byteCount)
    record.pins.storeRelease(CompactRegion.Pins.mapped)  // release: pairs with the acquire in pin(_:)
    append(region, record)
    return CompactMemory(start: UInt(bitPattern: address))
  }

  private func windows(_ record: CompactRegionPointer) -> UInt {
    (record.mappedBytes.loadRelaxed() + CompactRegion.byteCount - 1) >> CompactRegion.shift
  }

  private func append(_ region: UInt, _ record: CompactRegionPointer) {
    let last = shard.pointee.lastMapped
    record.pointee.previousMapped = last
    record.pointee.nextMapped = 0
    if last == 0 {
      shard.pointee.firstMapped = UInt32(region)
    } else {
      self.record(UInt(last)).pointee.nextMapped = UInt32(region)
    }
    shard.pointee.lastMapped = UInt32(region)
    shard.pointee.mappedCount += windows(record)
  }

  private func takeOut(_ record: CompactRegionPointer) {
    let (next, previous) = (record.pointee.nextMapped, record.pointee.previousMapped)
    if previous == 0 {
      shard.pointee.firstMapped = next
    } else {
      self.record(UInt(previous)).pointee.nextMapped = next
    }
    if next == 0 {
      shard.pointee.lastMapped = previous
    } else {
      self.record(UInt(next)).pointee.previousMapped = previous
    }
    shard.pointee.mappedCount -= windows(record)
  }

  /// Unmaps a region of a file, unless it is pinned.
  func unmap(_ record: CompactRegionPointer) -> Bool {
    var seen = record.pins.loadRelaxed()
    guard seen & CompactRegion.Pins.mapped != 0 else { return true }
    while seen < CompactRegion.Pins.pin {
      let found = record.pins.compareAndSwapAcquire(seen, 0)  // acquire: pairs with the release in unpin(_:)
      if found == seen {
        takeOut(record)
        let start = UnsafeMutableRawPointer(bitPattern: record.address.loadRelaxed()).unsafelyUnwrapped
        _ = mp_pages_release(start, Int(record.mappedBytes.loadRelaxed()))
        return true
      }
      seen = found
    }
    return false
  }

  /// Unmaps what is mapped beyond the window, as far as a few steps find something that is not pinned.
  func shrinkWindow() {
    while shard.pointee.mappedCount > pool.pointee.window, unmapOne() {}
  }

  // Regions that one search looks at. An operation maps two or three at most, so that a window that was exceeded shrinks again.
  private static var steps: Int { 16 }

  // The one that has waited longest and was not pinned meanwhile. False: none of those that were looked at.
  private func unmapOne() -> Bool {
    for _ in 0..<Self.steps where shard.pointee.firstMapped != 0 {
      let region = UInt(shard.pointee.firstMapped)
      let record = record(region), pins = record.pins.loadRelaxed()
      if pins < CompactRegion.Pins.pin {
        if pins & CompactRegion.Pins.recent == 0, unmap(record) { return true }
        _ = record.pins.fetchAndRelaxed(~CompactRegion.Pins.recent)
      }
      takeOut(record)
      append(region, record)
    }
    return false
  }
}

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Keeps a region where it is, mapped; false when it is not mapped, or its objects are being moved.
  @inline(__always)
  func pin(_ record: CompactRegionPointer) -> Bool {
    var seen = record.pins.loadRelaxed()
    while seen & (CompactRegion.Pins.mapped | CompactRegion.Pins.moving) == CompactRegion.Pins.mapped {
      let pinned = (seen | CompactRegion.Pins.recent) &+ CompactRegion.Pins.pin
      // acquire: pairs with the release in map(_:_:_:), claimMemory(_:_:), claimRun(_:_:_:) and resume(_:)
      let found = record.pins.compareAndSwapAcquire(seen, pinned)
      if found == seen { return true }
      seen = found
    }
    return false
  }

  /// False: it was not pinned.
  func unpin(_ record: CompactRegionPointer) -> Bool {
    var seen = record.pins.loadRelaxed()
    while seen >= CompactRegion.Pins.pin {
      // release: pairs with the acquire in unmap(_:) and stop(_:)
      let found = record.pins.compareAndSwapRelease(seen, seen &- CompactRegion.Pins.pin)
      if found == seen { return true }
      seen = found
    }
    return false
  }
}
