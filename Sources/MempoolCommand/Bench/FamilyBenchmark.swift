import Foundation

/// What a kind of pool is measured by: each claim of its original, what was measured here, and what others take in the same run.
protocol FamilyBenchmark {
  /// As `mempool bench --family` takes it, such as `objectpool`.
  static var name: String { get }
  /// The original, and what is measured how, in a sentence or two.
  static var summary: String { get }
  /// How often each subject is measured, unless the user says otherwise.
  static var usualRounds: Int { get }
  /// Measures for some seconds. All figures of a row come from interleaved rounds, so many.
  static func run(rounds: Int, progress: (String) -> Void) throws(Failure) -> [FamilyRow]
}

/// A line of a family's report.
struct FamilyRow: Codable, Equatable {
  struct Figure: Codable, Equatable {
    /// `mempool`, or a peer's name.
    var name: String
    var value: Double
  }

  /// What is measured, with its unit.
  var what: String
  /// What the original's author claimed, in words; nil where there is no claim.
  var claim: String?
  /// This project's first, then the peers that are there.
  var figures: [Figure]
  /// What this project's figure must not exceed; nil where it is held to nothing.
  var bound: Double?

  var isMet: Bool { bound.map { bound in figures.first.map { $0.value <= bound } ?? false } ?? true }
}

/// The families, by name.
enum Families {
  static var all: [any FamilyBenchmark.Type] {
    [
      BufferPoolBenchmark.self, CompactPoolBenchmark.self, DenseHeapBenchmark.self, ObjectPoolBenchmark.self,
      ContextBenchmark.self,
    ]
  }

  static var names: String { all.map { $0.name }.joined(separator: ", ") }

  static func named(_ name: String) -> (any FamilyBenchmark.Type)? { all.first { $0.name == name } }
}

/// Rows as a table of text, or as JSON.
struct FamilyReport: Codable, Equatable {
  var family: String
  var summary: String
  var rows: [FamilyRow]

  var isMet: Bool { rows.allSatisfy(\.isMet) }

  var text: String {
    var lines = ["\(family): \(summary)", ""]
    for row in rows {
      lines.append(row.what)
      if let claim = row.claim { lines.append("  the original's claim: \(claim)") }
      for figure in row.figures {
        let name = figure.name.padding(toLength: 24, withPad: " ", startingAt: 0)
        lines.append("  \(name)\(Self.short(figure.value))")
      }
      if let bound = row.bound {
        lines.append("  to be at most \(Self.short(bound)): \(row.isMet ? "met" : "missed")")
      }
    }
    return lines.joined(separator: "\n")
  }

  func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  private static func short(_ value: Double) -> String {
    value.magnitude >= 1000 || value == value.rounded() ? String(Int(value.rounded())) : String(format: "%.3g", value)
  }
}
