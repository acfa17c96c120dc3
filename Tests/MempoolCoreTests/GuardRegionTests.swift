import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

@Suite struct GuardRegionTests {
  /// A region of a test's own, which watches no faults.
  final class TestRegion: Sendable {
    nonisolated(unsafe) let region: GuardRegionPointer
    init(slots: UInt, interval: UInt = 1) throws {
      region = .allocate(capacity: 1)
      region.initialize(to: GuardRegion())
      try demand(region.start(slotCount: slots), "no region")
      region.interval.storeRelaxed(interval)
    }
    deinit {
      region.destroy()
      region.deallocate()
    }
  }

  static let page = UInt(mp_system_page_size())
  static var call: CallName { CallName("free") }

  static func free(_ region: GuardRegionPointer, _ pointer: UnsafeMutableRawPointer) {
    let address = UInt(bitPattern: pointer)
    region.deallocate(region.locate(address, call), address, call)
  }

  @Test func everySizeLiesAtOneEndOfItsPage() throws {
    let test = try TestRegion(slots: 4)
    for byteCount in 0...SizeClass.largest {
      for turn in 0..<2 {
        let pointer = try #require(test.region.allocate(byteCount))
        let address = UInt(bitPattern: pointer), offset = address % Self.page
        let alignment: UInt = byteCount < 16 ? 8 : 16
        #expect(address % alignment == 0)
        if turn == 0 {
          #expect(Self.page - offset - max(byteCount, 1) < alignment, "\(byteCount) bytes, not at the end")
        } else {
          #expect(offset == 0, "\(byteCount) bytes, not at the start")
        }
        // All of it is the caller's, and nothing of what surrounds it counts as written.
        pointer.initializeMemory(as: UInt8.self, repeating: 0xff, count: Int(byteCount))
        #expect(test.region.object(at: address)?.byteCount == byteCount)
        Self.free(test.region, pointer)
      }
    }
    #expect(test.region.checkInvariants())
  }

  @Test func slotsAreUsedAgainInTheOrderInWhichTheyBecameFree() throws {
    var random = SplitMix64(seed: SplitMix64.seed("GuardRegion, queue"))
    let test = try TestRegion(slots: 16)
    let region = test.region
    var live: [UnsafeMutableRawPointer] = []
    var queue: [UInt] = (0..<16).map { $0 }
    func slot(_ pointer: UnsafeMutableRawPointer) -> UInt {
      (UInt(bitPattern: pointer) - region.startWord.loadRelaxed()) / Self.page / 2
    }
    var missed: UInt = 0
    for _ in 0..<5000 {
      if random.next() % 2 == 0 {
        let pointer = region.allocate(UInt(random.next() % 3000))
        if queue.isEmpty {
          #expect(pointer == nil)
          missed += 1
        } else {
          #expect(slot(try #require(pointer)) == queue.removeFirst())
          live.append(pointer!)
        }
      } else if !live.isEmpty {
        let pointer = live.remove(at: Int(random.next() % UInt64(live.count)))
        queue.append(slot(pointer))
        Self.free(region, pointer)
      }
      #expect(region.slots.liveCount == UInt(live.count) && region.missed.loadRelaxed() == missed)
      #expect((region.firstLive == nil) == live.isEmpty)
    }
    #expect(missed > 0 && region.checkInvariants())
  }

