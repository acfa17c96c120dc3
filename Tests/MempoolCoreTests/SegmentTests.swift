import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct SegmentTests {
  // MARK: Layout

  /// The parts of a segment follow each other without overlap, and all of them lie in the memory that it was given.
  private func isSound(_ layout: SegmentLayout) -> Bool {
    let pages = layout.pageCapacity
    let bitmap = UInt(AtomicBitmap.byteCount(cellCount: Int(pages), runLengths: SegmentLayout.runLengths))
    return UInt(SegmentLayout.waitOffset + MemoryLayout<BoundedWait>.size) <= layout.entries
      && layout.entries + pages * 32 <= layout.bitmap && layout.bitmap + bitmap <= layout.touched
      && layout.touched + (pages + 63) / 64 * 8 <= layout.lent
      && layout.lent + (pages + 63) / 64 * 8 <= layout.arenaStart && layout.arenaStart <= layout.arenaLimit
      && layout.arenaLimit <= layout.base && layout.base + pages << Page.shift == layout.end
  }

  @Test func layoutOfEverySize() throws {
    for pages in Array(UInt(1)...300) + [1000, 4095, 4096, 65536, 1 << 20] {
      for elastic in [false, true] {
        let layout = SegmentLayout(
          pageCapacity: pages, elastic: elastic, pageAlignment: elastic ? SegmentLayout.largestSystemPage : 64)
        try demand(isSound(layout), "\(pages) pages")
        if elastic {
          #expect(layout.arenaStart % SegmentLayout.largestSystemPage == 0)
          #expect(layout.base % SegmentLayout.largestSystemPage == 0)
        }
      }
    }
  }

  /// A layout that was fitted lies within what it was fitted to, and one page more would not.
  @Test func fittingTakesAllThatFits() throws {
    var random = SplitMix64(seed: SplitMix64.seed("fittingTakesAllThatFits"))
    func end(_ layout: SegmentLayout, _ start: UInt) -> UInt {
      (start + layout.base + Page.byteCount - 1) & ~(Page.byteCount - 1) + layout.pageCapacity << Page.shift
    }
    for step in 0..<20_000 {
      let start = UInt(64 * (1 << 20 + random.below(1 << 16)))
      let byteCount = UInt(step < 10_000 ? random.below(1 << 18) : random.below(1 << 30))
      let layout = SegmentLayout(fitting: byteCount, at: start)
      if let layout {
        try demand(isSound(layout), "\(byteCount) bytes at \(start)")
        try demand(end(layout, start) <= start + byteCount, "\(byteCount) bytes at \(start): beyond the end")
      }
      let more = SegmentLayout(pageCapacity: (layout?.pageCapacity ?? 0) + 1, elastic: false, pageAlignment: 64)
      try demand(end(more, start) > start + byteCount, "\(byteCount) bytes at \(start): room for one more page")
    }
  }

  // MARK: Elastic

  @Test func elasticGrowsInSteps() throws {
    let test = try #require(TestSegment(elastic: 64 << 20))
    let segment = test.segment
    #expect(segment.pageCount.loadRelaxed() == 0)
    let stepPages = SegmentLayout.commitStep >> Page.shift
    var claimed: UInt = 0
    while let run = segment.claimPages(1) {
      claimed += 1
      try demand(run.isZero, "a fresh page that is not known to be zero")
      UnsafeMutablePointer<UInt>(bitPattern: run.address)!.pointee = claimed
      let pages = segment.pageCount.loadRelaxed()
      try demand(
        pages >= claimed && pages < claimed + max(stepPages, pages / 8 + stepPages), "\(pages) pages for \(claimed)")
    }
    #expect(claimed == segment.pointee.pageCapacity)
    #expect(claimed >= (64 << 20) >> Page.shift)
    #expect(segment.checkInvariants())
  }

  /// A run longer than a step makes as many pages accessible as it takes.
  @Test func elasticGrowsByWhatIsAskedFor() throws {
    let test = try #require(TestSegment(elastic: 64 << 20))
    let run = try #require(test.segment.claimPages((40 << 20) >> Page.shift))
    let last = UnsafeMutablePointer<UInt8>(bitPattern: run.address + 40 << 20 - 1)!
    last.pointee = 1
    #expect(test.segment.claimPages((40 << 20) >> Page.shift) == nil)
    #expect(test.segment.checkInvariants())
  }

  @Test func elasticPagesAreInTheAddressMap() throws {
    let test = try #require(TestSegment(elastic: 64 << 20))
    let segment = test.segment
    let run = try #require(segment.claimPages(1))
    for address in [run.address, run.address + 1, segment.pointee.base + SegmentLayout.commitStep - 1] {
      if case .segment(let owner)? = AddressMap.owner(of: address), owner == segment { continue }
      Issue.record("not in the map")
    }
    // Nobody's, or another test's.
    if case .segment(segment)? = AddressMap.owner(of: segment.pointee.base + segment.pageBytes + AddressMap.granule) {
      Issue.record("more in the map than there is")
    }
  }

  @Test func smallRequestsAreRoundedUp() throws {
    let test = try #require(TestSegment(elastic: 1))
    #expect(test.segment.pageBytes >= SegmentPointer.smallestReserve)
    #expect(test.segment.claimPages(1) != nil)
  }

  // MARK: Fixed

  @Test func fixedIsAccessibleFromTheStart() throws {
    let test = try #require(TestSegment(fixed: 8 << 20))
    let segment = test.segment
    #expect(segment.pageCount.loadRelaxed() == segment.pointee.pageCapacity)
    #expect(segment.pointee.base + segment.pageBytes <= segment.pointee.start + 8 << 20)
    var pages: UInt = 0
    while let run = segment.claimPages(1) {
      try demand(Pattern.isZero(UnsafeRawPointer(bitPattern: run.address)!, Int(Page.byteCount)), "not zero")
      try demand(run.isZero, "fresh memory of the system's is zero")
      pages += 1
    }
    #expect(pages == segment.pointee.pageCapacity)
    #expect(pages >= 500, "bookkeeping of 8 MiB takes more than 12 pages")
  }

  @Test func prefaultChangesNothing() throws {
    let test = try #require(TestSegment(fixed: 4 << 20))
    let before = test.state
    test.segment.prefault()
    #expect(test.state == before)
    let run = try #require(test.segment.claimPages(100))
    #expect(Pattern.isZero(UnsafeRawPointer(bitPattern: run.address)!, 100 << Int(Page.shift)))
  }

  @Test func fixedTooSmallForAPageIsRefused() {
    mp_errno_set(0)
    #expect(SegmentPointer.fixed(byteCount: 1, Segment.Settings()) == nil)
    #expect(mp_errno_get() == Int32(MP_EINVAL))
    #expect(SegmentPointer.fixed(byteCount: Page.byteCount, Segment.Settings()) == nil)
  }

  // MARK: Buffer

  /// In memory of the caller's, of any size at any address: nothing outside is touched, and all of it works.
  @Test func buffersOfAnySizeAtAnyAddress() throws {
    let size = 200_000
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 1 << 15)
    defer { memory.deallocate() }
    var random = SplitMix64(seed: SplitMix64.seed("buffersOfAnySizeAtAnyAddress"))
    var made = 0
    for step in 0..<300 {
      let lead = random.below(40_000), count = step < 30 ? random.below(20_000) : random.below(size - lead)
      memory.initializeMemory(as: UInt8.self, repeating: 0xa5, count: size)
      let start = UInt(bitPattern: memory) + UInt(lead)
      if count > 0, let segment = SegmentPointer.buffer(start, byteCount: UInt(count), Segment.Settings()) {
        made += 1
        try demand(segment.pageCount.loadRelaxed() == segment.pointee.pageCapacity, "not all pages accessible")
        var blocks: [UInt] = []
        while let run = segment.claimRun(UInt(1 + random.below(64))) {
          let found = segment.extent(at: run.address)!
          try demand(!run.isZero, "the caller's memory may hold anything")
          memset(run.address, Int(found.count << Page.fragmentShift))
          blocks.append(run.address)
        }
        try demand(!blocks.isEmpty, "\(count) bytes at +\(lead): a segment without room")
        for block in blocks {
          let found = segment.extent(at: block)!
          try demand(segment.releaseRun(found.head, found.count), "not released")
        }
        try demand(segment.checkInvariants(), "\(count) bytes at +\(lead)")
        segment.destroy()
      } else {
        try demand(count < 3 * Int(Page.byteCount), "\(count) bytes at +\(lead) refused")
      }
      for offset in 0..<size where offset < lead || offset >= lead + count {
        try demand(memory.load(fromByteOffset: offset, as: UInt8.self) == 0xa5, "\(count) bytes at +\(lead): \(offset)")
      }
    }
    #expect(made > 200)
  }

  private func memset(_ address: UInt, _ count: Int) {
    UnsafeMutableRawPointer(bitPattern: address)!.initializeMemory(as: UInt8.self, repeating: 0x3c, count: count)
  }

  // MARK: Threads

  /// Threads that claim until a segment is full get all of it, each page once.
  @Test func threadsFillASegment() throws {
    let test = try #require(TestSegment(elastic: 32 << 20))
    let shared = Shared(test.segment)
    let findings = Findings()
    TestThread.run(4) { number in
      findings.report {
        let segment = shared.value
        var pages = 0
        while let run = segment.claimPages(UInt(1 + (pages + number) % 3)) {
          let word = UnsafeMutablePointer<UInt>(bitPattern: run.address)!
          try demand(word.pointee == 0, "a page given out twice")
          word.pointee = 1
          pages += 1
        }
        while let run = segment.claimPages(1) {
          let word = UnsafeMutablePointer<UInt>(bitPattern: run.address)!
          try demand(word.pointee == 0, "a page given out twice")
          word.pointee = 1
        }
      }
    }
    #expect(findings.all == [])
    #expect(test.segment.usedPages.loadRelaxed() == test.segment.pointee.pageCapacity, "failed with room left")
    #expect(test.segment.checkInvariants())
  }
}
