#if CommandLine
  import ArgumentParser
  import Foundation

  struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "bench",
      abstract: "Measures the pool against the C library's malloc: ns per operation, in three phases.",
      discussion: """
        Each thread makes 500 allocations, frees 250 of them in random order, and makes 500 more. Both allocators are measured in \
        one process, in turn, by threads that start each round together. A figure is the median over the rounds of the median over a \
        round's cycles; the quartiles beside it are over the rounds. More threads than cores measure the scheduler too, for both.
        """)

    @Option(help: ArgumentHelp("Numbers of live threads, such as 1,4.", valueName: "list"))
    var threads = ThreadCounts(values: [1, 4])

    @Option(help: ArgumentHelp("Sizes, drawn uniformly, such as 1…512, 1-512 or 64.", valueName: "range"))
    var sizes = SizeRange(range: 1...512)

    @Option(help: ArgumentHelp("Rounds of each allocator. (default: 60; of a family, its own number)", valueName: "n"))
    var rounds: Int?

    @Option(help: ArgumentHelp("Times that each thread goes through the phases in a round.", valueName: "n"))
    var cycles = 50

    @Option(help: ArgumentHelp("Draws other sizes and another order of frees.", valueName: "n"))
    var seed: UInt64 = 1

    @Option(
      help: ArgumentHelp(
        "Measures a kind of pool against its original's claims instead: \(Families.names).", valueName: "name"))
    var family: String?

    @Flag(help: "As JSON.")
    var json = false

    @Flag(help: "Exit with 1 when the pool is slower in some phase, or a family misses a bound.")
    var check = false

    func validate() throws {
      if let rounds, !(1...1_000_000).contains(rounds) {
        throw ValidationError("--rounds \(rounds): from 1 to 1000000.")
      }
      if let family, Families.named(family) == nil {
        throw ValidationError("--family \(family): one of \(Families.names).")
      }
      guard (1...1_000_000).contains(cycles) else { throw ValidationError("--cycles \(cycles): from 1 to 1000000.") }
    }

    func run() throws {
      if ProcessInfo.processInfo.environment["LD_PRELOAD"]?.isEmpty == false {
        warn("something is preloaded: what is called libc below may be another allocator")
      }
      if let family = family.flatMap(Families.named) { return try run(family) }
      let plan = BenchmarkPlan(
        threadCounts: threads.values, sizes: sizes.range, roundCount: rounds ?? 60, cycleCount: cycles, seed: seed)
      let progress = ProgressLine()
      let results = plan.threadCounts.flatMap { count in
        orEnd { () throws(Failure) in
          try Benchmark.run(plan, threadCount: count) { round in
            progress.show("\(count) threads, round \(round) of \(plan.roundCount)")
          }
        }
      }
      progress.clear()
      let report = BenchmarkReport(plan: plan, results: results)
      print(json ? try report.json() : report.text)
      if check && !results.allSatisfy(\.isAtLeastAsFast) { throw ExitCode(1) }
    }

    private func run(_ family: any FamilyBenchmark.Type) throws {
      let progress = ProgressLine()
      let rows = orEnd { () throws(Failure) in
        try family.run(rounds: rounds ?? family.usualRounds, progress: progress.show)
      }
      progress.clear()
      let report = FamilyReport(family: family.name, summary: family.summary, rows: rows)
      print(json ? try report.json() : report.text)
      if check && !report.isMet { throw ExitCode(1) }
    }
  }

  struct ThreadCounts: ExpressibleByArgument {
    let values: [Int]

    init(values: [Int]) { self.values = values }

    init?(argument: String) {
      let values = argument.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
      guard values.allSatisfy({ ($0 ?? 0) >= 1 && ($0 ?? 0) <= 1024 }) else { return nil }
      self.values = values.compactMap { $0 }
    }

    var defaultValueDescription: String { values.map(String.init).joined(separator: ",") }
  }

  struct SizeRange: ExpressibleByArgument {
    let range: ClosedRange<Int>

    init(range: ClosedRange<Int>) { self.range = range }

    init?(argument: String) {
      let bounds = argument.split { $0 == "…" || $0 == "." || $0 == "-" }.map { Int($0) }
      guard let first = bounds.first ?? nil, let last = bounds.last ?? nil, bounds.count <= 2 else { return nil }
      guard first >= 1, last >= first, last <= 1 << 30 else { return nil }
      range = first...last
    }

    var defaultValueDescription: String { "\(range.lowerBound)…\(range.upperBound)" }
  }
#endif
