import CMempoolShims

// Objects larger than a region's blocks have pages of their own, from the start of a region on: in the first 16 bytes their size and a
// header, then the object. What is left of the last region is address space, not memory.

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Bytes of the pages of such an object.
  func runPages(_ byteCount: UInt) -> UInt {
    (byteCount + CompactMemory.runOffset + pageByteCount - 1) & ~(pageByteCount - 1)
  }

  func allocateRun(_ byteCount: UInt) -> CompactHandle? {
    let total = runPages(byteCount), count = (total + CompactRegion.byteCount - 1) >> CompactRegion.shift
    guard let region = claimNumbers(count) else { return nil }
    let hold = CompactHold(self, ownShard())
    defer { hold.end() }
    guard let record = makeRecord(region), let memory = hold.claimRun(region, record, total) else {
      releaseNumbers(region, count)
      return nil
    }
    var handle = handle(region, CompactMemory.runOffset)
    if isMovable {
      guard let slot = CompactSlots(pool: self).take(hold, grows: true) else {
        hold.giveUpRun(record, region, total)
        releaseNumbers(region, count)
        return nil
      }
      memory[CompactMemory.runUnit - 1] = slot
      handle = CompactSlots(pool: self).fill(slot, CompactBlock(region: region, unit: CompactMemory.runUnit))
    }
    raiseRegionLimit(to: region + 1)
    memory.runBytes = byteCount
    memory.setHeader(CompactMemory.runUnit, .run)
    record.runBytes.storeRelaxed(byteCount)
    record.owner.storeRelease(hold.owner(CompactRegion.Kind.run))  // release: pairs with the acquire in locate(_:)
    hold.shard.pointee.liveObjects += 1
    hold.shard.pointee.liveBytes += byteCount
    hold.shard.pointee.liveUnits += total / CompactRegion.unitBytes
    countPages(held: Int(total >> pointee.pageShift), idle: 0)
    if !isFile { Memcheck.open(memory.start + CompactMemory.runOffset, byteCount) }
    return handle
  }

  // Numbers of neighbouring regions; of more than 64, whole cells.
  private func claimNumbers(_ count: UInt) -> UInt? {
    if count <= UInt(Cell.itemCount) { return pointee.bitmap.claim(run: Int(count)).map { UInt($0.index) } }
    let cells = Cell.count(forItems: Int(count))
    return pointee.bitmap.claimCells(cells, trimmedTo: Int(count), from: 0).map { UInt($0) }
  }

  func releaseNumbers(_ region: UInt, _ count: UInt) {
    if count <= UInt(Cell.itemCount) {
      pointee.bitmap.release(run: Int(count), at: Int(region))
    } else {
      pointee.bitmap.releaseCells(itemCount: Int(count), at: Int(region))
    }
  }
}

extension CompactHold {
  func claimRun(_ region: UInt, _ record: CompactRegionPointer, _ total: UInt) -> CompactMemory? {
    guard pool.isFile else {
      guard let address = pool.claimRun(total) else { return nil }
      record.address.storeRelaxed(address)
      record.mappedBytes.storeRelaxed(total)
      record.pins.storeRelease(CompactRegion.Pins.mapped)  // release: pairs with the acquire in pin(_:)
      return CompactMemory(start: address)
    }
    let start = Int(region << CompactRegion.shift)
    guard mp_file_commit(pool.pointee.file, start, Int(total)) == 0 else {
      // What of it has come.
      _ = mp_file_purge(pool.pointee.file, start, Int(total))
      return nil
    }
    if let memory = map(region, record, total) { return memory }
    _ = mp_file_purge(pool.pointee.file, start, Int(total))
    return nil
  }

  func giveUpRun(_ record: CompactRegionPointer, _ region: UInt, _ total: UInt) {
    if pool.isFile {
      _ = unmap(record)
      _ = mp_file_purge(pool.pointee.file, Int(region << CompactRegion.shift), Int(total))
    } else {
      record.pins.storeRelaxed(0)
      pool.releaseRun(record.address.loadRelaxed(), total)
    }
  }

  /// Gives back an object with pages of its own.
  func freeRun(_ region: UInt, _ record: CompactRegionPointer) {
    let byteCount = record.runBytes.loadRelaxed(), total = pool.runPages(byteCount)
    if !pool.isFile { Memcheck.close(record.address.loadRelaxed() + CompactMemory.runOffset, byteCount) }
    record.owner.storeRelaxed(CompactRegion.Kind.none)
    giveUpRun(record, region, total)
    shard.pointee.liveObjects -= 1
    shard.pointee.liveBytes -= byteCount
    shard.pointee.liveUnits -= total / CompactRegion.unitBytes
    pool.countPages(held: -Int(total >> pool.pointee.pageShift), idle: 0)
    pool.releaseNumbers(region, (total + CompactRegion.byteCount - 1) >> CompactRegion.shift)
  }
}
