import CMempoolShims

// A page holds memory from when something lies in it until nothing does. Those that are kept for the next allocation are idle: they lie
// in a free block, links aside.

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Pages that hold memory, and those of them in which nothing lies.
  func pageCounts() -> (held: UInt, idle: UInt) { Self.counts(pages.loadRelaxed()) }

  private static func counts(_ word: UInt) -> (held: UInt, idle: UInt) { (word & 0xffff_ffff, word >> 32) }

  /// Counts pages that have come, or, of numbers below 0, gone.
  func countPages(held: Int, idle: Int) {
    let change = UInt(bitPattern: held &+ idle << 32)
    let now = Self.counts(pages.fetchAddRelaxed(change) &+ change).held
    var peak = peakPages.loadRelaxed()
    while held > 0, now > peak {
      let found = peakPages.compareAndSwapRelaxed(peak, now)
      if found == peak { break }
      peak = found
    }
  }

  /// Pages kept at most while nothing lies in them.
  var reserve: UInt { pointee.options.reservePages ?? 4 }

  // MARK: Sets of a region's pages, a bit each

  /// Pages that bytes `[start, end)` of a region lie in.
  func touchedPages(_ start: UInt, _ end: UInt) -> UInt16 {
    let low = start >> pointee.pageShift, high = (end - 1) >> pointee.pageShift
    return UInt16(truncatingIfNeeded: (2 << (high - low) - 1) << low)
  }

  /// Pages that lie in a free block, its header and links aside.
  func coveredPages(_ unit: UInt, _ units: UInt) -> UInt16 {
    let isLast = unit + units == endUnit
    let end = isLast ? CompactRegion.byteCount : (unit + units) * CompactRegion.unitBytes
    let start = (unit + CompactRegion.leastListed) * CompactRegion.unitBytes
    let low = (start + pageByteCount - 1) >> pointee.pageShift, high = end >> pointee.pageShift
    return low >= high ? 0 : UInt16(truncatingIfNeeded: (1 << (high - low) - 1) << low)
  }
}

extension CompactHold {
  /// The pages that an object of `units` units needs at the front of a free block, what is left of the block included.
  private func pagesNeeded(_ unit: UInt, _ units: UInt, of total: UInt) -> UInt16 {
    let end = units < total ? min(unit + units + CompactRegion.leastListed, unit + total) : unit + total
    return pool.touchedPages(unit * CompactRegion.unitBytes, end * CompactRegion.unitBytes)
  }

  /// Whether the pages that such an object needs hold memory already.
  func isHeld(_ region: UInt, _ unit: UInt, _ units: UInt, of total: UInt) -> Bool {
    pagesNeeded(unit, units, of: total) & ~record(region).pointee.held == 0
  }

  /// Sees to memory for the pages that such an object needs; false when there is none.
  func hold(_ region: UInt, _ unit: UInt, _ units: UInt, of total: UInt) -> Bool {
    hold(region, pagesNeeded(unit, units, of: total))
  }

  func hold(_ region: UInt, _ needed: UInt16) -> Bool {
    let record = record(region)
    let new = needed & ~record.pointee.held, woken = needed & record.pointee.idle
    if new != 0 {
      makeWay(UInt(new.nonzeroBitCount), for: needed, of: region)
      guard commit(region, new) else { return false }
    }
    record.pointee.held |= needed
    setIdle(region, record, record.pointee.idle & ~needed)
    if new | woken != 0 { pool.countPages(held: new.nonzeroBitCount, idle: -woken.nonzeroBitCount) }
    return true
  }

  // Pages kept must not raise the peak: as many go as are coming.
  private func makeWay(_ count: UInt, for needed: UInt16, of region: UInt) {
    let now = pool.pageCounts()
    guard now.idle > 0, now.held + count > pool.peakPages.loadRelaxed() else { return }
    giveBackIdle(count, for: needed, of: region)
  }

  // For a file: the pages exist, or there is no memory. Others come when they are touched.
  private func commit(_ region: UInt, _ pages: UInt16) -> Bool {
    guard pool.isFile else { return true }
    var done: UInt16 = 0
    return forEachRun(pages) { first, count in
      let start = region << CompactRegion.shift + first << pool.pointee.pageShift
      guard mp_file_commit(pool.pointee.file, Int(start), Int(count << pool.pointee.pageShift)) == 0 else {
        if done != 0 { purge(region, done) }
        return false
      }
      done |= UInt16(truncatingIfNeeded: (1 << count - 1) << first)
      return true
    }
  }

  private func purge(_ region: UInt, _ pages: UInt16) {
    let shift = pool.pointee.pageShift
    _ = forEachRun(pages) { first, count in
      if pool.isFile {
        let start = region << CompactRegion.shift + first << shift
        _ = mp_file_purge(pool.pointee.file, Int(start), Int(count << shift))
      } else {
        let start = record(region).address.loadRelaxed() + first << shift
        _ = mp_pages_purge(UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped, Int(count << shift))
      }
      return true
    }
  }

