import MempoolCore

/// The claim benchmark's thread as a program for a simulated core: the same accesses in the same order as ``ClaimThread``.
///
/// A wait by futex is simulated as a sleep for the whole time.
struct SimulatedClaims: SimulatedProgram {
  /// What the cores hand each other. The words of the machine stand for what it costs.
  final class Mail {
    var items: [[Int]]
    init(_ threads: Int) { items = [[Int]](repeating: [], count: threads) }
  }

  private enum State {
    case begin
    case lookedAtInbox
    case tookFromInbox(Int)
    case claiming
    case exchanged, gaveBack(Int), looked, swapped(UInt, Int), leased
    case waited
    case claimed(Int?)
    case posted(Int)
    case released
    case worked
  }

  private let setup: ClaimSetup
  private let costs: SimulatedCosts
  private let number: Int
  private let range: Range<Int>
  private let start: Int
  private let mail: Mail
  private var random: SplitMix64
  private var state = State.begin
  private var index: Int
  private var retries = 0
  private var held: [Int]
  private var heldPlace = 0
  private var leasedBits: UInt = 0
  private var leasedCell = -1
  private(set) var counters = ClaimCounters()

  init(_ setup: ClaimSetup, _ costs: SimulatedCosts, number: Int, mail: Mail, seed: UInt64) {
    self.setup = setup
    self.costs = costs
    self.number = number
    (range, start) = setup.cells(ofThread: number)
    index = start
    self.mail = mail
    held = [Int](repeating: -1, count: setup.held)
    random = SplitMix64(seed: seed &+ UInt64(number) &* 0x1_0000)
  }

  private var handsOver: Bool { setup.threads > 1 && setup.crossFree > 0 }

  /// The word that stands for the mail of a thread, behind the cells and in a line of its own.
  private func mailWord(_ thread: Int) -> Int { SimulatedClaims.mailStart(setup) + thread * setup.cellsPerLine }

  static func mailStart(_ setup: ClaimSetup) -> Int {
    (setup.cells + setup.cellsPerLine - 1) / setup.cellsPerLine * setup.cellsPerLine
  }

  static func words(_ setup: ClaimSetup) -> [UInt] {
    var words = [UInt](repeating: 0, count: mailStart(setup) + setup.threads * setup.cellsPerLine)
    for cell in 0..<setup.cells { words[cell] = Cell.surplus(beyond: setup.itemsPerCell) }
    return words
  }

  mutating func next(_ found: UInt, at now: Double) -> SimulatedStep {
    while true {
      switch state {
      case .begin:
        state = .lookedAtInbox
        if handsOver { return .access(mailWord(number), .load) }
      case .lookedAtInbox:
        guard handsOver, !mail.items[number].isEmpty else {
          beginClaim()
          continue
        }
        let item = mail.items[number].removeFirst()
        state = .tookFromInbox(item)
        return .access(mailWord(number), .add(1))
      case .tookFromInbox(let item):
        counters.remoteFrees += 1
        state = .claiming
        retries = 0
        index = start
        if let step = release(item) { return step }
      case .claiming:
        if setup.claimProtocol == .lease, leasedBits != 0 {
          state = .claimed(takeLeased())
          continue
        }
        counters.attempts += 1
        switch setup.claimProtocol {
        case .exchange:
          state = .exchanged
          return .access(index, .exchange(Cell.busy))
        case .compareAndSwap, .lease:
          state = .looked
          return .access(index, .load)
        }
      case .exchanged:
        guard found != Cell.busy else {
          if let step = tryNext() { return step }
          continue
        }
        let bit = (~found).trailingZeroBitCount
        state = .gaveBack(index * Cell.itemCount + bit)
        return .access(index, .and(found | 1 << UInt(bit)))
      case .gaveBack(let item):
        state = .claimed(item)
      case .looked:
        guard found != Cell.busy else {
          if let step = tryNext() { return step }
          continue
        }
        if setup.claimProtocol == .lease {
          state = .leased
          return .access(index, .exchange(Cell.busy))
        }
        let bit = (~found).trailingZeroBitCount
        state = .swapped(found, index * Cell.itemCount + bit)
        return .access(index, .compareAndSwap(found, found | 1 << UInt(bit)))
      case .swapped(let seen, let item):
        if found == seen {
          state = .claimed(item)
          continue
        }
        counters.lostSwaps += 1
        state = .looked
      case .leased:
        guard found != Cell.busy else {
          if let step = tryNext() { return step }
          continue
        }
        counters.leases += 1
        leasedBits = ~found
        leasedCell = index
        state = .claimed(takeLeased())
      case .waited:
        index = start
        state = .claiming
      case .claimed(let item):
        if item != nil { counters.operations += 1 } else { counters.failures += 1 }
        let oldest = held[heldPlace]
        held[heldPlace] = item ?? -1
        heldPlace = heldPlace + 1 == setup.held ? 0 : heldPlace + 1
        state = .released
        guard oldest >= 0 else { continue }
        if handsOver, Double(random.next() >> 32) < setup.crossFree * 0x1p32 {
          if mail.items[(number + 1) % setup.threads].count < Mailbox.slotCount {
            state = .posted(oldest)
            return .access(mailWord((number + 1) % setup.threads), .add(1))
          }
          counters.freesKeptBack += 1
        }
        if let step = release(oldest) { return step }
      case .posted(let item):
        mail.items[(number + 1) % setup.threads].append(item)
        state = .released
      case .released:
        state = .worked
        return .spend(costs.overhead + Double(setup.workNanoseconds))
      case .worked:
        state = .begin
      }
    }
  }

