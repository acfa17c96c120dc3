import CMempoolShims

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Whether regions, lists, counts and pages are what they say of each other. Only while nobody uses the pool; looks at every block.
  public func checkInvariants() -> Bool {
    guard isOwner else { return true }
    var held: UInt = 0, idle: UInt = 0
    for index in 0..<pointee.shardCount {
      let hold = CompactHold(self, index)
      defer { hold.end() }
      guard let counts = hold.check() else { return false }
      held += counts.held
      idle += counts.idle
    }
    let now = pageCounts()
    if now.held != held || now.idle != idle { return broken("a wrong count of pages") }
    return true
  }

  fileprivate func broken(_ what: StaticString) -> Bool { reportBroken("compact pool", UInt(bitPattern: self), what) }
}

extension CompactHold {
  private struct Counts {
    var objects: UInt = 0
    var bytes: UInt = 0
    var units: UInt = 0
    var listed: UInt = 0
    var regions: UInt = 0
    var held: UInt = 0
    var idle: UInt = 0
  }

  fileprivate func check() -> (held: UInt, idle: UInt)? {
    var counts = Counts(), isSound = true
    pool.forEachRegion { region, record in
      guard isSound, record.owner.loadRelaxed() >> 8 == number else { return }
      if record.owner.loadRelaxed() == owner(CompactRegion.Kind.run) {
        let byteCount = record.runBytes.loadRelaxed(), total = pool.runPages(byteCount)
        counts.objects += 1
        counts.bytes += byteCount
        counts.units += total / CompactRegion.unitBytes
        counts.held += total >> pool.pointee.pageShift
      } else {
        isSound = check(region, record, &counts)
      }
      if pool.isFile { shrinkWindow() }
    }
    guard isSound else { return nil }
    if counts.objects != shard.pointee.liveObjects || counts.bytes != shard.pointee.liveBytes
      || counts.units != shard.pointee.liveUnits || counts.regions != shard.pointee.regionCount
    {
      _ = pool.broken("a wrong count of objects")
      return nil
    }
    let listed = shard.index.countOfWellPlacedBlocks(in: self) { block in
      pool.record(CompactBlock(block).region)?.owner.loadRelaxed() == owner(CompactRegion.Kind.blocks)
    }
    if listed != counts.listed {
      _ = pool.broken("a free block in no list, or in a wrong one")
      return nil
    }
    return (counts.held, counts.idle)
  }

  private func check(_ region: UInt, _ record: CompactRegionPointer, _ counts: inout Counts) -> Bool {
    let memory = bytes(region)
    var blocks: UInt = 0, wasFree = false, used: UInt16 = 0, covered: UInt16 = 0
    var all = counts
    let isSound = walk(memory) { unit, header in
      let units = units(header)
      // The pages of an object, or of a free block's header.
      let end = header.isAllocated ? unit + units : unit + min(units, CompactRegion.leastListed)
      used |= pool.touchedPages(unit * CompactRegion.unitBytes, end * CompactRegion.unitBytes)
      if header.isAllocated {
        blocks += 1
        all.objects += 1
        all.bytes += header.size
        all.units += units
      } else {
        if wasFree { return false }
        if units >= CompactRegion.leastListed { all.listed += 1 }
        covered |= pool.coveredPages(unit, units)
      }
      wasFree = header.isFree
      return true
    }
    counts = all
    counts.regions += 1
    counts.held += UInt(record.pointee.held.nonzeroBitCount)
    counts.idle += UInt(record.pointee.idle.nonzeroBitCount)
    if !isSound { return pool.broken("blocks that do not agree with each other") }
    if blocks != UInt(record.pointee.liveBlocks) { return pool.broken("a wrong count of a region's objects") }
    if used & ~record.pointee.held != 0 { return pool.broken("an object in a page that holds no memory") }
    if blocks == 0 { covered |= 1 }
    if record.pointee.idle & ~(covered & record.pointee.held) != 0 {
      return pool.broken("a page in use that counts as idle")
    }
    if record.pointee.held & covered & ~record.pointee.idle != 0 {
      return pool.broken("an empty page that holds memory and is not kept")
    }
    if record.pointee.isListed != (record.pointee.idle != 0) { return pool.broken("a list without its idle pages") }
    return true
  }
}
