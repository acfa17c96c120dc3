import CMempoolShims
import Dispatch
import Foundation
import MempoolCore

/// The dense heap against the heap that it follows: what was claimed for that, and against size classes, with each of its two fits.
enum DenseHeapBenchmark: FamilyBenchmark {
  static let name = "denseheap"
  static let summary = """
    after the heap of tsload's mempool. Memory above the live bytes for objects of 4 to 256 bytes, each size as often as the others; times \
    are medians of interleaved rounds, per allocation and free.
    """

  static let usualRounds = 9

  static func run(rounds: Int, progress: (String) -> Void) throws(Failure) -> [FamilyRow] {
    progress("memory")
    var rows = try memory(rounds)
    for pattern in DensePattern.allCases {
      progress("time, \(pattern.title)")
      rows.append(try times(pattern, rounds))
    }
    rows.append(ratio(rows.suffix(DensePattern.allCases.count)))
    progress("frees by another thread")
    rows.append(try handedOver(rounds))
    for threads in [1, 2, 4, 8] {
      progress("the original's benchmark, \(threads) threads")
      rows.append(try phases(threads, rounds))
    }
    return rows
  }

  private static func subjects() throws(Failure) -> [any DenseSubject] {
    [
      try DensePoolSubject("mempool", .dense), try DensePoolSubject("mempool, tree", .denseTree),
      try DensePoolSubject("size classes", .classes),
    ]
  }

  // MARK: Memory

  private static func memory(_ rounds: Int) throws(Failure) -> [FamilyRow] {
    var excess: [[[Double]]] = [[[], [], []], [[], [], []]]
    var names: [String] = []
    for seed in UInt64(1)...UInt64(rounds) {
      let subjects = try subjects()
      names = subjects.map(\.name)
      for (index, subject) in subjects.enumerated() {
        let population = DensePopulation(subject, 100_000, seed: seed)
        excess[0][index].append(population.excess)
        population.replace(1_000_000)
        excess[1][index].append(population.excess)
        population.end()
        subject.end()
      }
    }
    let what =
      "memory above the live bytes, the headers of objects of up to 32 bytes left out, mean of \(rounds) seeds (%)"
    return zip(["100,000 objects allocated", "1,000,000 of them replaced at random"], excess).map { title, excess in
      FamilyRow(
        what: "\(title): \(what)", claim: nil,
        figures: zip(names, excess).map { .init(name: $0, value: $1.reduce(0, +) / Double($1.count)) }, bound: 12)
    }
  }

  // MARK: Time

  private static func median(_ values: [Double]) -> Double { Distribution(values).median }

  private static func times(_ pattern: DensePattern, _ rounds: Int) throws(Failure) -> FamilyRow {
    let subjects = try subjects() + [DenseLibcSubject()]
    var times = subjects.map { _ in [Double]() }
    for _ in 0..<rounds {
      for (index, subject) in subjects.enumerated() { times[index].append(pattern.nanoseconds(subject)) }
    }
    for subject in subjects { subject.end() }
    return FamilyRow(
      what: "\(pattern.title): an allocation and a free, the thread's own time (ns)", claim: nil,
      figures: zip(subjects, times).map { .init(name: $0.name, value: median($1)) }, bound: nil)
  }

  /// What the time of size classes is multiplied by, the geometric mean of the patterns.
  private static func ratio(_ rows: ArraySlice<FamilyRow>) -> FamilyRow {
    func mean(_ index: Int) -> Double {
      exp(rows.map { log($0.figures[index].value / $0.figures[2].value) }.reduce(0, +) / Double(rows.count))
    }
    return FamilyRow(
      what: "time over that of size classes, geometric mean of the \(rows.count) patterns", claim: nil,
      figures: [.init(name: "mempool", value: mean(0)), .init(name: "mempool, tree", value: mean(1))], bound: 2)
  }

  // MARK: Threads

  /// One thread allocates, another frees, in batches.
  private static func handedOver(_ rounds: Int) throws(Failure) -> FamilyRow {
    let subjects = try subjects()
    var times = subjects.map { _ in [Double]() }
    for _ in 0..<rounds {
      for (index, subject) in subjects.enumerated() { times[index].append(DensePattern.handedOver(subject)) }
    }
    for subject in subjects { subject.end() }
    return FamilyRow(
      what: "allocated by one thread, freed by another: both (ns)",
      claim: "a lock for each page, and one for the list of them",
      figures: zip(subjects, times).map { .init(name: $0.name, value: median($1)) }, bound: nil)
  }

  /// The original's: each thread allocates 500 objects, frees 250 and allocates 500 more; sizes from 1 to 512, which it meant to draw
  /// and did not: it measured objects of no bytes.
  private static func phases(_ threads: Int, _ rounds: Int) throws(Failure) -> FamilyRow {
    let subjects = try subjects() + [DenseLibcSubject()]
    var times = subjects.map { _ in [Double]() }
    for _ in 0..<rounds {
      for (index, subject) in subjects.enumerated() { times[index].append(DensePattern.phases(subject, threads)) }
    }
    for subject in subjects { subject.end() }
    return FamilyRow(
      what:
        "500 allocations, 250 frees, 500 allocations and the rest freed, by each of \(threads) threads: an operation (ns)",
      claim: "libc is faster, mempool is autonomous",
      figures: zip(subjects, times).map { .init(name: $0.name, value: median($1)) }, bound: nil)
  }
}
