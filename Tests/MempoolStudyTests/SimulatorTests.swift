import Foundation
import Testing

@testable import MempoolStudy

/// The simulated machine against closed forms.
@Suite struct SimulatorTests {
  static let costs = SimulatedCosts(hit: 5, load: 1, transfer: 60, overhead: 2, sleepOverhead: 50_000)

  /// Changes one word, then computes, for ever.
  private struct Counter: SimulatedProgram {
    let work: () -> Double
    var changes = 0
    var isWorking = true
    // From when a change was asked for until it was done, all together.
    var inService = 0.0
    private var asked = 0.0

    init(work: @escaping () -> Double) { self.work = work }

    mutating func next(_ found: UInt, at now: Double) -> SimulatedStep {
      isWorking.toggle()
      if isWorking {
        changes += 1
        inService += now - asked
        return .spend(work())
      }
      asked = now
      return .access(0, .add(1))
    }
  }

  private func machine(_ cores: Int, _ work: @escaping () -> Double) -> SimulatedMachine<Counter> {
    SimulatedMachine(
      words: [0], costs: Self.costs, programs: (0..<cores).map { _ in Counter(work: work) })
  }

  private func changes(_ machine: SimulatedMachine<Counter>) -> Int { machine.programs.reduce(0) { $0 + $1.changes } }

  /// One core: the first change takes a transfer, each further one a hit.
  @Test func aloneExactly() {
    var one = machine(1) { 100 }
    one.run { changes($0) == 1000 }
    #expect(one.now == 60 + 999 * (100 + 5))
    #expect(one.word(0) == 1000)
  }

  /// Cores that do nothing else: one transfer after the other.
  @Test(arguments: [2, 3, 16, 256])
  func serialisedExactly(cores: Int) {
    var many = machine(cores) { 0 }
    many.run { changes($0) == 1000 }
    #expect(many.now == 60 * 1000)
    #expect(many.word(0) == 1000)
  }

  /// With a constant time between: n/(Z + T) until the line is busy all the time, then 1/T.
  @Test(arguments: [2, 4, 8, 9, 32])
  func constantWorkExactly(cores: Int) {
    let work = 480.0
    var many = machine(cores) { work }
    let rounds = 500
    many.run { changes($0) == rounds * cores }
    // All start at once, so the first time round they wait for each other, and then never again if there is room.
    let cycle = max(work + 60, 60 * Double(cores))
    #expect(many.now == 60 * Double(cores) + Double(rounds - 1) * cycle)
  }

  /// With times between that are exponential, of many cores: Pollaczek and Khinchine's wait for constant service,
  /// ρT/2(1 − ρ).
  @Test(arguments: [0.2, 0.5, 0.7])
  func waitsOfRandomArrivals(load: Double) {
    var random = SplitMix64(seed: 5)
    let cores = 256
    // Each core comes once in its time of work and its time in service.
    let wait = load * 60 / (2 * (1 - load))
    let work = 60 * Double(cores) / load - 60 - wait
    var many = machine(cores) { -work * log(1 - random.fraction()) }
    // All start at once; that must have been forgotten.
    many.run { changes($0) == 20_000 }
    let before = many.programs.reduce(0) { $0 + $1.inService }
    many.run { changes($0) == 320_000 }
    let seen = (many.programs.reduce(0) { $0 + $1.inService } - before) / 300_000 - 60
    // Finitely many cores come a little less often while many of them wait.
    #expect((seen / wait - 1).magnitude < 0.06, "\(seen) ns, and \(wait) are expected")
  }

  /// Looks at a word until the other has changed it, and changes it, for ever: what `SimulatedCosts` measures a transfer by.
  private struct Player: SimulatedProgram {
    var turn: UInt
    var isLooking = false

    mutating func next(_ found: UInt, at now: Double) -> SimulatedStep {
      guard isLooking, found == turn else {
        isLooking = true
        return .access(0, .load)
      }
      isLooking = false
      turn += 2
      return .access(0, .add(1))
    }
  }

  /// The transfer that is measured by a ping-pong is the transfer that the machine charges in one.
  @Test func aPingPongGivesItsTransferBack() {
    var machine = SimulatedMachine(words: [0], costs: Self.costs, programs: [Player(turn: 0), Player(turn: 1)])
    machine.run { $0.word(0) == 10 }
    let start = machine.now
    machine.run { $0.word(0) == 1010 }
    #expect(SimulatedCosts.transfer(ofTurn: (machine.now - start) / 1000) == Self.costs.transfer)
  }

