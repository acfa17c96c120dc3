import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  // Counters are read one after the other while threads change them: a part may be larger than its whole for a moment. So sums
  // wrap and differences end at 0: a trap would end the process of somebody who only wanted to know.

  /// What this pool has counted so far. Any thread, any time; costs a walk over the accessible pages and the heaps. Holds the lock that
  /// making a slab takes, for one slab at a time.
  public func statistics() -> PoolStatistics {
    var statistics = PoolStatistics()
    statistics.readSystemCounters()
    guard isReady else { return statistics }
    statistics.generation = snapshots.fetchAddRelaxed(1) &+ 1
    statistics.classCount = UInt(SizeClass.count)
    for index in 0..<SizeClass.count { statistics.classes[index].itemSize = SizeClass.itemSize(index) }
    segments.first { segment in
      count(segment, into: &statistics)
      return false
    }
    countHeaps(into: &statistics)
    let spanBytes = spans.liveBytes.loadRelaxed()
    statistics.spanCount = spans.liveCount.loadRelaxed()
    statistics.spanBytes = spanBytes
    statistics.allocatedBytes &+= spanBytes
    statistics.activeBytes &+= spanBytes
    statistics.committedBytes &+= spanBytes
    statistics.mappedBytes &+= spanBytes
    if self == .shared { countGuards(into: &statistics) }
    statistics.peakActiveBytes &+= spans.peakBytes.loadRelaxed()
    statistics.peakActiveBytes = max(statistics.peakActiveBytes, statistics.activeBytes)
    statistics.peakCommittedBytes = max(
      statistics.peakActiveBytes &+ statistics.metadataBytes, statistics.committedBytes)
    statistics.retainedBytes = statistics.mappedBytes.minus(statistics.committedBytes)
    statistics.remoteFreesPushed &+= statistics.remoteFreesDrained
    statistics.fallbackCount = fallbacks.loadRelaxed()
    statistics.fallbackLiveCount = fallbackLive.loadRelaxed()
    statistics.exhaustions = exhaustions.loadRelaxed()
    statistics.limitHits = segments.limitHits.loadRelaxed()
    return statistics
  }

  /// The same while the purger rests: in a process that is quiet otherwise, nothing changes under the walk. Takes a lock.
  public func statisticsAtRest() -> PoolStatistics { Process.withoutPurger { statistics() } }

  private func count(_ segment: SegmentPointer, into statistics: inout PoolStatistics) {
    let pages = segment.pageCount.loadAcquire()  // acquire: pairs with grow(by:known:)
    var touched: UInt = 0, arenaPageBytes: UInt = 0, guards: UInt = 0
    // Of runs that a hardened pool's threads gave back, and that are not free yet.
    var waitingBytes: UInt = 0
    for page in 0..<pages {
      if segment.pointee.touched.advanced(by: Int(page / 64)).loadRelaxed() >> (page % 64) & 1 != 0 { touched &+= 1 }
      let entry = segment.entry(page)
      if entry.isSlab {
        segment.arena.withRecordsKept {
          guard let slab = entry.keptSlab, slab.address == segment.address(ofPage: page) else { return }
          count(slab, into: &statistics)
        }
        continue
      }
      let kind = entry.kind
      if kind == .guardPage {
        guards &+= 1
        continue
      }
      if kind == .fragments && entry.heads.loadRelaxed() | entry.lasts.loadRelaxed() == 0 { continue }
      let bytes = UInt(segment.pointee.bitmap.value(ofCell: Int(page)).nonzeroBitCount) << Page.fragmentShift
      statistics.activeBytes &+= bytes
      if kind == .metadata { arenaPageBytes &+= Page.byteCount }
      if kind == .metadata || kind == .dense { continue }
      statistics.allocatedBytes &+= bytes
      statistics.runBytes &+= bytes
      if kind == .longRun, isHardened, LargeNote.isGivenBack(entry.slab) {
        waitingBytes &+= entry.base.loadRelaxed() << Page.fragmentShift
      }
    }
    statistics.runBytes = statistics.runBytes.minus(waitingBytes)
    statistics.allocatedBytes = statistics.allocatedBytes.minus(waitingBytes)
    statistics.cachedBytes &+= waitingBytes
    let bitmapBytes = AtomicBitmap.byteCount(cellCount: Int(pages), runLengths: SegmentLayout.runLengths)
    let tables = pages &* UInt(MemoryLayout<PageEntry>.stride) &+ UInt(bitmapBytes) &+ (pages &+ 63) / 64 &* 8
    let arenaBytes = segment.arena.usedBytes.loadRelaxed()
    statistics.metadataBytes &+= tables &+ arenaBytes
    // What of the arena lies in pages has been counted with them.
    statistics.committedBytes &+= touched.minus(guards) << Page.shift &+ tables &+ arenaBytes.minus(arenaPageBytes)
    statistics.mappedBytes &+= segment.pointee.byteCount
    statistics.peakActiveBytes &+= segment.peakPages.loadRelaxed() << Page.shift
    statistics.purgedBytes &+= segment.purgedBytes.loadRelaxed()
    statistics.purgePasses &+= segment.purgePasses.loadRelaxed()
    statistics.claimPasses &+= segment.wait.passes
    statistics.claimRetries &+= segment.wait.sleeps
    statistics.claimSleeps &+= segment.wait.sleeps
    statistics.claimFailures &+= segment.wait.failures
    statistics.claimLostSwaps &+= segment.wait.lostSwaps
  }

  // While its record stays a slab's: what does not change in it may be read, and the links and cells, which do, are atomic.
  private func count(_ slab: SlabPointer, into statistics: inout PoolStatistics) {
    let sizeClass = Int(slab.pointee.sizeClass), heap = slab.pointee.heap
    let itemSize = slab.pointee.itemSize, capacity = UInt(slab.pointee.itemCount)
    var taken: UInt = 0, uncollected: UInt = 0
    for item in 1...capacity where slab.link(item) == SlabPointer.taken { taken &+= 1 }
    for index in 0..<slab.cellCount { uncollected &+= UInt((~slab.cell(index << 6).loadRelaxed()).nonzeroBitCount) }
    let pushed = uncollected
    if slab.isHardened { uncollected &+= slab.givenBackCount }
    let live = taken.minus(uncollected), pageBytes = slab.byteCount
    statistics.classes[sizeClass].slabs &+= 1
    statistics.classes[sizeClass].capacity &+= capacity
    statistics.classes[sizeClass].liveItems &+= live
    statistics.allocatedBytes &+= live &* itemSize
    statistics.remoteFreesPushed &+= pushed
    if live > 0 { statistics.activeBytes &+= pageBytes }
    if registry.isOwned(heap.pointee.index) {
      statistics.cachedBytes &+= capacity.minus(live) &* itemSize
    } else {
      statistics.abandonedBytes &+= pageBytes
    }
  }

  private func countGuards(into statistics: inout PoolStatistics) {
    let region = GuardRegionPointer.process
    guard region.isOn else { return }
    // In this order: each of them was counted before it came to live.
    statistics.guardedLiveCount = region.slots.liveCount
    statistics.guardedCount = region.allocated.loadRelaxed()
    statistics.guardedMissedCount = region.missed.loadRelaxed()
    let page = region.pointee.pageByteCount, liveBytes = statistics.guardedLiveCount &* page
    // A page keeps its memory from its first use on; slots that were never used come first.
    let usedBytes = min(statistics.guardedCount, region.slotCount) &* page
    let recordBytes = region.recordByteCount
    statistics.allocatedBytes &+= liveBytes
    statistics.activeBytes &+= liveBytes
    statistics.metadataBytes &+= recordBytes
    statistics.committedBytes &+= usedBytes &+ recordBytes
    statistics.mappedBytes &+= region.byteCount.loadRelaxed() &+ recordBytes
  }

  private func countHeaps(into statistics: inout PoolStatistics) {
    var sampledBytes: UInt = 0, sampledSlots: UInt = 0
    let count = registry.count
    for index in 0..<count {
      guard let heap = registry.heap(index) else { continue }
      statistics.requestedBytes &+= heap.requested.loadRelaxed()
      statistics.remoteFreesDrained &+= heap.collected.loadRelaxed()
      sampledBytes &+= heap.sampledBytes.loadRelaxed()
      sampledSlots &+= heap.sampledSlots.loadRelaxed()
      let keptBytes = min(heap.cachedRunBytes.loadRelaxed(), statistics.runBytes)
      statistics.runBytes = statistics.runBytes.minus(keptBytes)
      statistics.allocatedBytes = statistics.allocatedBytes.minus(keptBytes)
      statistics.cachedBytes &+= keptBytes
      if isDense {
        let dense = heap.dense.statistics()
        statistics.allocatedBytes &+= dense.liveUnits &* DensePage.unitBytes
        statistics.cachedBytes &+= dense.freeUnits &* DensePage.unitBytes
        statistics.remoteFreesPushed &+= dense.waitingBlocks
        statistics.remoteFreesDrained &+= dense.collectedBlocks
      }
      if index == 0 { continue }
      statistics.heapCount &+= 1
      if registry.isOwned(index) {
        statistics.ownedHeapCount &+= 1
      } else if heap.slabs.loadRelaxed() > 0 {
        statistics.abandonedHeapCount &+= 1
      }
    }
    let share = sampledSlots == 0 ? 1 : Double(sampledBytes) / Double(sampledSlots)
    let rest = statistics.allocatedBytes.minus(statistics.runBytes)
    let estimate = Double(rest) * min(share, 1)
    statistics.requestedLiveEstimateBytes =
      (estimate < 0x1p63 ? UInt(estimate) : rest) &+ statistics.runBytes &+ spans.liveBytes.loadRelaxed()
  }

  /// Whether everything that can be compared agrees: bitmaps and hints, each slab's free set, cells and count, lists and
  /// places, pages and their owners, spans, heaps, records, and the address map's entries of all of them. Only when no other call on the pool is running; what is broken goes to standard error.
  public func checkInvariants() -> Bool {
    guard isReady else { return true }
    return Process.withoutPurger { checkParts() }
  }

  private func checkParts() -> Bool {
    // First that the lists end.
    guard segments.checkInvariants(), spans.checkInvariants() else { return false }
    var isSound = true
    segments.first { segment in
      if !segment.checkInvariants() { isSound = false }
      for page in 0..<segment.pageCount.loadRelaxed() {
        let entry = segment.entry(page)
        guard entry.isSlab, let record = entry.slab.loadPointerRelaxed() else { continue }
        let slab = record.assumingMemoryBound(to: Slab.self)
        if !slab.checkInvariants() { isSound = false }
      }
      return false
    }
    if !registry.checkInvariants() { isSound = false }
    if self == .shared, !GuardRegionPointer.process.checkInvariants() { isSound = false }
    if !checkAddressMap() { isSound = false }
    for index in 0..<registry.count where registry.heap(index)?.checkInvariants() == false { isSound = false }
    if isDense {
      for index in 0..<registry.count where registry.heap(index)?.dense.checkInvariants() == false { isSound = false }
    }
    return isSound
  }

  // That the map knows no more of this pool than its segments and spans, which have found themselves there.
  private func checkAddressMap() -> Bool {
    var granules = spans.granuleCount
    segments.first { segment in
      granules += segment.granuleCount
      return false
    }
    return AddressMap.checkInvariants(count: granules) { owner in
      switch owner {
      // Not followed: the record may be another pool's, and gone by now.
      case .span(let span):
        segments.first { UInt(bitPattern: span) &- $0.pointee.start < $0.pointee.byteCount }
      case .segment(let segment): segments.first { $0 == segment }
      }
    }
  }
}