  @Test func aSystemThatRefusesCostsASample() async {
    await #expect(processExitsWith: .success) {
      let test = try TestRegion(slots: 2)
      mp_system_fail_every(1)
      mp_errno_set(99)
      let none = test.region.allocate(100)
      try demand(none == nil && mp_errno_get() == 99 && test.region.missed.loadRelaxed() == 1, "not refused")
      mp_system_fail_every(0)
      let pointer = test.region.allocate(100)
      mp_system_fail_every(1)
      Self.free(test.region, pointer!)
      mp_system_fail_every(0)
      try demand(test.region.allocate(10) != nil && test.region.checkInvariants(), "broken")
      let other = UnsafeMutablePointer<GuardRegion>.allocate(capacity: 1)
      other.initialize(to: GuardRegion())
      for n in [1, 2] as [UInt] {
        mp_system_fail_every(n)
        let started = other.start(slotCount: 8)
        mp_system_fail_every(0)
        try demand(!started && !other.contains(0) && other.pointee.objects == nil, "started without memory")
      }
    }
  }

  /// The object that a fault is told of: that of the page, or of the two beside a guard page the live one, or the nearer one.
  @Test func theObjectThatAFaultIsToldOf() throws {
    let test = try TestRegion(slots: 3)
    let region = test.region, start = region.startWord.loadRelaxed()
    #expect(region.nearestObject(start) == nil && region.nearestObject(start + Self.page) == nil)
    let first = try #require(region.allocate(Self.page - 16))  // at the end
    let second = try #require(region.allocate(100))  // at the start
    func nearest(_ page: UInt, _ offset: UInt) -> Int? {
      region.nearestObject(start + page * Self.page + offset).map { $0 - region.object(0) }
    }
    #expect(nearest(0, 5) == 0 && nearest(1, 5) == 0 && nearest(3, 2000) == 1 && nearest(4, 0) == 1)
    #expect(nearest(5, 0) == nil && nearest(6, 0) == nil)
    #expect(nearest(2, 0) == 0 && nearest(2, Self.page - 1) == 1)
    Self.free(region, first)
    #expect(nearest(2, 0) == 1, "the live one")
    Self.free(region, second)
    #expect(nearest(2, 0) == 0 && nearest(2, Self.page - 1) == 1)
    #expect(!region.contains(start - 1) && region.contains(start) && !region.contains(start + 7 * Self.page))
    #expect(!region.report(faultAt: start - 1, access: 1))
  }

  /// One in n, whatever n: the counts from sample to sample have this mean, and a thread's first allocations are as likely as others.
  @Test(arguments: [1, 2, 3, 10, 1000] as [UInt])
  func oneInN(_ n: UInt) throws {
    let test = try TestRegion(slots: 1, interval: n)
    let rounds = 200_000
    var sum = 0.0
    var gaps = Set<UInt>()
    for _ in 0..<rounds {
      let gap = test.region.gap
      try demand((1..<2 * n).contains(gap), "a gap of \(gap)")
      sum += Double(gap)
      gaps.insert(gap)
    }
    // Six standard deviations of the mean.
    let deviation = Double(n) / 3.0.squareRoot() / Double(rounds).squareRoot()
    #expect(abs(sum / Double(rounds) - Double(n)) <= 6 * deviation)
    if n <= 10 { #expect(gaps == Set(1..<2 * n)) }
    // Of the first n allocations of many threads each is sampled as often: once in n threads.
    var sampled = [Int](repeating: 0, count: Int(min(n, 10)))
    for _ in 0..<rounds {
      var next = Int(test.region.firstGap) - 1
      while next < sampled.count {
        sampled[next] += 1
        next += Int(test.region.gap)
      }
    }
    let expected = Double(rounds) / Double(n)
    for count in sampled { #expect(abs(Double(count) - expected) <= 6 * expected.squareRoot() + 1) }
  }

  @Test func threadsTogether() throws {
    let test = try TestRegion(slots: 24)
    let findings = Findings()
    TestThread.run(8) { number in
      var random = SplitMix64(seed: UInt64(number))
      var mine: [(UnsafeMutablePointer<UInt8>, Int)] = []
      for _ in 0..<2000 {
        if random.next() % 2 == 0, let pointer = test.region.allocate(UInt(random.next() % 500)) {
          let count = Int(test.region.object(at: UInt(bitPattern: pointer))!.byteCount)
          let bytes = pointer.assumingMemoryBound(to: UInt8.self)
          bytes.update(repeating: UInt8(number), count: count)
          mine.append((bytes, count))
        } else if let (bytes, count) = mine.popLast() {
          if (0..<count).contains(where: { bytes[$0] != UInt8(number) }) { findings.report("another's") }
          Self.free(test.region, UnsafeMutableRawPointer(bytes))
        }
      }
      for (bytes, _) in mine { Self.free(test.region, UnsafeMutableRawPointer(bytes)) }
    }
    #expect(findings.all == [])
    #expect(test.region.slots.liveCount == 0 && test.region.checkInvariants())
  }

  /// Threads that free one object together: one of them does.
  @Test func oneFreesIt() throws {
    let test = try TestRegion(slots: 2), word = GuardSlotsTests.Words(2), findings = Findings()
    let rounds = 1000, threads = 4
    let gate = ThreadGate(threads)
    TestThread.run(threads) { number in
      let region = test.region
      for round in 0..<rounds {
        if number == 0 { word[0].storeRelaxed(UInt(bitPattern: region.allocate(UInt(16 + round % 1000)))) }
        gate.arrive()
        let address = word[0].loadRelaxed()
        guard let object = region.object(at: address) else { return findings.report("no object") }
        if region.take(object, address) {
          if object.address != address { findings.report("another object") }
          object.end(Backtrace.here())
          region.slots.release(region.slot(object))
          _ = word[1].fetchAddRelaxed(1)
          // What lives on the other page meanwhile is not taken for it.
          if let pointer = region.allocate(32) { Self.free(region, pointer) }
        }
        gate.arrive()
      }
    }
    #expect(findings.all == [])
    #expect(word[1].loadRelaxed() == UInt(rounds) && test.region.checkInvariants())
  }

  @Test func backtracesKnowTheirThread() {
    let here = Backtrace.here()
    #expect(here.thread == UInt(mp_thread_id()) && here.count > 0 && here.count <= Int(MP_FRAMES))
    let findings = Findings()
    TestThread.run { if Backtrace.here().thread == here.thread { findings.report("the same number") } }
    #expect(findings.all == [])
  }
}

/// The shared pool with the environment's MEMPOOL_GUARD_SAMPLE, each time in a process of its own.
@Suite struct GuardSamplingTests {
  @Test func everyFirstAllocationOfAThreadIsSampledWhenAllAre() async {
    await #expect(processExitsWith: .success) {
      setenv("MEMPOOL_GUARD_SAMPLE", "1", 1)
      let pool = MemoryPoolPointer.shared
      let first = pool.allocate(100)!
      try demand(pool.owns(first) && GuardRegionPointer.process.contains(UInt(bitPattern: first)), "the first is not")
      try demand(pool.usableSize(of: first) == 100, "another size")
      let findings = Findings()
      TestThread.run(4) { _ in
        let pool = MemoryPoolPointer.shared
        let pointer = pool.allocate(100)!
        if !GuardRegionPointer.process.contains(UInt(bitPattern: pointer)) {
          findings.report("a thread's first is not")
        }
        pool.deallocate(pointer)
      }
      try demand(findings.all == [], "\(findings.all)")
      let statistics = pool.statistics()
      try demand(statistics.guardedCount == 5 && statistics.guardedLiveCount == 1, "wrong counts")
      try demand(statistics.brokenInvariant(isQuiescent: false) == nil, "broken")
      pool.deallocate(first)
      try demand(pool.checkInvariants(), "invariants")
    }
  }

  @Test func oneInN() async {
    await #expect(processExitsWith: .success) {
      setenv("MEMPOOL_GUARD_SAMPLE", "50", 1)
      let pool = MemoryPoolPointer.shared
      // Taken and given back over and over, and many before one is given back.
      for _ in 0..<200_000 { pool.deallocate(pool.allocate(32)) }
      var objects = [UnsafeMutableRawPointer?](repeating: nil, count: 1000)
      for _ in 0..<100 {
        for index in objects.indices { objects[index] = pool.allocate(UInt(index * 4)) }
        for object in objects { pool.deallocate(object) }
      }
      let statistics = pool.statistics()
      let count = Double(statistics.guardedCount + statistics.guardedMissedCount)
      // 300,000 small objects, less those of 3,841 bytes and more: 39 of each 1,000. A standard deviation is 45.
      let expected = (200_000 + 100.0 * 961) / 50
      try demand(abs(count - expected) < 6 * 45, "\(count) samples, not \(expected)")
      try demand(statistics.guardedLiveCount == 0 && pool.checkInvariants(), "invariants")
    }
  }

  @Test func otherPoolsAreNotSampled() async {
    await #expect(processExitsWith: .success) {
      setenv("MEMPOOL_GUARD_SAMPLE", "1", 1)
      let test = try TestPool(.elastic)
      MemoryPoolPointer.shared.deallocate(MemoryPoolPointer.shared.allocate(10))
      let pointer = test.pool.allocate(100)!
      try demand(!GuardRegionPointer.process.contains(UInt(bitPattern: pointer)), "sampled")
      test.pool.deallocate(pointer)
      try demand(test.pool.statistics().guardedCount == 0, "counted")
    }
  }

  /// Forked while threads are in the middle of a call: what they had claimed is free in the child, and faults; nobody waits for them.
  @Test func aForkInTheMiddle() async {
    await #expect(processExitsWith: .success) {
      setenv("MEMPOOL_GUARD_SAMPLE", "1", 1)
      setenv("MEMPOOL_GUARD_SLOTS", "8", 1)
      try Forks.inside {
        let pool = MemoryPoolPointer.shared, region = GuardRegionPointer.process, slots = region.slots
        let kept = pool.allocate(100)!, freed = pool.allocate(200)!, half = pool.allocate(300)!
        // Threads that are gone stand for those that are not in the child. One has claimed a slot; one has written its object's record, too;
        // one has begun to free, one has written that, too; one is in the middle of a record.
        let objects = Shared([freed, half])
        TestThread.run {
          let region = GuardRegionPointer.process, slots = region.slots
          _ = slots.claim()
          let claim = slots.claim()!
          region.object(claim.slot).become(region.page(claim.slot), 16, Backtrace.here())
          let other = region.object(slots.claim()!.slot)
          other.become(0x1000, 17, Backtrace.here())
          other.version.storeRelaxed(other.version.loadRelaxed() + 1)
          for pointer in objects.value {
            let address = UInt(bitPattern: pointer), object = region.object(at: address)!
            if !region.take(object, address) { fatalError("not taken") }
            if address == UInt(bitPattern: objects.value[0]) { object.end(Backtrace.here()) }
          }
          region.reporter.storeRelaxed(1)
        }
        // This thread was interrupted by a signal, whose handler forks: it goes on, here and there.
        let own = slots.claim()!
        let status = Forks.child {
          guard slots.liveCount == 1, slots.isClaimed(own.slot), region.reporter.loadRelaxed() == 0 else { return 1 }
          slots.cancel(own)
          guard region.checkInvariants() else { return 2 }
          // What had been finished is known; what had not, is not.
          let freedHistory = region.object(at: UInt(bitPattern: freed))!.history
          guard freedHistory?.byteCount == 200, freedHistory?.isLive == false else { return 3 }
          guard region.object(at: UInt(bitPattern: half))!.history?.address == 0 else { return 4 }
          // All but one slot are free; the eighth object finds none.
          let more = (0..<8).map { _ in pool.allocate(50)! }
          let guarded = more.filter { region.contains(UInt(bitPattern: $0)) }
          guard guarded.count == 7, slots.liveCount == 8 else { return 5 }
          for pointer in more + [kept] { pool.deallocate(pointer) }
          return slots.liveCount == 0 && region.checkInvariants() ? 0 : 6
        }
        try demand(status == 0, "the child: status \(status)")
        slots.cancel(own)
        try demand(slots.liveCount == 1 && pool.usableSize(of: kept) == 100, "not as before")
        pool.deallocate(kept)
      }
    }
  }

  @Test func offThereIsNoRegion() async {
    await #expect(processExitsWith: .success) {
      unsetenv("MEMPOOL_GUARD_SAMPLE")
      let pool = MemoryPoolPointer.shared
      let pointer = pool.allocate(100)!
      try demand(GuardRegionPointer.process.byteCount.loadRelaxed() == 0, "a region")
      try demand(threadBlock().pointee.heap == threadBlock().pointee.real_heap, "no usual case")
      pool.deallocate(pointer)
    }
  }

  @Test func aRegionThatIsRefusedIsAWarning() async {
    await #expect(processExitsWith: .success) {
      setenv("MEMPOOL_GUARD_SAMPLE", "1", 1)
      setenv("MEMPOOL_GUARD_SLOTS", "8192", 1)
      mp_system_reserve_limit(16 << 20)
      setenv("MEMPOOL_RESERVE", "16M", 1)
      let pool = MemoryPoolPointer.shared
      let lines = EnvironmentTests.capturing { pool.deallocate(pool.allocate(100)) }
      try demand(
        lines == ["mempool: MEMPOOL_GUARD_SAMPLE=\"1\": the system refuses it (errno 12); using 0"], "\(lines)")
      try demand(pool.statistics().guardedCount == 0 && pool.checkInvariants(), "sampled")
    }
  }
}
