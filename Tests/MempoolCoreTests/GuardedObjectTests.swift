import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct GuardedObjectTests {
  private static func backtrace() -> Backtrace { Backtrace.here() }

  private static func frames(_ backtrace: Backtrace) -> [UInt] {
    (0..<backtrace.count).map { backtrace.frames[$0] }
  }

  @Test func whatIsWrittenIsRead() throws {
    let object = GuardedObjectPointer.allocate(capacity: 1)
    defer { object.deallocate() }
    object.initialize(to: GuardedObject())
    #expect(object.history?.address == 0 && !object.isLive && object.isWhole)
    let first = Self.backtrace(), second = Backtrace.here()
    object.become(0x1000, 100, first)
    #expect(object.address == 0x1000 && object.byteCount == 100 && object.behind == 0x1064 && object.isLive)
    #expect(object.distance(to: 0xff0) == 16 && object.distance(to: 0x1063) == 0 && object.distance(to: 0x1070) == 12)
    let live = try #require(object.history)
    #expect(live.address == 0x1000 && live.byteCount == 100 && live.behind == 0x1064 && live.isLive)
    #expect(live.allocation.thread == first.thread && Self.frames(live.allocation) == Self.frames(first))
    object.end(second)
    let freed = try #require(object.history)
    #expect(freed.address == 0x1000 && !freed.isLive && Self.frames(freed.allocation) == Self.frames(first))
    #expect(freed.deallocation.thread == second.thread && Self.frames(freed.deallocation) == Self.frames(second))
    object.forget()
    #expect(object.history?.address == 0)
  }

  /// A thread that has stopped in the middle: nothing is told, until a forked child forgets it.
  @Test func whatIsHalfWrittenIsNotRead() {
    let object = GuardedObjectPointer.allocate(capacity: 1)
    defer { object.deallocate() }
    object.initialize(to: GuardedObject())
    object.become(0x1000, 100, Backtrace())
    object.version.storeRelaxed(object.version.loadRelaxed() + 1)
    object.byteCountWord.storeRelaxed(200)
    #expect(object.history == nil && !object.isWhole)
    object.forget()
    #expect(object.isWhole && object.history?.address == 0)
  }

  /// One thread's objects come and go on one page while others copy what is known of it: each copy is of one of them.
  @Test func copiesAreOfOneObject() throws {
    let test = try GuardRegionTests.TestRegion(slots: 1), isOver = GuardSlotsTests.Words(1), findings = Findings()
    let copies = GuardSlotsTests.Words(2)
    TestThread.run(3) { number in
      let region = test.region, object = region.object(0), page = region.page(0)
      if number == 0 {
        // Until somebody has seen a live object and one that was not, as others may get no processor meanwhile.
        for turn in 0..<1_000_000 where turn < 4000 || copies[0].loadRelaxed() == 0 || copies[1].loadRelaxed() == 0 {
          // By turns at the end and at the start of the page: even and odd numbers of lines of 16 bytes.
          let byteCount = UInt(16 * (2 + turn % 2 + turn % 100 / 2 * 2))
          guard let pointer = region.allocate(byteCount) else { return findings.report("no slot") }
          GuardRegionTests.free(region, pointer)
        }
        return isOver[0].storeRelaxed(1)
      }
      while isOver[0].loadRelaxed() == 0 {
        guard let copy = object.history, copy.address != 0 else { continue }
        _ = copies[copy.isLive ? 1 : 0].fetchAddRelaxed(1)
        let isAtEnd = copy.byteCount / 16 % 2 == 0
        if copy.byteCount % 16 != 0
          || copy.address != (isAtEnd ? page + GuardRegionTests.page - copy.byteCount : page)
        {
          findings.report("\(copy.byteCount) bytes at \(copy.address - page)")
        }
        if copy.allocation.count == 0 || !copy.isLive && copy.allocation.thread != copy.deallocation.thread {
          findings.report("no backtrace, or another's")
        }
      }
    }
    #expect(findings.all == [])
    #expect(copies[0].loadRelaxed() > 0 && copies[1].loadRelaxed() > 0)
  }
}
