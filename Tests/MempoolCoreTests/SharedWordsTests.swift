import Foundation
import Testing

@testable import MempoolCore

/// Records say by a number where each of their shared words lives. Here the numbers are compared with the compiler's layout.
@Suite struct SharedWordsTests {
  /// One accessor: the name that it has in the sources, where it points, where the compiler put the field.
  struct Row {
    let name: String
    let found: Int
    let expected: Int?

    init<Record, Place>(
      _ name: String, _ field: PartialKeyPath<Record>, _ place: (UnsafeMutablePointer<Record>) -> Place
    ) {
      let record = UnsafeMutablePointer<Record>.allocate(capacity: 1)
      defer { record.deallocate() }
      let address =
        switch place(record) {
        case let word as AtomicPointer: UInt(bitPattern: word.word)
        case let mutex as MutexPointer: UInt(bitPattern: mutex)
        case let gate as ForkGatePointer: UInt(bitPattern: gate)
        case let lock as ReadWriteLockPointer: UInt(bitPattern: lock)
        case let slots as GuardSlotsPointer: UInt(bitPattern: slots)
        default: UInt(0)
        }
      self.name = "\(Record.self).\(name)"
      found = Int(bitPattern: address &- UInt(bitPattern: record))
      expected = MemoryLayout<Record>.offset(of: field)
    }
  }

