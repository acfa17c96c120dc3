import MempoolCore
import Testing

@testable import MempoolStudy

@Suite struct ClaimRunTests {
  static let calibration = Calibration(clockNanoseconds: 20, stepsPerNanosecond: 1, pausesPerNanosecond: 0.1)

  private func run(_ setup: ClaimSetup, operations: UInt64 = 300) throws -> ClaimRun.Result {
    try ClaimRun.run(
      setup, CheckedTally.self, seconds: 0, operationLimit: operations, seed: 1, calibration: Self.calibration)
  }

  /// Four threads on six cells of five items, some frees another thread's: no item has two owners, and none is lost.
  @Test(arguments: ClaimSetup.ClaimProtocol.allCases, ClaimSetup.Placement.allCases)
  func everyItemHasOneOwner(claimProtocol: ClaimSetup.ClaimProtocol, placement: ClaimSetup.Placement) throws {
    for wait in ClaimSetup.Wait.allCases {
      let setup = ClaimSetup().with {
        $0.claimProtocol = claimProtocol
        $0.placement = placement
        $0.wait = wait
        $0.threads = 4
        $0.cells = 6
        $0.itemsPerCell = 5
        $0.held = 3
        $0.crossFree = 0.3
        $0.cellsPerLine = 8
      }
      let result = try run(setup)
      let counters = result.counters
      #expect(counters.wrongItems == 0)
      #expect(result.isEmptyAtEnd)
      #expect(result.operations == [300, 300, 300, 300])
      #expect(counters.remoteFrees > 0)
      // Each attempt gave an item or nothing; a lease gives further items without one.
      if claimProtocol != .lease {
        #expect(counters.attempts == counters.failedAttempts + counters.operations)
      } else {
        #expect(counters.attempts == counters.failedAttempts + counters.leases)
        #expect(counters.leases <= counters.operations)
      }
      #expect(counters.lostSwaps == 0 || claimProtocol == .compareAndSwap)
    }
  }

  /// One thread, room for all: no attempt fails, none waits, and each free but the last is its own.
  @Test(arguments: ClaimSetup.ClaimProtocol.allCases)
  func aloneNothingFails(claimProtocol: ClaimSetup.ClaimProtocol) throws {
    let result = try run(
      ClaimSetup().with {
        $0.threads = 1
        $0.claimProtocol = claimProtocol
        $0.crossFree = 1
      })
    #expect(result.counters.failedAttempts == 0 && result.counters.retries == 0 && result.counters.failures == 0)
    #expect(result.counters.remoteFrees == 0 && result.fairness == 1)
    #expect(result.latencies.count == 300 / 61)
  }

  /// One thread that wants two items where there is one: each second claim waits in vain, as often as it may.
  @Test(arguments: [0, 1, 5])
  func failuresAndRetriesAreCounted(maxRetries: Int) throws {
    let setup = ClaimSetup().with {
      $0.threads = 1
      $0.cells = 1
      $0.itemsPerCell = 1
      $0.held = 1
      $0.maxRetries = maxRetries
      $0.wait = .yield
    }
    let counters = try run(setup, operations: 100).counters
    #expect(counters.failures == 99)
    #expect(counters.retries == UInt64(99 * maxRetries))
    #expect(counters.attempts == 100 + 99 * UInt64(1 + maxRetries))
    #expect(counters.failedAttempts == 99 * UInt64(1 + maxRetries))
  }

