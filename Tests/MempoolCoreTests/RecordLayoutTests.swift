import CMempoolShims
import Testing

@testable import MempoolCore

/// What records must measure, for the records that follow them and for the C that makes room for them. That each shared word
/// is where its accessor looks is SharedWordsTests' matter.
@Suite struct RecordLayoutTests {
  @Test func recordsThatFollowEachOtherDoNotOverlap() {
    #expect(MemoryLayout<PageEntry>.stride == 32, "half a cache line")
    #expect(SegmentLayout.arenaOffset >= MemoryLayout<Segment>.size)
    #expect(SegmentLayout.waitOffset >= SegmentLayout.arenaOffset + MemoryLayout<MetadataArena>.size)
    #expect(MemoryLayout<Slab>.size <= Slab.linksWord * MemoryLayout<UInt>.size, "links follow the record")
    #expect((Slab.largestItemCount + 2 + 63) / 64 <= 64, "a summary word has a bit for each cell")
    #expect(MemoryLayout<ThreadHeap>.offset(of: \ThreadHeap.current) == 0, "the shims' empty heap is one")
    #expect(MemoryLayout<FallbackSet>.offset(of: \FallbackSet.mutex) == 8)
    #expect(MemoryLayout<GuardRegion>.size <= Int(MP_GUARD_BYTES))
    #expect(MemoryLayout<Backtrace>.size == (2 + Int(MP_FRAMES)) * MemoryLayout<UInt>.size, "it is stored word by word")
    #expect(MemoryLayout.size(ofValue: Backtrace().frames) == Int(MP_FRAMES) * MemoryLayout<UInt>.size)
    #expect(MemoryPoolPointer.recordByteCount + Process.byteCount <= Int(MP_PROCESS_BYTES))
    #expect(ObjectPools.byteCount <= Process.familyByteCount)
    #expect(
      MemoryLayout<ObjectPage>.size <= ObjectPage.firstLine * ObjectPage.lineWords * 8,
      "a page's cells follow its record")
    #expect(MemoryLayout<ObjectPool>.offset(of: \ObjectPool.name) == 54 * 8)
    #expect(MemoryLayout<ObjectPool>.offset(of: \ObjectPool.nobody) == 19 * 8)
    #expect(MemoryLayout<ObjectLeases>.offset(of: \ObjectLeases.thread) == 2 * 8, "where nobody's record has it, too")
    #expect(MemoryLayout<ObjectOrigins.Part>.offset(of: \ObjectOrigins.Part.mutex) == 8)
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
      #expect(slab.take() == nil)
      #expect(!slab.hasRoom)
    }
    #expect(Int(MP_CLASS_TABLE_BYTES) > Int(SizeClass.largest / 8))
    #expect(UInt(MP_MAP_ROOT_WORDS) << 34 == 1 << 48, "the map's root covers 48 bits of address")
  }
}