  /// Only looks at a word, and never ends.
  private struct Reader: SimulatedProgram {
    let pause: Double
    var looks = 0
    var isPausing = false
    mutating func next(_ found: UInt, at now: Double) -> SimulatedStep {
      isPausing.toggle()
      guard !isPausing else { return .spend(pause) }
      looks += 1
      return .access(0, .load)
    }
  }

  /// A core that has a copy looks at it while others fetch theirs.
  @Test func aCopyStaysWithItsReaders() {
    var machine = SimulatedMachine(
      words: [0], costs: Self.costs, programs: [Reader(pause: 0)] + (1...8).map { Reader(pause: 60 + 20 * Double($0)) })
    machine.run { $0.now >= 800 }
    // A first look at 60, and one in each nanosecond since.
    #expect(machine.programs[0].looks >= 800 - 60)
  }

  /// What a claim and a free come to when nobody interferes: accesses to the cell that the core has, and its overhead.
  @Test(arguments: [
    (ClaimSetup.ClaimProtocol.exchange, 15), (ClaimSetup.ClaimProtocol.compareAndSwap, 11),
    (ClaimSetup.ClaimProtocol.lease, 0),
  ])
  func uncontendedClaimsExactly(claimProtocol: ClaimSetup.ClaimProtocol, accesses: Int) {
    let setup = ClaimSetup().with {
      $0.threads = 1
      $0.claimProtocol = claimProtocol
      $0.workNanoseconds = 10
    }
    let run = SimulatedRun.run(setup, costs: Self.costs, operationCount: 5000, seed: 1)
    let nanoseconds = 1e9 / run.operationsPerSecond
    #expect((nanoseconds - Double(accesses + 12)).magnitude < 1e-6)
    #expect(run.counters.failures == 0 && run.counters.failedAttempts == 0)
  }

  /// Many cores on one cell by exchange: no more than the line serves, three transfers an operation at the most.
  @Test func oneCellIsABottleneck() {
    let setup = ClaimSetup().with {
      $0.threads = 4
      $0.cells = 1
      $0.held = 1
      $0.claimProtocol = .exchange
      $0.wait = .spin
      $0.maxRetries = 1000
    }
    let run = SimulatedRun.run(setup, costs: Self.costs, operationCount: 5000, seed: 1)
    // Of an operation at least two accesses find the line elsewhere when others always ask for it.
    let fastest: Double = 2 * 60
    #expect(run.operationsPerSecond <= 1e9 / fastest)
    let slowest: Double = 28 * 60
    #expect(run.operationsPerSecond >= 1e9 / slowest)
  }

  /// Cells of one's own: as fast for 256 as for one, each.
  @Test func ownedCellsScaleExactly() {
    let setup = ClaimSetup().with {
      $0.claimProtocol = .compareAndSwap
      $0.placement = .owned
      $0.cells = 256
    }
    func speed(_ threads: Int) -> Double {
      SimulatedRun.run(
        setup.with { $0.threads = threads }, costs: Self.costs, operationCount: 200 * threads, seed: 1
      ).operationsPerSecond / Double(threads)
    }
    #expect((speed(256) / speed(1) - 1).magnitude < 0.01)
  }

  /// Items are handed out once, and handed over items come back: at every moment as many bits are set as items are out.
  @Test(arguments: ClaimSetup.ClaimProtocol.allCases)
  func simulatedItemsAreConserved(claimProtocol: ClaimSetup.ClaimProtocol) {
    let setup = ClaimSetup().with {
      $0.claimProtocol = claimProtocol
      $0.threads = 5
      $0.crossFree = 0.5
      $0.cells = 3
      $0.wait = .pause
    }
    let run = SimulatedRun.run(setup, costs: Self.costs, operationCount: 4000, seed: 9)
    #expect(run.counters.remoteFrees > 500)
    #expect(run.operations.allSatisfy { $0 > 0 })
    let again = SimulatedRun.run(setup, costs: Self.costs, operationCount: 4000, seed: 9)
    #expect(run.nanoseconds == again.nanoseconds && run.counters == again.counters)
  }

  @Test func eventsComeInOrder() {
    var queue = EventQueue()
    var random = SplitMix64(seed: 2)
    for core in 0..<500 { queue.push(.init(time: Double(random.below(50)), core: core, action: .resume(0))) }
    var last = (-1.0, -1)
    while let event = queue.pop() {
      #expect(last < (event.time, event.core))
      last = (event.time, event.core)
    }
  }
}
