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

  /// A word goes to and fro between two threads, each of which waits for the other's change: a turn is one transfer to look at
  /// it, and the change.
  private static func transfer() throws(StudyError) -> Double {
    let words = UnsafeMutablePointer<UInt>.allocate(capacity: 32)
    words.initialize(repeating: 0, count: 32)
    defer { words.deallocate() }
    let word = AtomicPointer(words + 16)
    let turns: UInt = 400
    var least = Double.infinity
    for _ in 0..<20 {
      word.storeRelaxed(0)
      let team = try Team(count: 2) { number in
        for turn in 0..<turns where Int(turn % 2) == number {
          var looks = 0
          while word.compareAndSwapAcquireRelease(turn, turn + 1) != turn {
            looks += 1
            // Both may be on one processor.
            if looks % 10_000 == 0 { sched_yield() }
          }
        }
      }
      let start = mp_clock_nanoseconds()
      team.start()
      team.join()
      // What starting and ending two threads takes is in it, too: hence so many turns, and the fastest.
      least = min(least, Double(mp_clock_nanoseconds() - start) / Double(turns))
    }
    return least
  }
}
