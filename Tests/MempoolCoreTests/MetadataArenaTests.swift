import Testing

@testable import MempoolCore

@Suite struct MetadataArenaTests {
  /// Blocks are aligned, zero, do not overlap, and come back: as much as is given back is used again.
  @Test func randomBlocksAgainstAShadow() throws {
    var random = SplitMix64(seed: SplitMix64.seed("MetadataArena"))
    let test = try #require(TestSegment(elastic: 64 << 20))
    let segment = test.segment
    var live: [(block: UInt, size: Int, tag: UInt64)] = []
    var bytes = 0
    for step in 0..<20_000 {
      if live.count < 200, random.below(2) == 0 {
        let size = random.below(8) == 0 ? 1 + random.below(60_000) : 1 + random.below(3_000)
        let block = try #require(segment.allocateMetadata(UInt(size)))
        try demand(block % MetadataArena.alignment == 0, "step \(step): not aligned")
        let pointer = UnsafeMutableRawPointer(bitPattern: block)!
        try demand(Pattern.isZero(pointer, size), "step \(step): a block of \(size) that is not zero")
        let tag = random.next()
        Pattern.fill(pointer, size, tag)
        live.append((block, size, tag))
        bytes += (size + 63) & ~63
      } else if !live.isEmpty {
        let one = live.remove(at: random.below(live.count))
        try demand(
          Pattern.isIntact(UnsafeRawPointer(bitPattern: one.block)!, one.size, one.tag), "step \(step): overwritten")
        segment.deallocateMetadata(one.block, UInt(one.size))
        bytes -= (one.size + 63) & ~63
      }
      try demand(segment.arena.usedBytes.loadRelaxed() == UInt(bytes), "step \(step): a wrong count of bytes")
      if step % 1000 == 999 {
        segment.arena.sweep()
        try demand(segment.checkInvariants(), "step \(step): broken by a sweep")
      }
    }
    for one in live { segment.deallocateMetadata(one.block, UInt(one.size)) }
    #expect(segment.arena.usedBytes.loadRelaxed() == 0)
  }