  static let rows: [Row] = [
    Row("state", \Mutex.state) { $0.state },
    Row("state", \ReadWriteLock.state) { $0.state },
    Row("wakeups", \ReadWriteLock.wakeups) { $0.wakeups },

    Row("pageCount", \Segment.pageCount) { $0.pageCount },
    Row("usedPages", \Segment.usedPages) { $0.usedPages },
    Row("idlePages", \Segment.idlePages) { $0.idlePages },
    Row("idleLow", \Segment.idleLow) { $0.idleLow },
    Row("tick", \Segment.tick) { $0.tick },
    Row("purging", \Segment.purging) { $0.purging },
    Row("purgedBytes", \Segment.purgedBytes) { $0.purgedBytes },
    Row("purgePasses", \Segment.purgePasses) { $0.purgePasses },
    Row("next", \Segment.next) { $0.next },
    Row("growth", \Segment.growth) { $0.growth },
    Row("credit", \Segment.credit) { $0.credit },
    Row("peakPages", \Segment.peakPages) { $0.peakPages },
    Row("lentPages", \Segment.lentPages) { $0.lentPages },
    Row("lentLow", \Segment.lentLow) { $0.lentLow },
    Row("newestWord", \SegmentList.newest) { $0.newestWord },
    Row("mutex", \SegmentList.lock) { $0.mutex },
    Row("limitHits", \SegmentList.limitHits) { $0.limitHits },
    Row("patience", \SegmentList.patience) { $0.patience },
    Row("mutex", \MetadataArena.lock) { $0.mutex },
    Row("usedBytes", \MetadataArena.usedBytes) { $0.usedBytes },
    Row("idleBytes", \MetadataArena.idleBytes) { $0.idleBytes },
    Row("idleLow", \MetadataArena.idleLow) { $0.idleLow },
    Row("reciprocal", \PageEntry.reciprocal) { $0.reciprocal },
    Row("base", \PageEntry.base) { $0.base },
    Row("slab", \PageEntry.slab) { $0.slab },
    Row("heap", \PageEntry.heap) { $0.heap },
    Row("note", \Span.note) { $0.note },
    Row("liveCount", \SpanList.liveCount) { $0.liveCount },
    Row("liveBytes", \SpanList.liveBytes) { $0.liveBytes },
    Row("peakBytes", \SpanList.peakBytes) { $0.peakBytes },
    Row("mutex", \SpanList.mutex) { $0.mutex },
    Row("mutex", \FallbackSet.mutex) { $0.mutex },
    Row("interval", \GuardRegion.interval) { $0.interval },
    Row("startWord", \GuardRegion.start) { $0.startWord },
    Row("byteCount", \GuardRegion.byteCount) { $0.byteCount },
    Row("allocated", \GuardRegion.allocated) { $0.allocated },
    Row("missed", \GuardRegion.missed) { $0.missed },
    Row("draws", \GuardRegion.draws) { $0.draws },
    Row("reporter", \GuardRegion.reporter) { $0.reporter },
    Row("slots", \GuardRegion.claims) { $0.slots },
    Row("numbers", \GuardSlots.numbers) { $0.numbers },
    Row("freed", \GuardSlots.freed) { $0.freed },
    Row("full", \GuardSlots.full) { $0.full },
    Row("next", \GuardSlots.next) { $0.next },
    Row("cursor", \GuardSlots.cursor) { $0.cursor },
    Row("version", \GuardedObject.version) { $0.version },
    Row("addressWord", \GuardedObject.address) { $0.addressWord },
    Row("byteCountWord", \GuardedObject.byteCount) { $0.byteCountWord },
    Row("live", \GuardedObject.live) { $0.live },
    Row("allocation", \GuardedObject.allocation) { $0.allocation },
    Row("deallocation", \GuardedObject.deallocation) { $0.deallocation },
    Row("former", \SpanList.former) { $0.former(0) },
    Row("nextFormer", \SpanList.nextFormer) { $0.nextFormer },

    Row("growth", \SlabCache.growth) { $0.growth },
    Row("cursor", \SlabCache.cursor) { $0.cursor },
    Row("pagesMade", \SlabCache.pagesMade) { $0.pagesMade },
    Row("pagesReturned", \SlabCache.pagesReturned) { $0.pagesReturned },
    Row("revision", \SlabCache.revision) { $0.revision },
    Row("searches", \SlabCache.searches) { $0.searches },
    Row("owner", \CacheLeases.owner) { $0.owner },
    Row("refills", \CacheLeases.refills) { $0.refills },

    Row("pagesLock", \SlabCache.pagesLock) { $0.pagesLock },
    Row("growth", \SlabCache.growth) { $0.growth },
    Row("cursor", \SlabCache.cursor) { $0.cursor },
    Row("pagesMade", \SlabCache.pagesMade) { $0.pagesMade },
    Row("pagesReturned", \SlabCache.pagesReturned) { $0.pagesReturned },
    Row("revision", \SlabCache.revision) { $0.revision },
    Row("searches", \SlabCache.searches) { $0.searches },
    Row("bucket", \SlabCache.leases) { $0.bucket(0) },
    Row("owner", \CacheLeases.owner) { $0.owner },
    Row("refills", \CacheLeases.refills) { $0.refills },

    Row("cursor", \ObjectPool.cursor) { $0.cursor },
    Row("revision", \ObjectPool.revision) { $0.revision },
    Row("sharedTaken", \ObjectPool.sharedTaken) { $0.sharedTaken },
    Row("sharedGiven", \ObjectPool.sharedGiven) { $0.sharedGiven },
    Row("hotPeak", \ObjectPool.hotPeak) { $0.hotPeak },
    Row("misses", \ObjectPool.misses) { $0.misses },
    Row("fallbackGiven", \ObjectPool.fallbackGiven) { $0.fallbackGiven },
    Row("fallbackPeak", \ObjectPool.fallbackPeak) { $0.fallbackPeak },
    Row("orphaned", \ObjectPool.orphaned) { $0.orphaned },
    Row("threadCount", \ObjectPool.threadCount) { $0.threadCount },
    Row("newestLeases", \ObjectPool.newestLeases) { $0.newestLeases },
    Row("sweeps", \ObjectPool.sweeps) { $0.sweeps },
    Row("bucket", \ObjectPool.buckets) { $0.bucket(32) },
    Row("next", \ObjectPool.next) { $0.next },
    Row("gate", \ObjectPage.gate) { $0.gate },
    Row("thread", \ObjectLeases.thread) { $0.thread },
    Row("taken", \ObjectLeases.taken) { $0.taken },
    Row("given", \ObjectLeases.given) { $0.given },

    Row("summary", \Slab.summary) { $0.summary },
    Row("pendingNext", \Slab.pendingNext) { $0.pendingNext },
    Row("requested", \ThreadHeap.requested) { $0.requested },
    Row("pending", \ThreadHeap.pending) { $0.pending },
    Row("owner", \ThreadHeap.owner) { $0.owner },
    Row("collected", \ThreadHeap.collected) { $0.collected },
    Row("slabs", \ThreadHeap.slabs) { $0.slabs },
    Row("adoptions", \ThreadHeap.adoptions) { $0.adoptions },
    Row("samples", \ThreadHeap.samples) { $0.samples },
    Row("sampledBytes", \ThreadHeap.sampledBytes) { $0.sampledBytes },
    Row("sampledSlots", \ThreadHeap.sampledSlots) { $0.sampledSlots },
    Row("gate", \DenseHeap.gate) { $0.gate },
    Row("pending", \DenseHeap.pending) { $0.pending },
    Row("freed", \DenseHeap.freed) { $0.freed },
    Row("collected", \DenseHeap.collected) { $0.collected },
    Row("liveBlocks", \DenseHeap.liveBlocks) { $0.liveBlocks },
    Row("liveUnits", \DenseHeap.liveUnits) { $0.liveUnits },
    Row("pageCount", \DenseHeap.pageCount) { $0.pageCount },
    Row("rests", \DenseHeap.rests) { $0.rests },
    Row("isAtStack", \DenseHeap.isAtStack) { $0.isAtStack },
    Row("told", \DensePage.told) { $0.told },
    Row("pendingNext", \DensePage.pendingNext) { $0.pendingNext },
    Row("state", \ForkGate.state) { $0.state },
    Row("cachedRunBytes", \ThreadHeap.cachedRunBytes) { $0.cachedRunBytes },
    Row("spareBytes", \ThreadHeap.spareBytes) { $0.spareBytes },
    Row("spareUses", \ThreadHeap.spareUses) { $0.spareUses },
    Row("spareUsesSeen", \ThreadHeap.spareUsesSeen) { $0.spareUsesSeen },
    Row("spares", \ThreadHeap.spares) { $0.spares(0) },
    Row("quarantineWord", \ThreadHeap.quarantine) { $0.quarantineWord },
    Row("mediumPending", \ThreadHeap.mediumPending) { $0.mediumPending },
    Row("returning", \ThreadHeap.returning) { $0.returning },
    Row("uncollectedBytes", \ThreadHeap.uncollectedBytes) { $0.uncollectedBytes },
    Row("createdCount", \HeapRegistry.created) { $0.createdCount },
    Row("creation", \HeapRegistry.creation) { $0.creation },
    Row("lateLock", \HeapRegistry.lateLock) { $0.lateLock },

    Row("state", \MemoryPool.state) { $0.state },
    Row("fallbacks", \MemoryPool.fallbacks) { $0.fallbacks },
    Row("fallbackLive", \MemoryPool.fallbackLive) { $0.fallbackLive },
    Row("exhaustions", \MemoryPool.exhaustions) { $0.exhaustions },
    Row("snapshots", \MemoryPool.snapshots) { $0.snapshots },
    Row("wasForked", \LockGroup.wasForked) { $0.wasForked },

    Row("pages", \CompactPool.pages) { $0.pages },
    Row("peakPages", \CompactPool.peakPages) { $0.peakPages },
    Row("slotCount", \CompactPool.slotCount) { $0.slotCount },
    Row("metadataBytes", \CompactPool.metadataBytes) { $0.metadataBytes },
    Row("refusals", \CompactPool.refusals) { $0.refusals },
    Row("mapCalls", \CompactPool.mapCalls) { $0.mapCalls },
    Row("movedBytes", \CompactPool.movedBytes) { $0.movedBytes },
    Row("regionLimit", \CompactPool.regionLimit) { $0.regionLimit },
    Row("locks", \CompactPool.locks) { AtomicPointer($0.locks, word: 0) },
    Row("mutex", \CompactShard.mutex) { $0.mutex },
    Row("room", \CompactShard.room) { $0.room },
    Row("idle", \CompactShard.idle) { $0.idle },
    Row("pins", \CompactRegion.pins) { $0.pins },
    Row("address", \CompactRegion.address) { $0.address },
    Row("owner", \CompactRegion.owner) { $0.owner },
    Row("mappedBytes", \CompactRegion.mappedBytes) { $0.mappedBytes },
    Row("runBytes", \CompactRegion.runBytes) { $0.runBytes },
  ]

