import CMempoolShims
import Foundation
import MempoolCore

/// One thread of a run: claims, holds, frees, and counts what it did. Used by that thread alone until it has ended.
///
/// What is done to a cell is what `AtomicBitmap` does, by the same orders; a test compares what both leave in the cells. The
/// lease, and all waits but the sleep, are this module's own.
final class ClaimThread<Counting: Tally>: @unchecked Sendable {
  private let setup: ClaimSetup
  private let arena: ClaimArena
  private let number: Int
  private let range: Range<Int>
  private let start: Int
  private let inbox: Mailbox
  private let outbox: Mailbox
  private let workSteps: Int
  private let pausesPerWait: Int
  private let clockNanoseconds: UInt64
  private let crossFreeBound: UInt64
  // The items that are held, in the order in which they came; -1: none yet. In lines that nothing of another thread is in.
  let heldItems: UnsafeMutablePointer<Int>
  private var heldPlace = 0
  // leased & ~cell(leasedCell) == 0: what is leased is taken in the eyes of everybody else.
  private var leased: UInt = 0
  private var leasedCell = -1
  private var random: SplitMix64
  private(set) var counters = ClaimCounters()
  private(set) var latencies = LatencyHistogram()
  private(set) var begin: UInt64 = 0
  private(set) var end: UInt64 = 0

  /// One claim in so many is timed: a prime, so that it falls in step with nothing.
  static var samplePeriod: Int { 61 }

  init(_ setup: ClaimSetup, _ arena: ClaimArena, number: Int, seed: UInt64, calibration: Calibration) {
    self.setup = setup
    self.arena = arena
    self.number = number
    (range, start) = setup.cells(ofThread: number)
    inbox = arena.mailbox(ofThread: number)
    outbox = arena.mailbox(ofThread: (number + 1) % setup.threads)
    workSteps = calibration.steps(setup.workNanoseconds)
    pausesPerWait = calibration.pauses(setup.waitNanoseconds)
    clockNanoseconds = UInt64(calibration.clockNanoseconds.rounded())
    // Of one thread no free is another's.
    crossFreeBound = setup.threads == 1 ? 0 : UInt64(setup.crossFree * 0x1p32)
    let heldBytes = (setup.held * MemoryLayout<Int>.stride + 127) / 128 * 128
    heldItems = UnsafeMutableRawPointer.allocate(byteCount: heldBytes, alignment: 128)
      .initializeMemory(as: Int.self, repeating: -1, count: setup.held)
    random = SplitMix64(seed: seed &+ UInt64(number) &* 0x1_0000)
  }

  deinit { UnsafeMutableRawPointer(heldItems).deallocate() }

  // MARK: The loop

  /// Works until it is told to stop, or has done so many operations; and measures itself.
  func run(operationLimit: UInt64 = .max) {
    let before = ThreadUsage()
    begin = mp_clock_nanoseconds()
    _ = arena.begun.fetchAddRelaxed(1)
    var untilSample = Self.samplePeriod - number % Self.samplePeriod
    while arena.stop.loadRelaxed() == 0, counters.operations < operationLimit {
      if let item = inbox.take() {
        release(item)
        if Counting.counts { counters.remoteFrees &+= 1 }
      }
      untilSample &-= 1
      let item: Int?
      if untilSample == 0 {
        untilSample = Self.samplePeriod
        let start = mp_clock_nanoseconds()
        item = claim()
        let taken = mp_clock_nanoseconds() &- start
        latencies.record(taken > clockNanoseconds ? taken &- clockNanoseconds : 0)
      } else {
        item = claim()
      }
      let oldest = heldItems[heldPlace]
      if let item {
        counters.operations &+= 1
        if Counting.checksOwners { check(item, from: 0, to: UInt(number) + 1) }
        heldItems[heldPlace] = item
      } else {
        counters.failures &+= 1
        heldItems[heldPlace] = -1
      }
      heldPlace = heldPlace &+ 1 == setup.held ? 0 : heldPlace &+ 1
      if oldest >= 0 { dispose(oldest) }
      if workSteps > 0 { Calibration.compute(workSteps) }
    }
    end = mp_clock_nanoseconds()
    let usage = ThreadUsage()
    counters.processorNanoseconds = usage.processorNanoseconds - before.processorNanoseconds
    counters.voluntarySwitches = usage.voluntarySwitches - before.voluntarySwitches
    counters.involuntarySwitches = usage.involuntarySwitches - before.involuntarySwitches
    guard operationLimit != .max else { return }
    // Others are not done yet, and hand this thread items that they wait for.
    finish()
    _ = arena.finished.fetchAddRelaxed(1)
    while arena.finished.loadRelaxed() < UInt(setup.threads) {
      while let item = inbox.take() { release(item) }
      sched_yield()
    }
  }

  /// Gives everything back, when no other thread hands this one anything any more.
  func finish() {
    for place in 0..<setup.held where heldItems[place] >= 0 {
      release(heldItems[place])
      heldItems[place] = -1
    }
    while let item = inbox.take() { release(item) }
    if leased != 0 { _ = arena.cell(leasedCell).fetchAndRelease(~leased) }  // release: pairs with a claim
    leased = 0
    leasedCell = -1
  }

