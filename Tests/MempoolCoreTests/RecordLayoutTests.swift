import CMempoolShims
import Testing

@testable import MempoolCore

/// Shared words are reached by their index in the record. The compiler lays records out: the two must agree.
@Suite struct RecordLayoutTests {
  /// Whether the word that `accessor` leads to is the field at `offset`.
  private func agrees<Record>(
    _ field: PartialKeyPath<Record>, _ accessor: (UnsafeMutablePointer<Record>) -> UnsafeMutablePointer<UInt>
  ) -> Bool {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<Record>.stride, alignment: 64)
    defer { memory.deallocate() }
    let record = memory.assumingMemoryBound(to: Record.self)
    return MemoryLayout<Record>.offset(of: field) == UnsafeMutableRawPointer(accessor(record)) - memory
  }

  private func word(of lock: MutexPointer) -> UnsafeMutablePointer<UInt> { lock.state.word }

  @Test func locks() {
    #expect(agrees(\Mutex.state) { $0.state.word })
    #expect(agrees(\ReadWriteLock.state) { $0.state.word })
    #expect(agrees(\ReadWriteLock.wakeups) { $0.wakeups.word })
  }

  @Test func pageEntry() {
    #expect(agrees(\PageEntry.reciprocal) { $0.reciprocal.word })
    #expect(agrees(\PageEntry.base) { $0.base.word })
    #expect(agrees(\PageEntry.slab) { $0.slab.word })
    #expect(agrees(\PageEntry.heap) { $0.heap.word })
    #expect(MemoryLayout<PageEntry>.stride == 32)
  }

  @Test func metadataArena() {
    #expect(agrees(\MetadataArena.lock) { word(of: $0.mutex) })
    #expect(agrees(\MetadataArena.usedBytes) { $0.usedBytes.word })
  }

  @Test func segment() {
    #expect(agrees(\Segment.pageCount) { $0.pageCount.word })
    #expect(agrees(\Segment.usedPages) { $0.usedPages.word })
    #expect(agrees(\Segment.idlePages) { $0.idlePages.word })
    #expect(agrees(\Segment.idleLow) { $0.idleLow.word })
    #expect(agrees(\Segment.tick) { $0.tick.word })
    #expect(agrees(\Segment.purging) { $0.purging.word })
    #expect(agrees(\Segment.purgedBytes) { $0.purgedBytes.word })
    #expect(agrees(\Segment.purgePasses) { $0.purgePasses.word })
    #expect(agrees(\Segment.next) { $0.next.word })
    #expect(agrees(\Segment.growth) { word(of: $0.growth) })
    #expect(agrees(\Segment.purgeCursor) { $0.purgeCursor.word })
    #expect(agrees(\Segment.peakPages) { $0.peakPages.word })
    // The records that follow it do not overlap.
    #expect(SegmentLayout.arenaOffset >= MemoryLayout<Segment>.size)
    #expect(SegmentLayout.waitOffset >= SegmentLayout.arenaOffset + MemoryLayout<MetadataArena>.size)
  }

  @Test func lists() {
    #expect(agrees(\SegmentList.newest) { $0.newestWord.word })
    #expect(agrees(\SegmentList.lock) { word(of: $0.mutex) })
    #expect(agrees(\SegmentList.limitHits) { $0.limitHits.word })
    #expect(agrees(\SpanList.liveCount) { $0.liveCount.word })
    #expect(agrees(\SpanList.liveBytes) { $0.liveBytes.word })
    #expect(agrees(\SpanList.mutex) { word(of: $0.mutex) })
    #expect(agrees(\SpanList.peakBytes) { $0.peakBytes.word })
  }

  @Test func slab() {
    #expect(agrees(\Slab.used) { $0.used.word })
    #expect(agrees(\Slab.summary) { $0.summary.word })
    #expect(agrees(\Slab.pendingNext) { $0.pendingNext.word })
    #expect(MemoryLayout<Slab>.size <= Slab.cellsWord * MemoryLayout<UInt>.size, "cells follow the record")
    #expect((Slab.largestItemCount + 2 + 63) / 64 <= 64, "a summary word has a bit for each cell")
  }

  @Test func heaps() {
    #expect(agrees(\ThreadHeap.requested) { $0.requested.word })
    #expect(agrees(\ThreadHeap.pending) { $0.pending.word })
    #expect(agrees(\ThreadHeap.owner) { $0.owner.word })
    #expect(agrees(\ThreadHeap.collected) { $0.collected.word })
    #expect(agrees(\ThreadHeap.slabs) { $0.slabs.word })
    #expect(agrees(\ThreadHeap.adoptions) { $0.adoptions.word })
    #expect(agrees(\ThreadHeap.samples) { $0.samples.word })
    #expect(agrees(\ThreadHeap.sampledBytes) { $0.sampledBytes.word })
    #expect(agrees(\ThreadHeap.sampledSlots) { $0.sampledSlots.word })
    #expect(MemoryLayout<ThreadHeap>.offset(of: \ThreadHeap.current) == 0, "the shims' empty heap is one")
    #expect(agrees(\HeapRegistry.created) { $0.createdCount.word })
    #expect(agrees(\HeapRegistry.creation) { word(of: $0.creation) })
    #expect(agrees(\HeapRegistry.lateLock) { word(of: $0.lateLock) })
  }

  @Test func pool() {
    #expect(agrees(\MemoryPool.state) { $0.state.word })
    #expect(agrees(\MemoryPool.fallbacks) { $0.fallbacks.word })
    #expect(agrees(\MemoryPool.fallbackLive) { $0.fallbackLive.word })
    #expect(agrees(\MemoryPool.exhaustions) { $0.exhaustions.word })
    #expect(agrees(\MemoryPool.snapshots) { $0.snapshots.word })
    #expect(MemoryPoolPointer.recordByteCount + Process.byteCount <= Int(MP_PROCESS_BYTES))
  }

  /// Its accessors are private: a write through one shows in the field, and in no other.
  @Test func boundedWait() {
    let wait = BoundedWaitPointer.allocate(capacity: 1)
    defer { wait.deallocate() }
    func field(_ field: PartialKeyPath<BoundedWait>) -> UInt {
      UnsafeRawPointer(wait).load(fromByteOffset: MemoryLayout<BoundedWait>.offset(of: field)!, as: UInt.self)
    }
    wait.initialize(to: BoundedWait())
    wait.maxRetries = 7
    wait.waitNanoseconds = 99
    #expect(field(\.maxRetries) == 8)
    #expect(field(\.waitNanoseconds) == 100)
    wait.countPass()
    wait.countLostSwaps(3)
    #expect(field(\.passes) == 1 && wait.passes == 1)
    #expect(field(\.lostSwaps) == 3 && wait.lostSwaps == 3)
    let none: Int? = wait.patiently { nil }
    #expect(none == nil)
    #expect(field(\.sleeps) == 7 && wait.sleeps == 7)
    #expect(field(\.failures) == 1 && wait.failures == 1)
    #expect(MemoryLayout<BoundedWait>.size == Int(MP_WAIT_WORDS) * MemoryLayout<UInt>.size)
  }

  @Test func threadBlocks() {
    #expect(MemoryLayout<mp_thread_block>.size <= 256, "a larger one cannot be dlopen'ed")
    #expect(
      MemoryLayout.size(ofValue: threadBlock().pointee.recent) == MemoryLayout<mp_thread_entry>.size
        * Int(MP_THREAD_RECENT))
  }

  /// What a thread without a heap sees: no class has room, and nothing can be put there.
  @Test func emptyHeap() {
    let heap = mp_empty_heap_address().assumingMemoryBound(to: ThreadHeap.self)
    #expect(Int(MP_EMPTY_WORDS) >= SizeClass.count)
    #expect(Int(MP_EMPTY_SLAB_BYTES) >= MemoryLayout<Slab>.size)
    for sizeClass in 0..<Int(MP_EMPTY_WORDS) {
      let slab = heap.current(sizeClass)
      #expect(slab == ThreadHeapPointer.emptySlab)
      #expect(slab.take() == 0)
      #expect(!slab.hasRoom)
    }
    #expect(Int(MP_CLASS_TABLE_BYTES) > Int(SizeClass.largest / 8))
    #expect(UInt(MP_MAP_ROOT_WORDS) << 34 == 1 << 48, "the map's root covers 48 bits of address")
  }
}