  /// What many blocks together leave is the system's again, and serves blocks of other sizes.
  @Test func aSweepGivesMemoryBack() throws {
    let test = try #require(TestSegment(elastic: 64 << 20))
    let segment = test.segment, size: UInt = 2304
    var blocks = try (0..<1000).map { _ in try #require(segment.allocateMetadata(size)) }
    for block in blocks { Pattern.fill(UnsafeMutableRawPointer(bitPattern: block)!, Int(size), 7) }
    let kept = blocks.remove(at: 500)
    let committed = segment.pointee.arenaCommitted
    for block in blocks.shuffled() { segment.arena.deallocate(block, size) }
    // Idle since just now: not for long.
    #expect(segment.arena.hasIdle)
    segment.arena.sweepWhatStayedIdle()
    #expect(segment.arena.hasIdle)
    segment.arena.sweepWhatStayedIdle()
    #expect(!segment.arena.hasIdle)
    var zeroes = 0
    for block in blocks {
      let words = AtomicPointer(address: block)
      zeroes += (0..<Int(size) / 8).count { words.advanced(by: $0).loadRelaxed() == 0 }
    }
    #expect(zeroes * 8 > 990 * Int(size), "not given back")
    #expect(Pattern.isIntact(UnsafeRawPointer(bitPattern: kept)!, Int(size), 7))
    #expect(segment.checkInvariants())
    var bytes: UInt = 0
    for other in [64, 640, 9000, 100_000] {
      for _ in 0..<3 {
        let block = try #require(segment.allocateMetadata(UInt(other)))
        #expect(Pattern.isZero(UnsafeRawPointer(bitPattern: block)!, other))
        bytes += UInt(other)
      }
    }
    #expect(segment.pointee.arenaCommitted == committed, "\(bytes) bytes found no place in what was given back")
    #expect(segment.checkInvariants())
  }

  /// Where no purger comes by, what is idle beyond a quarter of what is in use goes back at once.
  @Test func aBudgetWhereThereIsNoPurger() throws {
    let test = try #require(TestSegment(elastic: 64 << 20))
    let segment = test.segment, size: UInt = 2304
    let blocks = try (0..<1000).map { _ in try #require(segment.allocateMetadata(size)) }
    for block in blocks { Pattern.fill(UnsafeMutableRawPointer(bitPattern: block)!, Int(size), 7) }
    var given = 0
    for block in blocks.shuffled() {
      let before = segment.arena.idleBytes.loadRelaxed()
      segment.deallocateMetadata(block, size)
      if segment.arena.idleBytes.loadRelaxed() < before { given += 1 }
      try demand(!segment.arena.isOverBudget, "over the budget")
    }
    #expect(given > 3 && given < 20, "given back \(given) times")
    let words = blocks.map { AtomicPointer(address: $0) }
    let zeroes = words.reduce(0) { sum, block in
      sum + (0..<Int(size) / 8).count { block.advanced(by: $0).loadRelaxed() == 0 }
    }
    #expect(zeroes * 8 > 900 * Int(size), "not given back")
    #expect(segment.checkInvariants())
  }

  @Test func aBlockIsReusedForItsSize() throws {
    let test = try #require(TestSegment(elastic: 16 << 20))
    let segment = test.segment
    for size in [UInt(1), 64, 65, 1000, 12_000, 50_000] {
      let first = try #require(segment.allocateMetadata(size))
      let committed = segment.pointee.arenaCommitted
      segment.deallocateMetadata(first, size)
      for _ in 0..<1000 {
        let again = try #require(segment.allocateMetadata(size))
        try demand(again == first, "\(size) bytes went elsewhere")
        segment.deallocateMetadata(again, size)
      }
      #expect(segment.pointee.arenaCommitted == committed)
    }
  }

  /// Where there is no range of its own, the arena takes pages of the segment, and they say so.
  @Test func aFixedSegmentsArenaLivesInItsPages() throws {
    let test = TestSegment(pages: 4)
    let segment = test.segment
    let block = try #require(segment.allocateMetadata(100))
    #expect(segment.contains(block))
    if case .other(.metadata) = segment.run(at: block) {} else { Issue.record("a page that is not the arena's") }
    #expect(segment.usedPages.loadRelaxed() == 1)
    #expect(segment.allocateMetadata(4 << Page.shift) == nil, "more than there is")
    var count = 1
    while segment.allocateMetadata(6400) != nil { count += 1 }
    #expect(count >= 4 * 2, "two blocks of 6400 bytes in each page")
    #expect(segment.claimRun(1) == nil)
    #expect(segment.checkInvariants())
  }

  @Test func threadsAtOnce() throws {
    let seed = SplitMix64.seed("MetadataArena, threads")
    let test = try #require(TestSegment(elastic: 64 << 20))
    let shared = Shared(test.segment)
    let findings = Findings()
    TestThread.run(4) { number in
      findings.report {
        var random = SplitMix64(seed: seed &+ UInt64(number))
        var live: [(block: UInt, size: Int, tag: UInt64)] = []
        for step in 0..<5_000 {
          if number == 0, step % 50 == 0 { shared.value.arena.sweep() }
          if live.count < 20, random.below(2) == 0 {
            let size = 1 + random.below(2_000)
            guard let block = shared.value.allocateMetadata(UInt(size)) else { throw Broken(description: "none left") }
            try demand(Pattern.isZero(UnsafeRawPointer(bitPattern: block)!, size), "not zero")
            let tag = random.next()
            Pattern.fill(UnsafeMutableRawPointer(bitPattern: block)!, size, tag)
            live.append((block, size, tag))
          } else if !live.isEmpty {
            let one = live.remove(at: random.below(live.count))
            try demand(Pattern.isIntact(UnsafeRawPointer(bitPattern: one.block)!, one.size, one.tag), "overwritten")
            shared.value.deallocateMetadata(one.block, UInt(one.size))
          }
        }
        for one in live { shared.value.deallocateMetadata(one.block, UInt(one.size)) }
      }
    }
    #expect(findings.all == [])
    #expect(test.segment.arena.usedBytes.loadRelaxed() == 0)
  }
}