  @Test func accessorsPointAtTheirFields() {
    for row in Self.rows {
      #expect(row.found == row.expected, "\(row.name)")
    }
  }

  /// A slab's links follow its record.
  @Test func linksFollowTheSlab() {
    #expect(Slab.linksWord * MemoryLayout<UInt>.stride >= MemoryLayout<Slab>.size)
  }

  /// Every accessor in the sources that names a constant place has its row above.
  @Test func everyAccessorHasARow() throws {
    let accessor =
      /(?:var|func) (\w+)(?:: \w+|\(_ \w+: \w+\) -> \w+) \{\s*(?:AtomicPointer\(self, word: \d|\(UnsafeMutableRawPointer\(self\) \+ \d)/
    let record = /extension UnsafeMutablePointer where Pointee == (\w+)/
    let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Sources/MempoolCore")
    var found: Set<String> = []
    for case let file as URL in try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
    where file.pathExtension == "swift" {
      let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
      let code = lines.filter { !$0.drop { $0 == " " }.hasPrefix("//") }.joined(separator: "\n")
      let records = code.matches(of: record)
      for match in code.matches(of: accessor) {
        let pointee = records.last { $0.range.lowerBound < match.range.lowerBound }?.1 ?? ""
        found.insert("\(pointee).\(match.1)")
      }
    }
    let names = Set(Self.rows.map(\.name))
    #expect(found.subtracting(names).isEmpty, "accessors without a row")
    #expect(names.subtracting(found).isEmpty, "rows without an accessor")
  }
}