  // Neighbouring pages of a set, at once.
  private func forEachRun(_ pages: UInt16, _ body: (_ first: UInt, _ count: UInt) -> Bool) -> Bool {
    var rest = UInt(pages)
    while rest != 0 {
      let first = UInt(rest.trailingZeroBitCount), count = UInt((~(rest >> first)).trailingZeroBitCount)
      if !body(first, count) { return false }
      rest &= ~((1 << count - 1) << first)
    }
    return true
  }

  /// Of a free block: pages in which nothing lies any more are kept, or give their memory back.
  func settle(_ region: UInt, _ unit: UInt, _ units: UInt) {
    let record = record(region)
    settle(region, pool.coveredPages(unit, units) & record.pointee.held & ~record.pointee.idle)
  }

  // The pages of `always` are kept in any case: a header lies there.
  private func settle(_ region: UInt, _ emptied: UInt16, always: UInt16 = 0) {
    guard emptied != 0 else { return }
    let record = record(region)
    var kept = emptied
    if pool.canPurge {
      // The first ones: they are taken first.
      var room = pool.reserve - min(pool.reserve, pool.pageCounts().idle)
      kept = emptied & always
      room -= min(room, UInt(kept.nonzeroBitCount))
      while room > 0, emptied & ~kept != 0 {
        kept |= 1 << UInt16((emptied & ~kept).trailingZeroBitCount)
        room -= 1
      }
    }
    let gone = emptied & ~kept
    if gone != 0 { purge(region, gone) }
    record.pointee.held &= ~gone
    setIdle(region, record, record.pointee.idle | kept)
    pool.countPages(held: -gone.nonzeroBitCount, idle: kept.nonzeroBitCount)
  }

  /// Says which pages of a region are idle, and keeps the list of those that have some.
  private func setIdle(_ region: UInt, _ record: CompactRegionPointer, _ pages: UInt16) {
    record.pointee.idle = pages
    if (pages != 0) == record.pointee.isListed { return }
    let (next, previous) = (record.pointee.nextListed, record.pointee.previousListed)
    if pages != 0 {
      let first = shard.pointee.listed
      record.pointee.nextListed = first
      record.pointee.previousListed = 0
      if first != 0 { self.record(UInt(first)).pointee.previousListed = UInt32(region) }
      shard.pointee.listed = UInt32(region)
    } else {
      if next != 0 { self.record(UInt(next)).pointee.previousListed = previous }
      if previous != 0 {
        self.record(UInt(previous)).pointee.nextListed = next
      } else {
        shard.pointee.listed = next
      }
    }
    record.pointee.isListed = pages != 0
  }

  /// Counts the pages of a region that goes.
  func forgetPages(_ region: UInt, _ record: CompactRegionPointer) {
    let held = record.pointee.held.nonzeroBitCount, idle = record.pointee.idle.nonzeroBitCount
    record.pointee.held = 0
    setIdle(region, record, 0)
    pool.countPages(held: -held, idle: -idle)
  }

  /// Gives back up to `count` idle pages of this shard's; not those that are about to be used.
  func giveBackIdle(_ count: UInt, for needed: UInt16 = 0, of user: UInt = 0) {
    guard pool.canPurge else { return }
    var left = count, region = UInt(shard.pointee.listed)
    while region != 0, left > 0 {
      let record = record(region), next = UInt(record.pointee.nextListed)
      if record.pointee.liveBlocks == 0, region != user {
        left -= min(left, UInt(record.pointee.idle.nonzeroBitCount))
        unlist(bytes(region), region, pool.firstUnit)
        releaseRegion(region, record)
      } else {
        left -= giveBackIdle(region, record, record.pointee.idle & ~(region == user ? needed : 0), upTo: left)
      }
      region = next
    }
  }

  private func giveBackIdle(
    _ region: UInt, _ record: CompactRegionPointer, _ pages: UInt16, upTo count: UInt
  ) -> UInt {
    var gone: UInt16 = 0
    while pages & ~gone != 0, gone.nonzeroBitCount < count {
      gone |= 1 << UInt16((pages & ~gone).trailingZeroBitCount)
    }
    purge(region, gone)
    record.pointee.held &= ~gone
    setIdle(region, record, record.pointee.idle & ~gone)
    pool.countPages(held: -gone.nonzeroBitCount, idle: -gone.nonzeroBitCount)
    return UInt(gone.nonzeroBitCount)
  }

  /// Takes back an object of a region of blocks.
  func free(_ finding: CompactPoolPointer.Finding) {
    let memory = bytes(finding.region)
    let (unit, units, previous) = release(memory, finding.region, finding.unit)
    if finding.record.pointee.liveBlocks == 0 { return settleEmpty(memory, finding.region) }
    makeFree(memory, finding.region, unit, units, previousUnits: previous)
    settle(finding.region, unit, units)
  }

  /// What becomes of a region without a live object, its one free block in no list: kept with some of its pages, or given back.
  func settleEmpty(_ memory: CompactMemory, _ region: UInt) {
    let record = record(region)
    let keeps = pool.canPurge && record.pointee.held & 1 != 0 && pool.pageCounts().idle < pool.reserve
    if !keeps { return releaseRegion(region, record) }
    makeFree(memory, region, pool.firstUnit, pool.endUnit - pool.firstUnit, previousUnits: 0)
    // The first page, too, though the block's header and links lie there.
    settle(region, record.pointee.held & ~record.pointee.idle, always: 1)
  }
}
