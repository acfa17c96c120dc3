import Foundation

/// Where the middle of some figures lies, and how far they spread.
struct Distribution: Codable, Sendable {
  let median: Double
  let lowerQuartile: Double
  let upperQuartile: Double
  let minimum: Double

  /// Of at least one figure.
  init(_ figures: [Double]) {
    let sorted = figures.sorted()
    /// The figure below which this part of them lies, between two where it falls between.
    func quantile(_ part: Double) -> Double {
      let place = part * Double(sorted.count - 1)
      let lower = Int(place)
      let upper = min(lower + 1, sorted.count - 1)
      return sorted[lower] + (sorted[upper] - sorted[lower]) * (place - Double(lower))
    }
    median = quantile(0.5)
    lowerQuartile = quantile(0.25)
    upperQuartile = quantile(0.75)
    minimum = sorted[0]
  }
}

/// One phase at one number of threads, both allocators, in nanoseconds per operation.
struct BenchmarkResult: Codable, Sendable {
  let threads: Int
  let phase: BenchmarkPlan.Phase
  let system: Distribution
  let pool: Distribution

  /// How many times as fast the pool is: above 1 it is the faster.
  var ratio: Double { system.median / pool.median }

  /// Within 2 % nobody is faster: less than what two runs of the same differ by.
  var verdict: String {
    if ratio >= 1.02 { return "mempool is faster" }
    return ratio <= 1 / 1.02 ? "libc is faster" : "as fast"
  }

  /// Whether the pool is at least as fast, within what cannot be told apart.
  var isAtLeastAsFast: Bool { ratio > 1 / 1.02 }
}

/// What `mempool bench` prints.
struct BenchmarkReport: Encodable {
  let plan: BenchmarkPlan
  let results: [BenchmarkResult]

  var text: String {
    var lines = [
      "sizes \(plan.sizes.lowerBound)…\(plan.sizes.upperBound), \(plan.roundCount) rounds of \(plan.cycleCount) cycles, "
        + "the allocators in turn; ns per operation: median [quartiles]", "",
      "threads  phase                  libc                   mempool                ratio",
    ]
    for result in results {
      lines.append(
        "\("\(result.threads)".aligned(7))  \(result.phase.title.padded(21))  \(result.system.text.padded(21))  "
          + "\(result.pool.text.padded(21))  \(String(format: "%.2f", result.ratio))  \(result.verdict)")
    }
    return lines.joined(separator: "\n")
  }

  func json() throws -> String {
    struct Row: Encodable {
      let threads: Int
      let phase: String
      let libcNanoseconds: Distribution
      let mempoolNanoseconds: Distribution
      let ratio: Double
      let verdict: String
    }
    struct Document: Encodable {
      let sizes: [Int]
      let rounds: Int
      let cycles: Int
      let seed: UInt64
      let results: [Row]
    }
    let document = Document(
      sizes: [plan.sizes.lowerBound, plan.sizes.upperBound], rounds: plan.roundCount, cycles: plan.cycleCount,
      seed: plan.seed,
      results: results.map {
        Row(
          threads: $0.threads, phase: $0.phase.title, libcNanoseconds: $0.system, mempoolNanoseconds: $0.pool,
          ratio: $0.ratio, verdict: $0.verdict)
      })
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    return String(decoding: try encoder.encode(document), as: UTF8.self)
  }
}

extension Distribution {
  var text: String { String(format: "%.1f [%.1f–%.1f]", median, lowerQuartile, upperQuartile) }
}
