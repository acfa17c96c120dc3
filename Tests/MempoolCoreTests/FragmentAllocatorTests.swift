import Testing

@testable import MempoolCore

@Suite struct FragmentAllocatorTests {
  private let perPage = Int(Page.fragmentCount)

  /// Run lengths around everything that is special: 1…64, and around whole pages.
  private var lengths: [Int] {
    Array(1...66) + [100, 127, 128, 129, 191, 192, 193, 250, 320, 511, 512, 513, 640, 1000]
  }

  /// For every length exactly that many fragments are taken, each address of the run leads to its head,
  /// and a free clears exactly the run: its neighbours, which are taken, keep what they have.
  @Test("T2, T3, T5: a run of any length takes and clears exactly its fragments")
  func everyLengthIsTakenAndClearedExactly() throws {
    let test = TestSegment(pages: 40)
    let segment = test.segment
    let empty = test.state
    for length in lengths {
      // Neighbours on both sides where that can be: a run before, and the rest of the last page after.
      let before = try #require(segment.claimRun(3))
      let run = try #require(segment.claimRun(UInt(length)))
      let after = try #require(segment.claimRun(2))
      let head = test.number(run.address)
      let taken = segment.pointee.bitmap.usedCount()
      #expect(taken == length + 5)
      for fragment in head..<head + length {
        for offset in [UInt(0), 1, 255] {
          let found = segment.extent(at: test.address(fragment) + offset)
          try demand(
            found?.head == run.address && found?.count == UInt(length), "length \(length), fragment \(fragment)")
        }
      }
      #expect(segment.releaseRun(run.address, UInt(length)))
      #expect(segment.pointee.bitmap.usedCount() == 5)
      for fragment in head..<head + length {
        try demand(segment.extent(at: test.address(fragment)) == nil, "length \(length): fragment \(fragment) lives on")
      }
      for (neighbour, count) in [(before, UInt(3)), (after, UInt(2))] {
        #expect(segment.extent(at: neighbour.address)?.count == count)
        #expect(segment.releaseRun(neighbour.address, count))
      }
      #expect(test.state == empty, "length \(length)")
    }
    #expect(segment.checkInvariants())
  }

