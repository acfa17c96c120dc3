import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct SegmentPurgeTests {
  private func pages(_ byteCount: UInt) -> UInt { byteCount >> Page.shift }

  /// Never by time, unless a test says so.
  private func settings(delay: UInt = .max) -> Segment.Settings {
    var settings = Segment.Settings()
    settings.purgeDelay = delay
    return settings
  }

  private func bytes(_ address: UInt) -> UnsafeMutablePointer<UInt> { UnsafeMutablePointer(bitPattern: address)! }

  private func claimDirty(_ segment: SegmentPointer, _ count: Int) throws -> [UInt] {
    try (0..<count).map { _ in
      let run = try #require(segment.claimPages(1))
      bytes(run.address).pointee = 0xdead
      return run.address
    }
  }

  /// The larger of 1 MiB and an eighth of what is in use, whatever comes back and in whatever order.
  @Test(arguments: [true, false])
  func theBudgetIsKept(inOrder: Bool) throws {
    var random = SplitMix64(seed: SplitMix64.seed("theBudgetIsKept"))
    let test = try #require(TestSegment(elastic: 256 << 20, settings()))
    let segment = test.segment
    var held = try claimDirty(segment, 4000)
    if !inOrder { held.shuffle(using: &random) }
    var largest: UInt = 0
    while let address = held.popLast() {
      segment.releasePages(address, 1)
      let idle = segment.idlePages.loadRelaxed(), used = segment.usedPages.loadRelaxed()
      try demand(used == UInt(held.count), "\(used) pages in use, \(held.count) held")
      try demand(idle <= max(pages(1 << 20), used / 8), "\(idle) idle pages with \(used) in use")
      largest = max(largest, idle)
    }
    #expect(largest >= 4000 / 8 * 3 / 4, "memory goes back before it must")
    #expect(segment.purgedBytes.loadRelaxed() == (4000 - segment.idlePages.loadRelaxed()) << Page.shift)
    #expect(segment.purgePasses.loadRelaxed() < 200, "a purge for each release")
    #expect(segment.checkInvariants())
  }

  /// What a claim says to be zero is zero, and what was purged is zero.
  @Test func purgedPagesReadAsZero() throws {
    let test = try #require(TestSegment(elastic: 64 << 20, settings()))
    let segment = test.segment
    let held = try claimDirty(segment, 512)
    for address in held { segment.releasePages(address, 1) }
    #expect(
      segment.purge(atMost: .max) == segment.idlePages.loadRelaxed() || segment.idlePages.loadRelaxed() == 0)
    #expect(segment.idlePages.loadRelaxed() == 0)
    #expect(segment.purgedBytes.loadRelaxed() == 512 << Page.shift)
    let run = try #require(segment.claimPages(512))
    #expect(run.isZero)
    #expect(Pattern.isZero(UnsafeRawPointer(bitPattern: run.address)!, 512 << Int(Page.shift)))
    #expect(segment.checkInvariants())
  }

  /// A page that holds one live fragment is never purged, nor is its neighbour's content.
  @Test func pagesInUseAreNotPurged() throws {
    let test = try #require(TestSegment(elastic: 64 << 20, settings()))
    let segment = test.segment
    let held = try claimDirty(segment, 300)
    for (index, address) in held.enumerated() where index % 3 != 0 { segment.releasePages(address, 1) }
    let fragment = try #require(segment.claimRun(1))
    bytes(fragment.address).pointee = 0xbeef
    segment.purge(atMost: .max)
    for (index, address) in held.enumerated() where index % 3 == 0 {
      try demand(bytes(address).pointee == 0xdead, "page \(index) in use was purged")
    }
    #expect(bytes(fragment.address).pointee == 0xbeef)
    #expect(segment.checkInvariants())
  }

  /// What `calloc` relies on, with everything going on at random: a claim that says zero is right, and only fresh or purged
  /// pages say so.
  @Test(arguments: [UInt(0), 100, .max])
  func zeroKnowledgeAgainstAShadow(delay: UInt) throws {
    var random = SplitMix64(seed: SplitMix64.seed("zeroKnowledge, delay \(delay)"))
    let test = try #require(TestSegment(elastic: 16 << 20, settings(delay: delay)))
    let segment = test.segment
    var live: [(address: UInt, count: UInt)] = []
    var zeroed = 0, dirty = 0
    for step in 0..<15_000 {
      switch random.below(20) {
      case 0..<10:
        let count = UInt(random.below(3) == 0 ? 64 + random.below(300) : 1 + random.below(64))
        let alignment: UInt = random.below(5) == 0 ? 1024 << UInt(random.below(7)) : 1
        let run = alignment == 1 ? segment.claimRun(count) : segment.claimRun(count, alignment: alignment)
        guard let run else { break }
        let memory = UnsafeMutableRawPointer(bitPattern: run.address)!, byteCount = Int(count << Page.fragmentShift)
        if run.isZero {
          try demand(Pattern.isZero(memory, byteCount), "step \(step): \(count) fragments that are not zero")
          zeroed += 1
        } else {
          dirty += 1
        }
        memory.initializeMemory(as: UInt8.self, repeating: 0xff, count: byteCount)
        live.append((run.address, count))
      case 10..<19:
        guard !live.isEmpty else { break }
        let block = live.remove(at: random.below(live.count))
        try demand(segment.releaseRun(block.address, block.count), "step \(step): not released")
      default:
        segment.purge(atMost: UInt(random.below(200)))
      }
      if step % 500 == 0 { try demand(segment.checkInvariants(), "step \(step)") }
    }
    #expect(zeroed > 100 && dirty > 100, "\(zeroed) claims of zero pages, \(dirty) of others")
  }

  /// Idle pages within the budget stay for the delay, and those that nobody needed meanwhile go with the next release after it.
  @Test func whatStayedIdleGoesAfterTheDelay() throws {
    let test = try #require(TestSegment(elastic: 64 << 20, settings(delay: 10_000)))
    let segment = test.segment
    let held = try claimDirty(segment, 40)
    let other = try #require(segment.claimPages(1))
    for address in held { segment.releasePages(address, 1) }
    #expect(segment.idlePages.loadRelaxed() == 40, "purged before the delay is over")
    /// As if it had been the delay ago that they were looked at, with so many idle.
    func letTimePass() {
      #expect(segment.tick.loadRelaxed() != 0)
      segment.tick.storeRelaxed(segment.tick.loadRelaxed() &- 10_000)
    }
    // The first look finds that at one time since the last one nothing was idle.
    letTimePass()
    segment.releasePages(other.address, 1)
    #expect(segment.idlePages.loadRelaxed() >= 40)
    let again = try #require(segment.claimPages(1))
    // From here on 40 pages stay idle all the time.
    letTimePass()
    segment.releasePages(again.address, 1)
    #expect(segment.idlePages.loadRelaxed() <= 1)
    #expect(segment.purgedBytes.loadRelaxed() >= 40 << Page.shift)
    #expect(segment.checkInvariants())
  }

  /// A program that only takes pages gives back what it does not need, too.
  @Test func whatStayedIdleGoesAlsoWhenPagesAreTaken() throws {
    let test = try #require(TestSegment(elastic: 64 << 20, settings(delay: 10_000)))
    let segment = test.segment
    for address in try claimDirty(segment, 40) { segment.releasePages(address, 1) }
    let first = try #require(segment.claimPages(1))
    segment.tick.storeRelaxed(segment.tick.loadRelaxed() &- 10_000)
    _ = try #require(segment.claimPages(1))
    segment.tick.storeRelaxed(segment.tick.loadRelaxed() &- 10_000)
    _ = try #require(segment.claimPages(1))
    #expect(segment.idlePages.loadRelaxed() == 0 && segment.purgedBytes.loadRelaxed() >= 36 << Page.shift)
    bytes(first.address).pointee = 1
    #expect(segment.checkInvariants())
  }

  /// What is needed again within the delay is kept, whatever else happens.
  @Test func whatIsInUseInBetweenStays() throws {
    let test = try #require(TestSegment(elastic: 64 << 20, settings(delay: 0)))
    let segment = test.segment
    for _ in 0..<100 {
      let held = try claimDirty(segment, 50)
      // No release in between: nobody looks while they are idle.
      for address in held.reversed() { segment.releasePages(address, 1) }
      #expect(segment.idlePages.loadRelaxed() <= 50)
    }
    #expect(segment.checkInvariants())
  }

  @Test func fixedAndBufferAreNeverPurged() throws {
    let fixed = try #require(TestSegment(fixed: 16 << 20, settings(delay: 0)))
    let buffer = TestSegment(pages: 300)
    for test in [fixed, buffer] {
      let segment = test.segment
      let held = try claimDirty(segment, 250)
      for address in held { segment.releasePages(address, 1) }
      #expect(segment.purge(atMost: .max) == 0)
      #expect(segment.purgedBytes.loadRelaxed() == 0 && segment.purgePasses.loadRelaxed() == 0)
      for address in held { try demand(bytes(address).pointee == 0xdead, "purged") }
      #expect(segment.checkInvariants())
    }
  }

  /// Threads claim and release while another purges all the time. A claim waits for a purge; it never fails by it.
  @Test func claimsDuringPurges() throws {
    let seed = SplitMix64.seed("claimsDuringPurges")
    let test = try #require(TestSegment(elastic: 4 << 20, settings()))
    let shared = Shared(test.segment)
    let findings = Findings()
    let most = Int(test.segment.pointee.pageCapacity) / 4
    TestThread.run(4) { number in
      findings.report {
        let segment = shared.value
        var random = SplitMix64(seed: seed &+ UInt64(number))
        if number == 3 {
          for _ in 0..<400 { segment.purge(atMost: UInt(1 + random.below(300))) }
          return
        }
        var live: [UInt] = []
        for step in 0..<3_000 {
          if live.count < most, random.below(2) == 0 {
            guard let run = segment.claimPages(1) else {
              throw Broken(description: "thread \(number), step \(step): full with three quarters taken at most")
            }
            let memory = UnsafeMutablePointer<UInt>(bitPattern: run.address)!
            if run.isZero {
              for word in stride(from: 0, to: 2048, by: 64) {
                try demand(memory[word] == 0, "thread \(number), step \(step): not zero")
              }
            }
            for word in stride(from: 0, to: 2048, by: 64) { memory[word] = run.address + UInt(number) }
            live.append(run.address)
          } else if !live.isEmpty {
            let address = live.remove(at: random.below(live.count))
            let memory = UnsafeMutablePointer<UInt>(bitPattern: address)!
            for word in stride(from: 0, to: 2048, by: 64) {
              try demand(memory[word] == address + UInt(number), "thread \(number), step \(step): purged in use")
            }
            segment.releasePages(address, 1)
          }
        }
        for address in live { segment.releasePages(address, 1) }
      }
    }
    #expect(findings.all == [])
    #expect(test.segment.usedPages.loadRelaxed() == 0)
    #expect(test.segment.checkInvariants())
  }
}
