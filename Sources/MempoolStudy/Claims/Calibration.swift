import CMempoolShims
import Foundation

/// What this machine takes for the steps that a benchmark is made of, measured once at the start.
package struct Calibration: Codable, Equatable, Sendable {
  /// Nanoseconds from one reading of the clock to the next: what a sampled latency includes, and what is subtracted.
  package let clockNanoseconds: Double
  /// Steps of ``compute(_:)`` in a nanosecond.
  package let stepsPerNanosecond: Double
  /// Pause instructions in a nanosecond.
  package let pausesPerNanosecond: Double

  /// Takes some milliseconds. The fastest of several tries: whatever else ran made it slower.
  package static func measure() -> Calibration {
    func fastest(_ count: Int, _ body: () -> Void) -> Double {
      var least = UInt64.max
      for _ in 0..<20 {
        let start = mp_clock_nanoseconds()
        body()
        least = min(least, mp_clock_nanoseconds() - start)
      }
      return Double(max(least, 1)) / Double(count)
    }
    let count = 10_000
    let clock = fastest(count) { for _ in 0..<count { _ = mp_clock_nanoseconds() } }
    let step = fastest(count) { compute(count) }
    let pause = fastest(count) { for _ in 0..<count { mp_pause() } }
    return Calibration(clockNanoseconds: clock, stepsPerNanosecond: 1 / step, pausesPerNanosecond: 1 / pause)
  }

  /// Steps that take about so long.
  package func steps(_ nanoseconds: Int) -> Int { Int((Double(nanoseconds) * stepsPerNanosecond).rounded()) }

  package func pauses(_ nanoseconds: Int) -> Int { Int((Double(nanoseconds) * pausesPerNanosecond).rounded()) }

  /// Computes for so many steps, each of which needs the one before, without touching memory.
  @inline(never)
  package static func compute(_ steps: Int) {
    var value: UInt = 1
    for _ in 0..<steps {
      value = value &* 6_364_136_223_846_793_005 &+ 1
      mp_fence_compiler()
    }
    sink(value)
  }

  @inline(never) @_optimize(none)
  private static func sink(_: UInt) {}
}
