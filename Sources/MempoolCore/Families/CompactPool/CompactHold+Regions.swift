import CMempoolShims

extension CompactHold {
  /// A new region with one free block, in no list; nil when there is no memory, or the pool's limit is reached.
  func claimRegion() -> UInt? {
    guard let claim = pool.pointee.bitmap.claim(run: 1) else { return nil }
    let region = UInt(claim.index)
    guard let record = pool.makeRecord(region), let memory = claimMemory(region, record) else {
      pool.pointee.bitmap.release(at: claim.index)
      return nil
    }
    pool.raiseRegionLimit(to: region + 1)
    record.pointee.liveBlocks = 0
    // The header and the links, which the first object will lie over.
    let first = pool.touchedPages(
      0, (pool.firstUnit + CompactRegion.leastListed) * CompactRegion.unitBytes)
    guard hold(region, first) else {
      giveUpMemory(region, record)
      pool.pointee.bitmap.release(at: claim.index)
      return nil
    }
    record.owner.storeRelease(owner(CompactRegion.Kind.blocks))  // release: pairs with the acquire in locate(_:)
    shard.pointee.regionCount += 1
    let units = pool.endUnit - pool.firstUnit
    memory.setHeader(pool.firstUnit, CompactHeader(freeUnits: units, previousUnits: 0))
    return region
  }

  // 64 KiB at an address; of a file, mapped.
  private func claimMemory(_ region: UInt, _ record: CompactRegionPointer) -> CompactMemory? {
    if pool.isFile { return map(region, record, CompactRegion.byteCount) }
    guard let address = pool.claimRun(CompactRegion.byteCount) else { return nil }
    record.address.storeRelaxed(address)
    record.mappedBytes.storeRelaxed(CompactRegion.byteCount)
    record.pins.storeRelease(CompactRegion.Pins.mapped)  // release: pairs with the acquire in pin(_:)
    return CompactMemory(start: address)
  }

  private func giveUpMemory(_ region: UInt, _ record: CompactRegionPointer) {
    if pool.isFile {
      _ = unmap(record)
    } else {
      record.pins.storeRelaxed(0)
      pool.releaseRun(record.address.loadRelaxed(), CompactRegion.byteCount)
    }
  }

  /// Gives back a region without a live object, whose free block is in no list.
  func releaseRegion(_ region: UInt, _ record: CompactRegionPointer) {
    if pool.isFile {
      let start = region << CompactRegion.shift
      _ = mp_file_purge(pool.pointee.file, Int(start), Int(CompactRegion.byteCount))
    }
    forgetPages(region, record)
    record.owner.storeRelaxed(CompactRegion.Kind.none)
    giveUpMemory(region, record)
    shard.pointee.regionCount -= 1
    pool.pointee.bitmap.release(at: Int(region))
  }
}

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Memory of the pool that this one stands on, in which no page holds any, if pages can be purged.
  func claimRun(_ byteCount: UInt) -> UInt? {
    guard let (run, _) = pointee.memory.claimRun(byteCount, alignment: pageByteCount) else { return nil }
    if canPurge, !run.isZero {
      let start = UnsafeMutableRawPointer(bitPattern: run.address).unsafelyUnwrapped
      _ = mp_pages_purge(start, Int((byteCount + pageByteCount - 1) & ~(pageByteCount - 1)))
    }
    return run.address
  }

  func releaseRun(_ address: UInt, _ byteCount: UInt) {
    let fragments = MemoryPoolPointer.fragments(byteCount)
    pointee.memory.segments.first { segment in
      segment.contains(address) && segment.releaseRun(address, fragments)
    }
  }

  /// Gives back what a region holds, whatever lies in it, when the pool ends.
  func releaseAtEnd(_ region: UInt, _ record: CompactRegionPointer) {
    let kind = record.owner.loadRelaxed() & CompactRegion.Kind.mask
    let isMapped = record.pins.loadRelaxed() & CompactRegion.Pins.mapped != 0
    let address = record.address.loadRelaxed()
    if isFile {
      if isMapped {
        let start = UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
        _ = mp_pages_release(start, Int(record.mappedBytes.loadRelaxed()))
      }
    } else {
      let isRun = kind == CompactRegion.Kind.run
      let byteCount = isRun ? runPages(record.runBytes.loadRelaxed()) : CompactRegion.byteCount
      Memcheck.close(address, byteCount)
      releaseRun(address, byteCount)
    }
  }
}
