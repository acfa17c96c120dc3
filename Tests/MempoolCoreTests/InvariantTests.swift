import Testing

@testable import MempoolCore

/// What `checkInvariants()` of records below the pool must notice: each is broken in one place, and put right again. The lines
/// that this writes to standard error are meant.
@Suite struct InvariantTests {
  /// A pool with something of everything: slabs, runs, spans, free records, heaps of threads that are gone, two segments.
  private func pool() throws -> TestPool {
    let test = try TestPool(.crowded)
    let pool = test.pool, shared = Shared(pool)
    let gate = ThreadGate(3)
    TestThread.run(3) { _ in
      for size in 1..<200 { _ = shared.value.allocate(UInt(size * 50)) }
      gate.arrive()
    }
    for size in [100, 5_000, 700_000, 3 << 20, 34 << 20, 35 << 20] { _ = try #require(pool.allocate(UInt(size))) }
    pool.deallocate(pool.allocate(37 << 20))
    #expect(pool.segments.newest != pool.pointee.first, "a further segment")
    #expect(pool.checkInvariants())
    return test
  }

  /// That `check` notices what `change` makes of `value`, and nothing once it is as it was.
  private func notices<Value>(
    _ what: String, _ value: UnsafeMutablePointer<Value>, _ changed: Value, _ check: () -> Bool
  ) {
    #expect(check(), "\(what): sound before")
    let saved = value.pointee
    value.pointee = changed
    #expect(!check(), "\(what) not noticed")
    value.pointee = saved
    #expect(check(), "\(what): sound after")
  }

  private func notices(_ what: String, _ word: AtomicPointer, _ changed: UInt, _ check: () -> Bool) {
    notices(what, word.word, changed, check)
  }

  @Test func spans() throws {
    let test = try pool()
    let spans = test.pool.spans
    let check = { test.pool.checkInvariants() && spans.checkInvariants() }
    let last = try #require(spans.pointee.head), first = try #require(last.pointee.next)
    notices("a count of spans", spans.liveCount, spans.liveCount.loadRelaxed() + 1, check)
    notices("a count of spans", spans.liveCount, spans.liveCount.loadRelaxed() - 1, check)
    notices("a count of bytes", spans.liveBytes, 0, check)
    notices("a span's size", &last.pointee.byteCount, last.pointee.byteCount + 100, check)
    notices("a span's size", &last.pointee.byteCount, last.pointee.byteCount + AddressMap.granule, check)
    notices("a span's size", &last.pointee.byteCount, last.pointee.byteCount - AddressMap.granule, check)
    notices("a span's place", &last.pointee.address, first.pointee.address, check)
    notices("a span's list", &last.pointee.list, try TestPool(.elastic).pool.spans, check)
    notices("a link", &first.pointee.previous, nil, check)
    notices("a link", &first.pointee.next, last, check)
  }

  @Test func addressMap() throws {
    let test = try pool()
    let pool = test.pool
    let span = try #require(pool.spans.pointee.head), segment = try #require(pool.segments.newest)
    for (word, address) in [
      (AddressMap.word(span), span.pointee.address + AddressMap.granule),
      (AddressMap.word(segment), segment.pointee.base),
    ] {
      #expect(AddressMap.holds(word, from: address, to: address + 1))
      AddressMap.set(0, from: address, to: address + 1)
      #expect(!pool.checkInvariants(), "a granule left the map")
      AddressMap.set(word, from: address, to: address + 1)
      #expect(pool.checkInvariants())
      // Where there is nobody: an entry that was not taken out.
      AddressMap.set(word, from: 1 << 46, to: 1 << 46 + 1)
      #expect(!pool.checkInvariants(), "a granule stayed in the map")
      AddressMap.set(0, from: 1 << 46, to: 1 << 46 + 1)
      #expect(pool.checkInvariants())
    }
  }

  @Test(arguments: [PoolKind.elastic, .fixed, .buffer])
  func metadataArena(kind: PoolKind) throws {
    let test = try TestPool(kind)
    let segment = test.pool.pointee.first, arena = segment.arena
    for size in [UInt(64), 640, 20_000] {
      segment.deallocateMetadata(try #require(segment.allocateMetadata(size)), size)
    }
    let check = { test.pool.checkInvariants() && segment.checkInvariants() }
    notices("bytes in use", arena.usedBytes, arena.usedBytes.loadRelaxed() - 64, check)
    notices("bytes in use", arena.usedBytes, arena.usedBytes.loadRelaxed() + 64, check)
    notices("a lost block", &arena.pointee.free[10], 0, check)
    notices("a block in a wrong list", &arena.pointee.free[11], arena.pointee.free[10], check)
    notices("a block that is not the arena's", &arena.pointee.free[1], 64, check)
    notices("a block never handed out", &arena.pointee.free[1], arena.pointee.next, check)
    notices("the end of what was handed out", &arena.pointee.next, arena.pointee.next - 64, check)
    notices(
      "a list that leads into itself", AtomicPointer(address: arena.pointee.free[1]), arena.pointee.free[1], check)
    notices("a block's size", AtomicPointer(address: arena.pointee.free[0]).advanced(by: 1), 20_096, check)
  }

  @Test func segmentList() throws {
    let test = try pool()
    let segments = test.pool.segments, oldest = test.pool.pointee.first
    let check = { segments.checkInvariants() }
    notices("patience", segments.patience, 1, check)
    notices("an empty list", segments.newestWord, 0, check)
    notices("a segment of another's", &oldest.pointee.list, 64, check)
  }

  @Test func heapRegistry() throws {
    let test = try pool()
    let registry = test.pool.registry
    let check = { test.pool.checkInvariants() && registry.checkInvariants() }
    let count = registry.count
    let own = try #require(test.pool.threadHeap()), mine = own.pointee.index
    let other = try #require((1..<count).first { $0 != mine && !registry.isOwned($0) })
    let gone = try #require(registry.heap(other))
    notices("a count of heaps", registry.createdCount, count - 1, check)
    notices("a count of heaps", registry.createdCount, count + 1, check)
    notices("a count of heaps", registry.createdCount, registry.pointee.capacity + 1, check)
    notices("a heap's number", &gone.pointee.index, other + 1, check)
    notices("an owner without its bit", gone.owner, 64, check)
    notices("an owner of the late heap", registry.late.owner, 64, check)
    notices("a heap beside another", &own.pointee.nextOwned, gone, check)
    notices("a count of heaps beside another", &own.pointee.ownedCount, 1, check)
    notices("an owned heap out of reach", &own.pointee.isAdoptedBeside, true, check)
    notices("a heap where there is none", registry.pointee.table.advanced(by: Int(count)), 64, check)
    registry.hint(3, count + 1)
    #expect(!check(), "a hint that names no heap not noticed")
  }
}