  private mutating func beginClaim() {
    retries = 0
    index = start
    state = .claiming
  }

  private mutating func takeLeased() -> Int {
    let bit = leasedBits.trailingZeroBitCount
    leasedBits &= leasedBits - 1
    return leasedCell * Cell.itemCount + bit
  }

  /// To the cell; nil when it is leased, which takes no access.
  private mutating func release(_ item: Int) -> SimulatedStep? {
    let cell = item / Cell.itemCount
    let bit: UInt = 1 << UInt(item % Cell.itemCount)
    if setup.claimProtocol == .lease, cell == leasedCell {
      leasedBits |= bit
      return nil
    }
    return .access(cell, .and(~bit))
  }

  /// After an attempt in vain: the next cell, or a wait, or a failure.
  private mutating func tryNext() -> SimulatedStep? {
    counters.failedAttempts += 1
    index = index + 1 == range.upperBound ? range.lowerBound : index + 1
    state = .claiming
    guard index == start else { return nil }
    guard retries < setup.maxRetries else {
      state = .claimed(nil)
      return nil
    }
    let time: Double
    switch setup.wait {
    case .sleep, .futex: time = Double(setup.waitNanoseconds) + costs.sleepOverhead
    case .spin: time = 0
    case .pause: time = Double(setup.waitNanoseconds)
    case .yield: time = costs.yield
    case .exponential: time = costs.pause * Double(1 << min(retries, 10))
    }
    retries += 1
    counters.retries += 1
    counters.waitNanoseconds += UInt64(time)
    state = .waited
    return .spend(time)
  }
}

/// Runs of a setup on the simulated machine.
package enum SimulatedRun {
  package struct Result: Sendable {
    package let counters: ClaimCounters
    package let operations: [UInt64]
    package let operationsPerSecond: Double
    /// Nanoseconds, all of it, and operations in it: what a closed form is compared with.
    package let nanoseconds: Double
  }

  /// - Parameter operationCount: Of all cores together, at least. It also goes on for as long as a line needs to go round all
  ///   cores fifty times, unless ten times as many operations are done by then: or what was seen would be those cores that
  ///   happened to be first. The first fifth of that, and tenth of the operations, does not count for the speed.
  package static func run(_ setup: ClaimSetup, costs: SimulatedCosts, operationCount: Int, seed: UInt64) -> Result {
    let mail = SimulatedClaims.Mail(setup.threads)
    var machine = SimulatedMachine(
      words: SimulatedClaims.words(setup), wordsPerLine: setup.cellsPerLine, costs: costs,
      programs: (0..<setup.threads).map { SimulatedClaims(setup, costs, number: $0, mail: mail, seed: seed) })
    func total(_ machine: SimulatedMachine<SimulatedClaims>) -> Int {
      machine.programs.reduce(0) { $0 + Int($1.counters.operations) }
    }
    let rounds = 50 * Double(setup.threads) * costs.transfer
    // Counting all cores after each step would take longer than the step.
    var steps = 0
    func hasReached(_ count: Int, _ time: Double) -> (SimulatedMachine<SimulatedClaims>) -> Bool {
      { machine in
        steps += 1
        guard steps % setup.threads == 0 else { return false }
        let operations = total(machine)
        return operations >= count && (machine.now >= time || operations >= 10 * count)
      }
    }
    machine.run(until: hasReached(operationCount / 10, rounds / 5))
    let (warmTime, warmCount) = (machine.now, total(machine))
    machine.run(until: hasReached(operationCount, rounds))
    var counters = ClaimCounters()
    for program in machine.programs { counters.add(program.counters) }
    return Result(
      counters: counters, operations: machine.programs.map(\.counters.operations),
      operationsPerSecond: 1e9 * Double(total(machine) - warmCount) / (machine.now - warmTime), nanoseconds: machine.now
    )
  }
}