  /// Frees an item, or has the next thread do it.
  @inline(__always)
  private func dispose(_ item: Int) {
    if crossFreeBound > 0, random.next() >> 32 < crossFreeBound {
      if outbox.put(item) { return }
      if Counting.counts { counters.freesKeptBack &+= 1 }
    }
    release(item)
  }

  @inline(__always)
  private func check(_ item: Int, from old: UInt, to new: UInt) {
    let found = AtomicPointer(arena.owners + item).exchangeAcquireRelease(new)  // acquire-release: pairs with itself
    if old == 0 ? found != 0 : found == 0 { counters.wrongItems &+= 1 }
  }

  // MARK: Claiming

  @inline(__always)
  func claim() -> Int? {
    if setup.claimProtocol == .lease, leased != 0 { return takeLeased() }
    if let item = pass() { return item }
    return waitAndPass()
  }

  @inline(__always)
  private func takeLeased() -> Int {
    let bit = leased.trailingZeroBitCount
    leased &= leased &- 1
    return leasedCell &* Cell.itemCount &+ bit
  }

  /// Looks at every cell that this thread may claim in, once.
  @inline(__always)
  private func pass() -> Int? {
    var index = start
    repeat {
      if Counting.counts { counters.attempts &+= 1 }
      let cell = arena.cell(index)
      switch setup.claimProtocol {
      case .exchange:
        let copy = cell.exchangeAcquire(Cell.busy)  // acquire: pairs with a release
        if copy != Cell.busy {
          let bit = (~copy).trailingZeroBitCount
          // release: pairs with a claim, for what the items given back held when this thread took them
          _ = cell.fetchAndRelease(copy | 1 &<< UInt(bit))
          return index &* Cell.itemCount &+ bit
        }
      case .compareAndSwap:
        var seen = cell.loadRelaxed()
        while seen != Cell.busy {
          let bit = (~seen).trailingZeroBitCount
          let found = cell.compareAndSwapAcquire(seen, seen | 1 &<< UInt(bit))  // acquire: pairs with a release
          if found == seen { return index &* Cell.itemCount &+ bit }
          seen = found
          if Counting.counts { counters.lostSwaps &+= 1 }
        }
      case .lease:
        // A cell that is full is only looked at.
        if cell.loadRelaxed() != Cell.busy {
          let copy = cell.exchangeAcquire(Cell.busy)  // acquire: pairs with a release
          if copy != Cell.busy {
            leased = ~copy
            leasedCell = index
            if Counting.counts { counters.leases &+= 1 }
            return takeLeased()
          }
        }
      }
      if Counting.counts { counters.failedAttempts &+= 1 }
      index = index &+ 1 == range.upperBound ? range.lowerBound : index &+ 1
    } while index != start
    return nil
  }

  @inline(__always)
  func release(_ item: Int) {
    if Counting.checksOwners { check(item, from: 1, to: 0) }
    let index = item / Cell.itemCount
    let bit: UInt = 1 &<< UInt(item % Cell.itemCount)
    if setup.claimProtocol == .lease, index == leasedCell {
      leased |= bit
      return
    }
    _ = arena.cell(index).fetchAndRelease(~bit)  // release: pairs with a claim
    if setup.wait == .futex, arena.waiters.loadRelaxed() != 0 { wake() }
  }

  // MARK: Waiting

  @inline(never)
  private func waitAndPass() -> Int? {
    guard setup.maxRetries > 0 else { return nil }
    // Once for all waits of a claim: around each, the clock would take longer than a spin.
    let begin = Counting.counts ? mp_clock_nanoseconds() : 0
    defer { if Counting.counts { counters.waitNanoseconds &+= mp_clock_nanoseconds() &- begin } }
    for retry in 0..<setup.maxRetries {
      // Who waits for long is told to stop, too.
      if arena.stop.loadRelaxed() != 0 { return nil }
      wait(retry)
      if Counting.counts { counters.retries &+= 1 }
      if let item = pass() { return item }
    }
    return nil
  }

  private func wait(_ retry: Int) {
    switch setup.wait {
    case .sleep: mp_sleep_nanoseconds(UInt64(setup.waitNanoseconds))
    case .spin: break
    case .pause: for _ in 0..<pausesPerWait { mp_pause() }
    case .yield: sched_yield()
    case .exponential: for _ in 0..<1 << min(retry, 10) { mp_pause() }
    case .futex:
      // Whoever frees between these two and the wait changes the word or has not seen the waiter; then the time ends it.
      let seen = arena.frees.loadRelaxed()
      _ = arena.waiters.fetchAddRelaxed(1)
      mp_futex_wait_for(arena.freesWord, seen, UInt64(setup.waitNanoseconds))
      _ = arena.waiters.fetchAddRelaxed(~0)
    }
  }

  @inline(never)
  private func wake() {
    _ = arena.frees.fetchAddRelaxed(1)
    mp_futex_wake(arena.freesWord, 1)
  }
}

/// What the kernel says of the calling thread.
private struct ThreadUsage {
  let processorNanoseconds: UInt64
  let voluntarySwitches: UInt64
  let involuntarySwitches: UInt64

  init() {
    var usage = rusage()
    getrusage(__rusage_who_t(1), &usage)  // RUSAGE_THREAD, a macro that Swift does not see
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    processorNanoseconds = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    voluntarySwitches = UInt64(usage.ru_nvcsw)
    involuntarySwitches = UInt64(usage.ru_nivcsw)
  }
}