  /// A script of claims and frees, by a thread of the benchmark and by the engine's bitmap: the same items, the same cells.
  @Test(arguments: [
    (ClaimSetup.ClaimProtocol.exchange, AtomicBitmap.Strategy.exchange), (.compareAndSwap, .compareAndSwap),
  ])
  func cellsAreTheEngines(claimProtocol: ClaimSetup.ClaimProtocol, strategy: AtomicBitmap.Strategy) {
    let setup = ClaimSetup().with {
      $0.threads = 1
      $0.cells = 3
      $0.claimProtocol = claimProtocol
      $0.maxRetries = 0
    }
    let arena = ClaimArena(setup)
    defer { arena.deallocate() }
    let thread = ClaimThread<FullTally>(setup, arena, number: 0, seed: 1, calibration: Self.calibration)
    let words = UnsafeMutablePointer<UInt>.allocate(capacity: setup.cells)
    words.initialize(repeating: 0, count: setup.cells)
    defer { words.deallocate() }
    let wait = BoundedWaitPointer.allocate(capacity: 1)
    wait.initialize(to: BoundedWait())
    defer { wait.deallocate() }
    let bitmap = AtomicBitmap(
      bareCells: AtomicPointer(words), itemCount: setup.cells * 64, wait: wait, strategy: strategy)
    var random = SplitMix64(seed: 12)
    var held: [Int] = []
    var refusals = 0
    for step in 0..<4000 {
      // Mostly claims, then mostly frees, and so on: full and empty more than once.
      let claims = random.below(8) < (step / 500 % 2 == 0 ? 6 : 2)
      if claims || held.isEmpty {
        let item = thread.claim()
        #expect(item == bitmap.tryClaim()?.index)
        if let item { held.append(item) } else { refusals += 1 }
      } else {
        let item = held.remove(at: Int(random.below(UInt64(held.count))))
        thread.release(item)
        #expect(!bitmap.release(at: item).wasDouble)
      }
      #expect((0..<setup.cells).allSatisfy { arena.cell($0).loadRelaxed() == words[$0] }, "step \(step)")
    }
    #expect(refusals > 10)
  }

  /// What a thread holds is in lines of its own.
  @Test(arguments: [1, 8, 17])
  func heldItemsShareNoLine(held: Int) {
    let setup = ClaimSetup().with {
      $0.threads = 4
      $0.held = held
    }
    let arena = ClaimArena(setup)
    defer { arena.deallocate() }
    let threads = (0..<4).map {
      ClaimThread<NoTally>(setup, arena, number: $0, seed: 1, calibration: Self.calibration)
    }
    #expect(threads.allSatisfy { UInt(bitPattern: $0.heldItems) % 128 == 0 })
  }

  @Test func fairnessOfARun() {
    var result = ClaimRun.Result()
    result.operations = [300, 100]
    #expect((result.fairness - 0.8).magnitude < 1e-12)
  }

  @Test func setupsThatCannotBe() {
    #expect(ClaimSetup().complaint == nil)
    #expect(ClaimSetup().with { $0.threads = 0 }.complaint == "0 threads: from 1 to 1024")
    #expect(ClaimSetup().with { $0.itemsPerCell = 65 }.complaint == "65 items in a cell: from 1 to 64")
    #expect(throws: StudyError.self) { try run(ClaimSetup().with { $0.cells = 0 }) }
  }

  /// Owned cells are all cells, each once, where there are enough; the starts of spread threads are apart.
  @Test(arguments: [(1, 1), (2, 4), (3, 7), (4, 4), (8, 3)])
  func placements(threads: Int, cells: Int) {
    var setup = ClaimSetup()
    setup.threads = threads
    setup.cells = cells
    setup.placement = .owned
    let ranges = (0..<threads).map { setup.cells(ofThread: $0).range }
    #expect(ranges.allSatisfy { !$0.isEmpty && $0.upperBound <= cells })
    if threads <= cells { #expect(ranges.flatMap { Array($0) } == Array(0..<cells)) }
    setup.placement = .spread
    if threads <= cells { #expect(Set((0..<threads).map { setup.cells(ofThread: $0).start }).count == threads) }
  }

  @Test func mailboxesKeepOrderAndSaySoWhenFull() {
    let words = UnsafeMutablePointer<UInt>.allocate(capacity: Mailbox.wordCount)
    words.initialize(repeating: 0, count: Mailbox.wordCount)
    defer { words.deallocate() }
    let mailbox = Mailbox(zeroed: words)
    #expect(mailbox.take() == nil)
    for item in 0..<Mailbox.slotCount { #expect(mailbox.put(item)) }
    #expect(!mailbox.put(99))
    #expect(mailbox.take() == 0 && mailbox.put(99))
    for item in 1..<Mailbox.slotCount { #expect(mailbox.take() == item) }
    #expect(mailbox.take() == 99 && mailbox.take() == nil)
  }
}
