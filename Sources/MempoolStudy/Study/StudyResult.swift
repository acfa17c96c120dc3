import Foundation

/// What a study found: everything that the page, the tables and the comparison are made from. Written as JSON.
package struct StudyResult: Codable, Equatable, Sendable {
  package static let format = "mempool-study"
  package static let version = 1

  package var format = StudyResult.format
  package var version = StudyResult.version
  package var preset: String
  package var title: String
  package var question: String
  /// What makes this again.
  package var command: String
  package var seed: UInt64
  package var millisecondsPerRun: Int
  package var roundsWanted: Int
  /// Fewer than wanted when it was interrupted.
  package var rounds: Int
  package var machine: Machine
  /// Nanoseconds of the same work in each round (``Machine/reference()``).
  package var reference: Sample
  package var axis: Axis
  package var rows: [Row]
  /// The same on the simulated machine, where the preset asks for it.
  package var simulated: Simulated?

  package var isComplete: Bool { rounds == roundsWanted }

  /// What is varied along a picture.
  package struct Axis: Codable, Equatable, Sendable {
    package var title: String
    /// From left to right, as they are written at the axis.
    package var labels: [String]
  }

  /// One point of one curve.
  package struct Row: Codable, Equatable, Sendable {
    package var series: String
    /// Of the axis: 0 is the leftmost.
    package var position: Int
    package var threads: Int
    /// Of a claim benchmark.
    package var setup: ClaimSetup?
    /// A value a round.
    package var operationsPerSecond: Sample
    /// Of all rounds together.
    package var latency: Latency?
    /// Of a claim benchmark.
    package var claims: Claims?
    /// Of an allocator: the most memory that its process had while it ran.
    package var peakMebibytes: Sample?
  }

  /// What is counted of claims; a value a round.
  package struct Claims: Codable, Equatable, Sendable {
    package var fairness: Sample
    /// Of 1000 claims, how many gave up.
    package var failuresPerThousand: Sample
    package var attemptsPerOperation: Sample
    package var lostSwapsPerOperation: Sample
    package var retriesPerOperation: Sample
    /// Where the threads' time went, in percent of it: in waits of their own, and without a processor beside that.
    package var waitingPercent: Sample
    package var withoutProcessorPercent: Sample
    package var voluntarySwitchesPerSecond: Sample
    package var involuntarySwitchesPerSecond: Sample
  }

  /// Nanoseconds of a claim, its waits included; of an allocator, of a call.
  package struct Latency: Codable, Equatable, Sendable {
    package var count: UInt64
    package var p50: UInt64
    package var p90: UInt64
    package var p99: UInt64
    package var p999: UInt64
    package var p9999: UInt64
    package var maximum: UInt64

    package init(_ histogram: LatencyHistogram) {
      count = histogram.count
      p50 = histogram.percentile(0.5)
      p90 = histogram.percentile(0.9)
      p99 = histogram.percentile(0.99)
      p999 = histogram.percentile(0.999)
      p9999 = histogram.percentile(0.9999)
      maximum = histogram.maximum
    }
  }

  package func json() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return try encoder.encode(self)
  }

  /// Of a file's bytes; what is wrong with them is said in words.
  package static func parse(_ data: Data) throws(StudyError) -> StudyResult {
    struct Head: Decodable {
      let format: String
      let version: Int
    }
    let decoder = JSONDecoder()
    guard let head = try? decoder.decode(Head.self, from: data), head.format == format else {
      throw StudyError("not the result of a study")
    }
    guard head.version == version else {
      throw StudyError("a result of version \(head.version), and this program knows version \(version)")
    }
    guard let result = try? decoder.decode(StudyResult.self, from: data),
      result.rows.allSatisfy({ result.axis.labels.indices.contains($0.position) })
    else {
      throw StudyError("the result of a study, but incomplete or damaged")
    }
    return result
  }
}
