import CMempoolShims
import Foundation
import MempoolCore

/// What things cost on the simulated machine, in nanoseconds.
package struct SimulatedCosts: Codable, Equatable, Sendable {
  /// An atomic change of a word whose line the core has.
  package var hit: Double
  /// Looking at one.
  package var load: Double
  /// Any access to a line that another core has.
  package var transfer: Double
  /// What an operation takes beside its accesses.
  package var overhead: Double
  /// What a sleep takes beside the time that it was asked for.
  package var sleepOverhead: Double
  package var yield: Double
  package var pause: Double

  package init(
    hit: Double, load: Double, transfer: Double, overhead: Double, sleepOverhead: Double = 0, yield: Double = 0,
    pause: Double = 0
  ) {
    self.hit = hit
    self.load = load
    self.transfer = transfer
    self.overhead = overhead
    self.sleepOverhead = sleepOverhead
    self.yield = yield
    self.pause = pause
  }

  /// Those of this machine. Takes some tens of milliseconds. With one processor there is no transfer to be measured, and
  /// what is measured is a switch of threads.
  package static func measure(_ calibration: Calibration) throws(StudyError) -> SimulatedCosts {
    let words = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    words.initialize(to: 0)
    defer { words.deallocate() }
    let word = AtomicPointer(words)
    func fastest(_ tries: Int, _ count: Int, _ body: (Int) -> Void) -> Double {
      var least = UInt64.max
      for _ in 0..<tries {
        let start = mp_clock_nanoseconds()
        for index in 0..<count { body(index) }
        least = min(least, mp_clock_nanoseconds() - start)
      }
      return Double(least) / Double(count)
    }
    let hit = fastest(20, 10_000) { _ = word.exchangeAcquire(UInt($0)) }
    let load = fastest(20, 10_000) { _ in _ = word.loadAcquire() }
    // A sleep's overhead is what the timer does, and no less when tried often: the median, by way of few tries.
    let sleep = Sample(
      (0..<15).map { _ in
        let start = mp_clock_nanoseconds()
        mp_sleep_nanoseconds(1000)
        return Double(mp_clock_nanoseconds() - start)
      }
    ).median
    let yield = fastest(5, 200) { _ in sched_yield() }
    var setup = ClaimSetup()
    setup.threads = 1
    setup.claimProtocol = .lease
    var overhead = Double.infinity
    for _ in 0..<5 {
      let run = try ClaimRun.run(setup, FullTally.self, seconds: 0.005, seed: 1, calibration: calibration)
      overhead = min(overhead, 1e9 / run.operationsPerSecond)
    }
    return SimulatedCosts(
      hit: hit, load: load, transfer: try transfer(), overhead: overhead, sleepOverhead: max(0, sleep - 1000),
      yield: yield,
      pause: 1 / calibration.pausesPerNanosecond)
  }

  /// A turn fetches the line twice: to see the change, which leaves it with both, and to make the next one.
  static func transfer(ofTurn nanoseconds: Double) -> Double { nanoseconds / 2 }

  /// A word goes to and fro between two threads, each of which looks at it until the other has changed it. Each try is
  /// short, as both must have a processor all the time; the fastest is taken.
  private static func transfer() throws(StudyError) -> Double {
    let words = UnsafeMutablePointer<UInt>.allocate(capacity: 48)
    words.initialize(repeating: 0, count: 48)
    defer { words.deallocate() }
    let word = AtomicPointer(words + 16)
    let (tries, turns): (UInt, UInt) = (3000, 20)
    let least = AtomicPointer(words + 32)
    least.storeRelaxed(.max)
    let team = try Team(count: 2) { number in
      stayOnProcessor(number)
      var turn = UInt(number)
      for _ in 0..<tries {
        let start = mp_clock_nanoseconds()
        for _ in 0..<turns / 2 {
          var looks = 0
          while word.loadAcquire() != turn {  // acquire: pairs with the release below
            looks += 1
            // Both may have one processor only.
            if looks % 10_000 == 0 { sched_yield() }
          }
          word.storeRelease(turn + 1)  // release: pairs with the acquire above
          turn += 2
        }
        let taken = UInt(mp_clock_nanoseconds() - start)
        if number == 0, taken < least.loadRelaxed() { least.storeRelaxed(taken) }
      }
    }
    team.start()
    team.join()
    return transfer(ofTurn: Double(least.loadRelaxed()) / Double(turns))
  }

  /// Keeps the calling thread on one of the processors that it may use: two that wait for each other would be put on one.
  /// With fewer processors than that it stays where it may be.
  private static func stayOnProcessor(_ place: Int) {
    // Both are GNU's: Swift does not see them in the headers.
    typealias Call = @convention(c) (_ thread: pid_t, _ byteCount: Int, _ set: UnsafeMutableRawPointer) -> Int32
    guard let get = dlsym(nil, "sched_getaffinity"), let set = dlsym(nil, "sched_setaffinity") else { return }
    var words = [UInt](repeating: 0, count: 16)
    words.withUnsafeMutableBytes { bytes in
      guard unsafeBitCast(get, to: Call.self)(0, bytes.count, bytes.baseAddress!) >= 0 else { return }
      let allowed = bytes.bindMemory(to: UInt.self)
      var seen = -1
      for bit in 0..<allowed.count * UInt.bitWidth {
        let mask: UInt = 1 << UInt(bit % UInt.bitWidth)
        guard allowed[bit / UInt.bitWidth] & mask != 0 else { continue }
        seen += 1
        if seen != place { allowed[bit / UInt.bitWidth] &= ~mask }
      }
      _ = unsafeBitCast(set, to: Call.self)(0, bytes.count, bytes.baseAddress!)
    }
  }
}
