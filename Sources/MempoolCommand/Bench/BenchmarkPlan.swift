/// What a benchmark does: the original's three phases, with sizes that are really drawn.
struct BenchmarkPlan: Codable, Sendable {
  /// Live threads, one result for each number.
  var threadCounts = [1, 4]
  var sizes = 1...512
  /// Rounds of each allocator; the two take turns.
  var roundCount = 60
  /// Times that each thread goes through the phases in a round. The median is taken over all of them, because a thread that
  /// loses its core in the middle of a phase measures the scheduler.
  var cycleCount = 50
  var seed: UInt64 = 1

  static let firstCount = 500
  static let freedCount = 250
  static let secondCount = 500

  enum Phase: Int, CaseIterable, Codable, Sendable {
    case first, freeing, second

    var title: String {
      switch self {
      case .first: "500 allocations"
      case .freeing: "250 frees"
      case .second: "500 allocations more"
      }
    }

    var operationCount: Int {
      switch self {
      case .first: firstCount
      case .freeing: freedCount
      case .second: secondCount
      }
    }
  }
}
