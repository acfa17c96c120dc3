import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct GuardSlotsTests {
  final class TestSlots: Sendable {
    nonisolated(unsafe) let slots: GuardSlotsPointer
    nonisolated(unsafe) let states: UnsafeMutablePointer<AtomicWord>
    init(_ count: Int) {
      slots = .allocate(capacity: 1)
      slots.initialize(to: GuardSlots())
      states = .allocate(capacity: count)
      states.initialize(repeating: AtomicWord(), count: count)
      slots.start(states, count: UInt(count))
    }
    deinit {
      slots.deallocate()
      states.deallocate()
    }
  }

  /// Words of a test's own that threads share.
  final class Words: Sendable {
    nonisolated(unsafe) private let words: UnsafeMutablePointer<AtomicWord>
    init(_ count: Int) {
      words = .allocate(capacity: count)
      words.initialize(repeating: AtomicWord(), count: count)
    }
    deinit { words.deallocate() }
    subscript(index: UInt) -> AtomicPointer { AtomicPointer(words, word: Int(index)) }
  }

  /// Against a queue: one thread gets the slot that has been free for longest, always.
  @Test(arguments: [1, 2, 3, 16, 200])
  func aQueue(_ count: Int) throws {
    var random = SplitMix64(seed: SplitMix64.seed("GuardSlots, queue of \(count)"))
    let test = TestSlots(count), slots = test.slots
    var queue = (0..<UInt(count)).map { $0 }
    var live: [UInt] = []
    for _ in 0..<5000 {
      switch random.below(8) {
      case 0...3:
        let claim = slots.claim()
        try demand(claim?.slot == queue.first, "\(claim?.slot as UInt?), not \(queue.first as UInt?)")
        guard let claim else { break }
        try demand(slots.isClaimed(claim.slot) && slots.object(in: claim.slot) == nil, "claimed, and live")
        if random.below(8) == 0 {
          // It stays the first.
          slots.cancel(claim)
          break
        }
        slots.publish(claim)
        live.append(queue.removeFirst())
      default:
        guard !live.isEmpty else { break }
        let slot = live.remove(at: random.below(live.count))
        let object = try #require(slots.object(in: slot))
        try demand(slots.take(slot, object) && slots.isClaimed(slot), "not taken")
        try demand(!slots.take(slot, object), "taken twice")
        slots.release(slot)
        try demand(!slots.take(slot, object), "taken when it is free")
        queue.append(slot)
      }
      try demand(slots.liveCount == UInt(live.count), "a wrong count")
      try demand(slots.checkInvariants(), "broken")
    }
  }

  /// An object's word is no other object's, though the slot is the same.
  @Test func whoComesTooLateTakesNoOther() throws {
    let test = TestSlots(1), slots = test.slots
    var former: Set<UInt> = []
    for _ in 0..<100 {
      let claim = try #require(slots.claim())
      slots.publish(claim)
      for word in former { try demand(!slots.take(0, word), "another's object is taken") }
      let word = try #require(slots.object(in: 0))
      try demand(slots.take(0, word), "not taken")
      slots.release(0)
      former.insert(word)
    }
    #expect(former.count == 100)
  }

  /// Few slots and many threads: nobody gets what another has, and every try is either a claim or none.
  @Test(arguments: [1, 3, 7])
  func noSlotIsOwnedTwice(_ count: Int) throws {
    let test = TestSlots(count), owners = Words(count), claims = Words(2), findings = Findings()
    let threads = 8, turns = 20_000
    TestThread.run(threads) { number in
      let slots = test.slots, self1 = UInt(number) + 1
      for turn in 0..<turns {
        guard let claim = slots.claim() else {
          _ = claims[1].fetchAddRelaxed(1)
          continue
        }
        _ = claims[0].fetchAddRelaxed(1)
        if owners[claim.slot].compareAndSwapRelaxed(0, self1) != 0 { findings.report("another's slot") }
        // Not much is tried while it is claimed: others find it so.
        if turn % 7 == 0 { yieldThread() }
        if turn % 5 == 0 {
          owners[claim.slot].storeRelaxed(0)
          slots.cancel(claim)
          continue
        }
        slots.publish(claim)
        guard let object = slots.object(in: claim.slot), slots.take(claim.slot, object) else {
          findings.report("somebody took it")
          continue
        }
        if owners[claim.slot].compareAndSwapRelaxed(self1, 0) != self1 { findings.report("it was given away") }
        slots.release(claim.slot)
      }
    }
    #expect(findings.all == [])
    #expect(claims[0].loadRelaxed() + claims[1].loadRelaxed() == UInt(threads * turns))
    #expect(test.slots.liveCount == 0 && test.slots.checkInvariants())
    // None is lost.
    let all = (0..<count).compactMap { _ in test.slots.claim()?.slot }
    #expect(Set(all) == Set(0..<UInt(count)) && test.slots.claim() == nil)
  }

  /// Many try to give one object back: one does.
  @Test func oneGivesItBack() throws {
    let test = TestSlots(4), word = Words(1), wins = Words(1), findings = Findings()
    let threads = 4, rounds = 2000
    let gate = ThreadGate(threads)
    TestThread.run(threads) { number in
      for _ in 0..<rounds {
        if number == 0 {
          guard let claim = test.slots.claim() else { return findings.report("no slot") }
          test.slots.publish(claim)
          word[0].storeRelaxed(claim.slot)
        }
        gate.arrive()
        let slot = word[0].loadRelaxed()
        if let object = test.slots.object(in: slot), test.slots.take(slot, object) {
          _ = wins[0].fetchAddRelaxed(1)
          test.slots.release(slot)
        }
        gate.arrive()
      }
    }
    #expect(findings.all == [])
    #expect(wins[0].loadRelaxed() == UInt(rounds) && test.slots.liveCount == 0)
  }

  /// Threads that take and give back: what is claimed has been free for long. Not always the longest, as they pass each other.
  @Test func whatHasBeenFreeForLongComesFirst() throws {
    let count = 64
    let test = TestSlots(count), since = Words(count), clock = Words(1), young = Words(1)
    let threads = 4, turns = 50_000
    TestThread.run(threads) { _ in
      for _ in 0..<turns {
        guard let claim = test.slots.claim() else { continue }
        let now = clock[0].fetchAddRelaxed(1), then = since[claim.slot].loadRelaxed()
        // At most 4 slots are in use, so some 60 others become free before one is used again.
        if then != 0, now &- then < UInt(count) / 2 { _ = young[0].fetchAddRelaxed(1) }
        test.slots.publish(claim)
        since[claim.slot].storeRelaxed(clock[0].loadRelaxed())
        if let object = test.slots.object(in: claim.slot), test.slots.take(claim.slot, object) {
          test.slots.release(claim.slot)
        }
      }
    }
    #expect(clock[0].loadRelaxed() == UInt(threads * turns), "some claim found nothing")
    #expect(young[0].loadRelaxed() < UInt(threads * turns) / 100, "used again too soon")
  }

  /// Threads that never come back from the middle of a call keep a slot each, and nobody waits for them.
  @Test func whoStopsKeepsASlotAndNothingElse() throws {
    let test = TestSlots(4), slots = test.slots
    let object = try #require(slots.claim())
    slots.publish(object)
    TestThread.run { _ = test.slots.claim() }
    TestThread.run { _ = test.slots.take(object.slot, test.slots.object(in: object.slot) ?? 0) }
    #expect(slots.isClaimed(0) && slots.isClaimed(1))
    for turn in 0..<1000 {
      let first = try #require(slots.claim())
      let second = try #require(slots.claim())
      try demand(slots.claim() == nil, "a third one in turn \(turn)")
      try demand(first.slot >= 2 && second.slot >= 2 && first.slot != second.slot, "not these")
      for claim in [first, second] {
        slots.publish(claim)
        try demand(slots.take(claim.slot, slots.object(in: claim.slot) ?? 0), "not taken")
        slots.release(claim.slot)
      }
    }
    #expect(slots.liveCount == 0)
  }

  /// In a forked child what other threads had claimed is free, and what this one had claimed is not.
  @Test func recovery() throws {
    let test = TestSlots(5), slots = test.slots
    let live = try #require(slots.claim())
    slots.publish(live)
    let taken = try #require(slots.claim())
    slots.publish(taken)
    TestThread.run {
      _ = test.slots.claim()
      _ = test.slots.take(taken.slot, test.slots.object(in: taken.slot) ?? 0)
    }
    let own = try #require(slots.claim())
    _ = try #require(slots.claim())
    #expect(slots.claim() == nil)
    var handed: [UInt] = []
    slots.recoverAfterFork { slot in
      #expect(slots.isClaimed(slot))
      handed.append(slot)
    }
    #expect(handed == [1, 2] && slots.object(in: live.slot) != nil && slots.isClaimed(own.slot))
    // As the longest free ones now.
    #expect(slots.claim()?.slot == 1 && slots.claim()?.slot == 2 && slots.claim() == nil)
    slots.publish(own)
    #expect(slots.liveCount == 2)
  }
}
