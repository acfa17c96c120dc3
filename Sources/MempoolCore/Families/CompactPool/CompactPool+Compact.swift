import CMempoolShims

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Moves objects together within their regions, so that pages between them give their memory back; the bytes given back. Only of a
  /// pool whose objects may move; one that is mapped keeps its region as it is. Any thread, region by region under its shard's lock.
  @discardableResult
  public func compact() -> UInt {
    guard isMovable, isOwner else { return 0 }
    let before = pageCounts().held
    forEachRegion { region, record in
      let owner = record.owner.loadRelaxed()
      guard owner & CompactRegion.Kind.mask == CompactRegion.Kind.blocks else { return }
      let hold = CompactHold(self, owner >> 8)
      if record.owner.loadRelaxed() == owner { hold.slide(region, record) }
      hold.end()
    }
    trim()
    return (before - min(before, pageCounts().held)) << pointee.pageShift
  }
}

extension CompactHold {
  /// Moves a region's objects to its start, in order, and leaves one free block behind them.
  func slide(_ region: UInt, _ record: CompactRegionPointer) {
    guard record.pointee.liveBlocks > 0, let memory = reach(region) else { return }
    var live: UInt = 0, gaps: UInt = 0
    let isSound = walk(memory) { unit, header in
      if header.isAllocated { live += units(header) } else if unit + header.size < pool.endUnit { gaps += 1 }
      return true
    }
    if !isSound { pool.report("compact pool", pool.handle(region, 0), "block header overwritten") }
    guard gaps > 0, stop(record) else { return }
    defer { resume(record) }
    let end = pool.firstUnit + live
    guard hold(region, pool.touchedPages(0, min(end + CompactRegion.leastListed, pool.endUnit) * 4)) else { return }
    move(memory, region)
    let rest = pool.endUnit - end
    settle(region, end, rest)
  }

  private func move(_ memory: CompactMemory, _ region: UInt) {
    var from = pool.firstUnit, to = pool.firstUnit, previous: UInt = 0
    while from < pool.endUnit {
      let header = memory.header(from), count = units(header)
      if header.isAllocated {
        if to != from {
          memmove(memory, to, from, count)
          if !pool.isFile {
            Memcheck.close(memory.address(from + 1), header.size)
            Memcheck.define(memory.address(to + 1), header.size)
          }
          CompactSlots(pool: pool).move(memory[to + count - 1], to: CompactBlock(region: region, unit: to))
        }
        memory.setHeader(to, header.with(previousUnits: previous))
        previous = count
        to += count
      } else {
        unlist(memory, region, from)
      }
      from += count
    }
    makeFree(memory, region, to, pool.endUnit - to, previousUnits: previous)
  }

  private func memmove(_ memory: CompactMemory, _ to: UInt, _ from: UInt, _ units: UInt) {
    let start = UnsafeMutableRawPointer(bitPattern: memory.start).unsafelyUnwrapped
    let (to, from, count) = (Int(to * 4), Int(from * 4), Int(units * 4))
    (start + to).copyMemory(from: start + from, byteCount: count)
    _ = pool.movedBytes.fetchAddRelaxed(UInt(count))
  }

  // Keeps others from pinning a region; false when one has.
  private func stop(_ record: CompactRegionPointer) -> Bool {
    var seen = record.pins.loadRelaxed()
    while seen < CompactRegion.Pins.pin {
      // acquire: pairs with the release in unpin(_:)
      let found = record.pins.compareAndSwapAcquire(seen, seen | CompactRegion.Pins.moving)
      if found == seen { return true }
      seen = found
    }
    return false
  }

  private func resume(_ record: CompactRegionPointer) {
    _ = record.pins.fetchAndRelease(~CompactRegion.Pins.moving)  // release: pairs with the acquire in pin(_:)
  }
}
