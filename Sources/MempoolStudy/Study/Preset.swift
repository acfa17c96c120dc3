/// A study that is ready to run: a question, and the runs that answer it.
package struct Preset: Sendable {
  package struct Point: Sendable {
    package let series: String
    package let position: Int
    package let setup: ClaimSetup
  }

  /// A picture: what is drawn over the axis.
  package enum Chart: String, CaseIterable, Codable, Sendable {
    case throughput, failures, latency, fairness, waiting, memory

    package var title: String {
      switch self {
      case .throughput: "Million operations a second, all threads together"
      case .failures: "Claims that gave up, of 1000"
      case .latency: "A call, 99th percentile, ns"
      case .fairness: "Fairness over threads (Jain: 1 is even)"
      case .waiting: "Time spent in waits, % of all threads' time"
      case .memory: "The most memory that a process had, MiB"
      }
    }
  }

  package let name: String
  package let title: String
  package let question: String
  package let axisTitle: String
  package let axisLabels: [String]
  package let points: [Point]
  package let charts: [Chart]
  /// Cores of the simulated machine on which the same is run; none: it is not.
  package var simulatedCores: [Int] = []

  package static var all: [Preset] { [retries, waitTime, threads, crossFree, protocols] }
  package static var names: String { all.map(\.name).joined(separator: ", ") }
  package static func named(_ name: String) -> Preset? { all.first { $0.name == name } }

  private init<Value>(
    _ name: String, title: String, question: String, axis: String, values: [Value], labels: [String],
    charts: [Chart], series: [(String, (inout ClaimSetup, Value) -> Void)], base: (inout ClaimSetup) -> Void
  ) {
    self.name = name
    self.title = title
    self.question = question
    axisTitle = axis
    axisLabels = labels
    self.charts = charts
    var points: [Point] = []
    for (title, change) in series {
      for (position, value) in values.enumerated() {
        var setup = ClaimSetup()
        base(&setup)
        change(&setup, value)
        points.append(Point(series: title, position: position, setup: setup))
      }
    }
    self.points = points
  }

  /// Four threads want five items each of one cell of 18: now and then two too many.
  private static func pressure(_ setup: inout ClaimSetup) {
    setup.claimProtocol = .exchange
    setup.threads = 4
    setup.cells = 1
    setup.itemsPerCell = 18
    setup.held = 4
  }

  static var retries: Preset {
    let values = [0, 1, 3, 10, 30, 100, 300, 1000]
    return Preset(
      "retries", title: "Retries before a claim fails",
      question: "Does bounded retry with a sleep beat spinning, and when?",
      axis: "MPMAXRETRIES", values: values, labels: values.map(String.init),
      charts: [.throughput, .failures, .latency, .waiting],
      series: ClaimSetup.Wait.allCases.map { wait in
        (
          wait == .sleep ? "sleep 1 µs" : wait.rawValue,
          { setup, value in
            setup.wait = wait
            setup.maxRetries = value
          }
        )
      }, base: pressure)
  }

  static var waitTime: Preset {
    let values = [0, 100, 1000, 10_000, 100_000, 1_000_000]
    func series(_ title: String, _ wait: ClaimSetup.Wait, _ threads: Int) -> (String, (inout ClaimSetup, Int) -> Void) {
      (
        title,
        { setup, value in
          setup.wait = wait
          setup.waitNanoseconds = value
          setup.threads = threads
          // For each two threads one more than they hold, as above.
          setup.itemsPerCell = threads * 4 + threads / 2
        }
      )
    }
    return Preset(
      "wait-time", title: "How long a claim sleeps",
      question: "What do 3 retries of 1 µs, the original's defaults, cost, and what would another time?",
      axis: "MPWAITTIME", values: values, labels: ["0", "100 ns", "1 µs", "10 µs", "100 µs", "1 ms"],
      charts: [.throughput, .failures, .latency, .waiting],
      series: [
        series("sleep, 2 threads", .sleep, 2), series("sleep, 4 threads", .sleep, 4),
        series("sleep, 8 threads", .sleep, 8),
        series("pause, 4 threads", .pause, 4), series("futex, 4 threads", .futex, 4),
      ], base: pressure)
  }

  private static func kinds<Value>(
    _ placements: [ClaimSetup.Placement], _ change: @escaping (inout ClaimSetup, Value) -> Void
  ) -> [(String, (inout ClaimSetup, Value) -> Void)] {
    placements.flatMap { placement in
      ClaimSetup.ClaimProtocol.allCases.map { claimProtocol in
        (
          "\(claimProtocol.rawValue), \(placement.rawValue)",
          { setup, value in
            setup.claimProtocol = claimProtocol
            setup.placement = placement
            setup.cells = 16
            change(&setup, value)
          }
        )
      }
    }
  }

  static var threads: Preset {
    let values = [1, 2, 4, 8, 16]
    var preset = Preset(
      "threads", title: "More threads",
      question: "How does each protocol grow with threads, when cells are shared and when each thread has its own?",
      axis: "threads", values: values, labels: values.map(String.init), charts: [.throughput, .fairness, .latency],
      series: kinds([.shared, .owned]) { $0.threads = $1 },
      base: {
        $0.cells = 16
        // Room for 256 threads, or a full bitmap would be what is seen.
        $0.held = 2
      })
    preset.simulatedCores = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    return preset
  }

  static var crossFree: Preset {
    let values = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1]
    return Preset(
      "cross-free", title: "Frees by another thread",
      question: "How many frees must be remote before ownership hurts?",
      axis: "frees by another thread, %", values: values, labels: values.map { "\(Int($0 * 100))" },
      charts: [.throughput, .failures, .latency],
      series: kinds([.owned, .shared]) { $0.crossFree = $1 }, base: { $0.threads = 2 })
  }

  static var protocols: Preset {
    let values = [0, 50, 200, 1000, 5000]
    return Preset(
      "protocols", title: "Three protocols, three placements",
      question: "What does a lease buy over shared cells, and how much time between operations makes it all the same?",
      axis: "ns of computing between two operations", values: values, labels: values.map(String.init),
      charts: [.throughput, .latency, .fairness],
      series: kinds(ClaimSetup.Placement.allCases) { $0.workNanoseconds = $1 }, base: { $0.threads = 2 })
  }
}