  /// The same with all other fragments taken, so that the run fits exactly one place. A long run needs a last page of which
  /// nobody has anything, and gives back what it does not need of it.
  @Test func aRunThatFitsExactly() throws {
    for length in lengths where length <= perPage || length % perPage == 0 {
      let pages = (length + perPage - 1) / perPage
      let test = TestSegment(pages: pages)
      let segment = test.segment
      let run = try #require(segment.claimRun(UInt(length)), "length \(length)")
      var others: [UInt] = []
      while let other = segment.claimRun(1) { others.append(other.address) }
      #expect(others.count == pages * perPage - length)
      #expect(segment.releaseRun(run.address, UInt(length)))
      #expect(segment.pointee.bitmap.usedCount() == others.count)
      let again = try #require(segment.claimRun(UInt(length)), "length \(length)")
      #expect(again.address == run.address)
      for other in others { #expect(segment.extent(at: other)?.count == 1) }
      #expect(segment.checkInvariants())
    }
  }

  @Test("T3, T4: a request for a run that fails changes neither bits nor entries nor counts", arguments: [1, 2, 5, 9])
  func aFailedRequestChangesNothing(pages: Int) throws {
    let test = TestSegment(pages: pages)
    let segment = test.segment
    // One fragment in the middle of each page: 32 free ones before it, 31 after it.
    for page in 0..<UInt(pages) {
      let low = try #require(segment.claimRun(32, from: page))
      let middle = try #require(segment.claimRun(1, from: page))
      #expect(middle.address == low.address + 32 << Page.fragmentShift)
      #expect(segment.releaseRun(low.address, 32))
    }
    let before = test.state
    for length in 33...pages * perPage + 1 {
      try demand(segment.claimRun(UInt(length)) == nil, "a run of \(length) where 32 are free")
      try demand(test.state == before, "a run of \(length) failed and left something")
    }
    for alignment in [UInt(512), 4096, 8192, 16384, 32768, 65536] {
      for length in [33, 64, 65, 128] {
        try demand(segment.claimRun(UInt(length), alignment: alignment) == nil, "\(length) aligned to \(alignment)")
        try demand(test.state == before, "\(length) aligned to \(alignment) failed and left something")
      }
    }
    for count in 1...UInt(pages) + 1 {
      #expect(segment.claimPages(count) == nil)
      #expect(test.state == before)
    }
    #expect(segment.checkInvariants())
  }

  /// Short runs stay in their page, but any page with room will do; long ones begin at a page.
  @Test("T7: a run of up to a page stays in one page, but any page with room will do")
  func aRunFindsRoomInAnyPage() throws {
    for length in 17...64 {
      let test = TestSegment(pages: 3)
      let segment = test.segment
      // Leaves length - 1 free fragments at the end of pages 0 and 1, and all of page 2.
      let fill = UInt(perPage - length + 1)
      _ = try #require(segment.claimRun(fill))
      _ = try #require(segment.claimRun(fill, from: 1))
      let run = try #require(segment.claimRun(UInt(length)), "length \(length)")
      if fill + UInt(length) > 64 { #expect(test.number(run.address) / perPage == 2, "length \(length)") }
      #expect(test.number(run.address) % perPage + length <= perPage)
    }
  }

  @Test("T18: a segment of 64 MiB gives blocks of 32 MiB")
  func aFixedSegmentOf64MiBGivesBlocksOf32() throws {
    let test = try #require(TestSegment(fixed: 64 << 20))
    let segment = test.segment
    let count = UInt(32 << 20) >> Page.fragmentShift
    for _ in 0..<3 {
      let run = try #require(segment.claimRun(count))
      let end = run.address + 32 << 20
      for address in [run.address, run.address + 1, run.address + 20 << 20, end - 1] {
        #expect(segment.extent(at: address)?.head == run.address)
        #expect(segment.extent(at: address)?.count == count)
      }
      UnsafeMutablePointer<UInt8>(bitPattern: end - 1)!.pointee = 1
      #expect(segment.releaseRun(run.address, count))
    }
    #expect(segment.usedPages.loadRelaxed() == 0)
    #expect(segment.checkInvariants())
  }

  @Test func alignedRuns() throws {
    let test = try #require(TestSegment(elastic: 256 << 20))
    let segment = test.segment
    var alignment: UInt = 512
    while alignment <= 4 << 20 {
      for length in [UInt(1), 2, 3, 16, 33, 63, 64, 65, 100, 128, 1000] {
        let other = try #require(segment.claimRun(1))
        let run = try #require(segment.claimRun(length, alignment: alignment), "\(length) aligned to \(alignment)")
        try demand(run.address % alignment == 0, "\(length) aligned to \(alignment): \(run.address)")
        for fragment in [0, length / 2, length - 1] {
          let found = segment.extent(at: run.address + fragment << Page.fragmentShift)
          try demand(found?.head == run.address && found?.count == length, "\(length) aligned to \(alignment)")
        }
        try demand(segment.pointee.bitmap.usedCount() == Int(length) + 1, "\(length) aligned to \(alignment) took more")
        #expect(segment.releaseRun(run.address, length))
        #expect(segment.releaseRun(other.address, 1))
      }
      alignment *= 2
    }
    #expect(segment.pointee.bitmap.usedCount() == 0)
    #expect(segment.checkInvariants())
  }

  /// A second release of the same run, and a look at what is free, are told.
  @Test("T24: a second release of a run is told")
  func releasedRunsAreKnownToBeFree() throws {
    let test = TestSegment(pages: 6)
    let segment = test.segment
    for length in [UInt(1), 5, 63, 64, 65, 128, 130] {
      let guardRun = try #require(segment.claimRun(1))
      let run = try #require(segment.claimRun(length))
      #expect(segment.releaseRun(run.address, length))
      #expect(!segment.releaseRun(run.address, length), "a run of \(length) released twice")
      #expect(segment.extent(at: run.address) == nil)
      #expect(segment.releaseRun(guardRun.address, 1))
    }
    #expect(segment.checkInvariants())
  }

  /// A pool of short runs that grow and shrink in place, pages, aligned and long runs, against a plain list of who has what.
  @Test(arguments: [3, 17, 64])
  func randomOperationsAgainstAShadow(pages: Int) throws {
    var random = SplitMix64(seed: SplitMix64.seed("FragmentAllocator, \(pages) pages"))
    let test = TestSegment(pages: pages)
    let segment = test.segment
    var owner = [Int](repeating: 0, count: pages * perPage)  // 0: free
    var blocks: [Int: (first: Int, count: Int, isPages: Bool)] = [:]
    var names: [Int] = []
    var last = 0

    func take(_ first: Int, _ count: Int, isPages: Bool) throws {
      try demand(first >= 0 && first + count <= owner.count, "out of the segment")
      last += 1
      for fragment in first..<first + count {
        try demand(owner[fragment] == 0, "fragment \(fragment) given out twice")
        owner[fragment] = last
      }
      blocks[last] = (first, count, isPages)
      names.append(last)
    }
    for step in 0..<12_000 {
      switch random.below(12) {
      case 0...3:
        let count = random.below(4) == 0 ? 1 + random.below(3 * perPage) : 1 + random.below(perPage)
        if let run = segment.claimRun(UInt(count), from: UInt(random.below(pages))) {
          try take(test.number(run.address), count, isPages: false)
        } else if count <= perPage {
          var page = 0
          while page < pages {
            var free = 0, best = 0
            for fragment in page * perPage..<(page + 1) * perPage {
              free = owner[fragment] == 0 ? free + 1 : 0
              best = max(best, free)
            }
            try demand(best < count, "step \(step): a run of \(count) refused with \(best) free in page \(page)")
            page += 1
          }
        }
      case 4:
        let alignment: UInt = 512 << UInt(random.below(8))
        let count = 1 + random.below(2 * perPage)
        if let run = segment.claimRun(UInt(count), alignment: alignment) {
          try demand(run.address % alignment == 0, "step \(step): not aligned to \(alignment)")
          try take(test.number(run.address), count, isPages: false)
        }
      case 5:
        let count = 1 + random.below(3)
        if let run = segment.claimPages(UInt(count), from: UInt(random.below(pages))) {
          try take(test.number(run.address), count * perPage, isPages: true)
          for page in 0..<count {
            segment.entry(of: run.address + UInt(page) << Page.shift).setKind(.cache, pagesBack: UInt(page))
          }
        }
      case 6:
        guard let name = names.randomElement(using: &random), let block = blocks[name], !block.isPages else { break }
        let wanted = block.count + 1 + random.below(random.below(3) == 0 ? 2 * perPage : 8)
        if segment.extendRun(test.address(block.first), UInt(block.count), to: UInt(wanted)) {
          for fragment in block.first + block.count..<block.first + wanted {
            try demand(owner[fragment] == 0, "step \(step): grew into somebody")
            owner[fragment] = name
          }
          blocks[name]!.count = wanted
        }
      case 7:
        guard let name = names.randomElement(using: &random), let block = blocks[name], !block.isPages else { break }
        let wanted = 1 + random.below(block.count)
        if segment.shortenRun(test.address(block.first), UInt(block.count), to: UInt(wanted)) {
          for fragment in block.first + wanted..<block.first + block.count { owner[fragment] = 0 }
          blocks[name]!.count = wanted
        }
      default:
        guard !names.isEmpty else { break }
        let position = random.below(names.count)
        let name = names.remove(at: position)
        let block = blocks.removeValue(forKey: name)!
        if block.isPages {
          segment.releasePages(test.address(block.first), UInt(block.count / perPage))
        } else {
          let inside = test.address(block.first + random.below(block.count)) + UInt(random.below(256))
          try demand(test.release(inside), "step \(step): a run of \(block.count) not found from within")
        }
        for fragment in block.first..<block.first + block.count { owner[fragment] = 0 }
      }
      // All of it now and then, one fragment always.
      let all = step % 256 == 0
      for fragment in all ? Array(0..<owner.count) : [random.below(owner.count)] {
        let name = owner[fragment]
        try demand(segment.pointee.bitmap.isTaken(fragment) == (name != 0), "step \(step): bit of fragment \(fragment)")
        let found = segment.run(at: test.address(fragment))
        switch found {
        case .free: try demand(name == 0, "step \(step): fragment \(fragment) is \(name)'s")
        case .other: try demand(blocks[name]?.isPages == true, "step \(step): fragment \(fragment) is no page's")
        case .run(let head, let count):
          let block = blocks[name]
          try demand(
            block?.isPages == false && block?.first == test.number(head) && block?.count == Int(count),
            "step \(step): fragment \(fragment): found \(test.number(head))+\(count), is \(String(describing: block))")
        }
      }
      if all { try demand(segment.checkInvariants(), "step \(step)") }
    }
    for name in names {
      let block = blocks[name]!
      if block.isPages {
        segment.releasePages(test.address(block.first), UInt(block.count / perPage))
      } else {
        #expect(test.release(test.address(block.first)))
      }
    }
    #expect(segment.pointee.bitmap.usedCount() == 0)
    #expect(segment.usedPages.loadRelaxed() == 0)
    #expect(segment.checkInvariants())
  }

  /// A run that begins at a page grows over the pages behind it, and not into what is taken there.
  @Test(arguments: [10, 63, 64, 70, 128, 200])
  func runsGrowOverPages(count: UInt) throws {
    for wanted in [UInt(64), 65, 127, 128, 129, 256, 300] where wanted > count {
      let test = TestSegment(pages: 16)
      let segment = test.segment
      let run = try #require(segment.claimRun(count))
      #expect(segment.extendRun(run.address, count, to: wanted))
      #expect(segment.checkInvariants())
      guard case .run(let head, let found) = segment.run(at: run.address + wanted << Page.fragmentShift - 1) else {
        throw Broken(description: "no run of \(wanted)")
      }
      #expect(head == run.address && found == wanted)
      let pages = (wanted + 63) / 64
      #expect(segment.usedPages.loadRelaxed() == pages)
      // What is behind it stands in its way, and all stays as it was.
      let next = try #require(segment.claimRun(64))
      #expect(next.address == run.address + pages << Page.shift)
      #expect(!segment.extendRun(run.address, wanted, to: wanted + 64) && segment.checkInvariants())
      #expect(segment.usedPages.loadRelaxed() == pages + 1)
      #expect(segment.releaseRun(next.address, 64) && segment.releaseRun(run.address, wanted))
      #expect(segment.usedPages.loadRelaxed() == 0 && segment.checkInvariants())
      #expect(!segment.releaseRun(run.address, wanted))
    }
  }

  /// Threads whose runs lie in the same few pages: nobody's content is touched, nothing is lost. Long runs that share their
  /// last page with others' short ones included.
  @Test(arguments: [1, 4])
  func threadsInOnePage(pages: Int) throws {
    let seed = SplitMix64.seed("threadsInOnePage, \(pages) pages")
    let test = TestSegment(pages: pages)
    let shared = Shared(test.segment)
    let findings = Findings()
    TestThread.run(4) { number in
      findings.report {
        let segment = shared.value
        var random = SplitMix64(seed: seed &+ UInt64(number))
        var mine: [(run: UInt, count: Int, tag: UInt64)] = []
        for _ in 0..<20_000 {
          if random.below(2) == 0, mine.count < 6 {
            let count = pages > 1 && random.below(4) == 0 ? 60 + random.below(80) : 1 + random.below(12)
            guard let run = segment.claimRun(UInt(count)) else { continue }
            let tag = random.next()
            Pattern.fill(UnsafeMutableRawPointer(bitPattern: run.address)!, min(count * 256, 1024), tag)
            mine.append((run.address, count, tag))
          } else if !mine.isEmpty {
            let block = mine.remove(at: random.below(mine.count))
            try demand(
              Pattern.isIntact(UnsafeRawPointer(bitPattern: block.run)!, min(block.count * 256, 1024), block.tag),
              "thread \(number): a run of \(block.count) was written to")
            let found = segment.extent(at: block.run + UInt(random.below(block.count * 256)))
            try demand(
              found?.head == block.run && found?.count == UInt(block.count), "thread \(number): a run of \(block.count)"
            )
            try demand(segment.releaseRun(block.run, UInt(block.count)), "thread \(number): not the run's owner")
          }
        }
        for block in mine { try demand(segment.releaseRun(block.run, UInt(block.count)), "at the end") }
      }
    }
    #expect(findings.all == [])
    #expect(test.segment.pointee.bitmap.usedCount() == 0)
    #expect(test.segment.checkInvariants())
  }

  /// Of two threads that release one run, one is told that it was first.
  @Test func oneOfTwoReleasesWins() throws {
    let test = TestSegment(pages: 4)
    for length in [UInt(1), 7, 64, 130] {
      for _ in 0..<200 {
        let run = try #require(test.segment.claimRun(length))
        let shared = Shared(test.segment)
        let wins = Findings()
        TestThread.run(2) { _ in if shared.value.releaseRun(run.address, length) { wins.report("won") } }
        try demand(wins.all.count == 1, "a run of \(length) was released by \(wins.all.count) threads")
      }
    }
    #expect(test.segment.pointee.bitmap.usedCount() == 0)
  }
}
