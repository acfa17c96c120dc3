import Foundation

/// Whole allocators: each runs the same traces, in a process of its own with its library preloaded.
package struct AllocatorStudy {
  /// An allocator to be measured.
  package struct Subject: Sendable {
    package let name: String
    /// What to preload; nil: the C library's malloc.
    package let library: String?
    package let variables: [String: String]

    package init(name: String, library: String?, variables: [String: String] = [:]) {
      self.name = name
      self.library = library
      self.variables = variables
    }
  }

  /// What one is measured by.
  package struct Work: Sendable {
    package let title: String
    package let threads: Int
    /// What the worker is told of it.
    package let arguments: [String]

    package init(title: String, threads: Int, arguments: [String]) {
      self.title = title
      self.threads = threads
      self.arguments = arguments
    }
  }

  package var preset: String
  package var title: String
  package var question: String
  package var subjects: [Subject]
  package var works: [Work]
  package var rounds = 9
  package var milliseconds = 100
  package var seed: UInt64 = 1
  package var command = ""
  /// The program that runs a trace, and its first arguments.
  package var worker: (program: URL, arguments: [String])

  package init(
    preset: String, title: String, question: String, subjects: [Subject], works: [Work],
    worker: (program: URL, arguments: [String])
  ) {
    self.preset = preset
    self.title = title
    self.question = question
    self.subjects = subjects
    self.works = works
    self.worker = worker
  }

  /// The modes of this engine, and the system's malloc.
  package static func subjects(library: String) -> [Subject] {
    [
      Subject(name: "libc", library: nil), Subject(name: "mempool", library: library),
      Subject(name: "mempool, fixed", library: library, variables: ["MEMPOOL_FIXED": "256M"]),
      Subject(name: "mempool, hardened 1", library: library, variables: ["MEMPOOL_HARDEN": "1"]),
      Subject(name: "mempool, hardened 3", library: library, variables: ["MEMPOOL_HARDEN": "3"]),
    ]
  }

  package func run(progress: (Double) -> Void, isInterrupted: () -> Bool) throws(StudyError) -> StudyResult? {
    var machine = Machine.look(Calibration.measure())
    var random = SplitMix64(seed: seed)
    var reference: [Double] = []
    let points = subjects.indices.flatMap { subject in works.indices.map { (subject: subject, work: $0) } }
    var outcomes = [[Replay.Outcome]](repeating: [], count: points.count)
    var completed = 0
    rounds: for round in 0..<rounds {
      for (step, index) in points.indices.shuffled(using: &random).enumerated() {
        if isInterrupted() { break rounds }
        progress(Double(round * points.count + step) / Double(rounds * points.count))
        guard let outcome = try run(subjects[points[index].subject], works[points[index].work], isInterrupted) else {
          break rounds
        }
        outcomes[index].append(outcome)
      }
      reference.append(Machine.reference())
      completed = round + 1
    }
    if reference.isEmpty { reference.append(Machine.reference()) }
    guard outcomes.contains(where: { !$0.isEmpty }) else { return nil }
    progress(1)
    machine.loadAtEnd = Machine.load()
    let rows = zip(points, outcomes).compactMap { point, outcomes in
      outcomes.isEmpty ? nil : row(point.subject, point.work, outcomes)
    }
    return StudyResult(
      preset: preset, title: title, question: question, command: command, seed: seed, millisecondsPerRun: milliseconds,
      roundsWanted: rounds, rounds: completed, machine: machine, reference: Sample(reference),
      axis: .init(title: "workload", labels: works.map(\.title)), rows: rows, simulated: nil)
  }

  private func row(_ subject: Int, _ work: Int, _ outcomes: [Replay.Outcome]) -> StudyResult.Row {
    StudyResult.Row(
      series: subjects[subject].name, position: work, threads: works[work].threads, setup: nil,
      operationsPerSecond: Sample(outcomes.map { 1e9 * Double($0.operations) / Double($0.nanoseconds) }),
      latency: StudyResult.Latency(medianOf: outcomes), claims: nil,
      peakMebibytes: Sample(outcomes.map { Double($0.peakResidentBytes) / 1048576 }))
  }

  /// Nil when it was interrupted.
  private func run(_ subject: Subject, _ work: Work, _ isInterrupted: () -> Bool) throws(StudyError) -> Replay.Outcome?
  {
    let process = Process()
    process.executableURL = worker.program
    process.arguments =
      worker.arguments + work.arguments + ["--milliseconds", "\(milliseconds)", "--seed", "\(seed)"]
    var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("MEMPOOL_") }
    environment["LD_PRELOAD"] = subject.library
    environment.merge(subject.variables) { $1 }
    process.environment = environment
    let output = Pipe()
    let errors = Pipe()
    process.standardOutput = output
    process.standardError = errors
    do { try process.run() } catch { throw StudyError("\(worker.program.path) cannot be started: \(error)") }
    let said = output.fileHandleForReading.readDataToEndOfFile()
    let complaints = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    // The worker is in a process group of its own, and Ctrl-C need not reach it: what it did is not kept.
    if isInterrupted() { return nil }
    guard process.terminationStatus == 0, let outcome = try? JSONDecoder().decode(Replay.Outcome.self, from: said)
    else {
      throw StudyError(
        "\(subject.name) did not run \(work.title): \(complaints.isEmpty ? "it ended without a word" : complaints)")
    }
    if let library = subject.library, !Self.isSame(outcome.provider, library) {
      throw StudyError("\(subject.name): \(library) is not the malloc of its process, \(outcome.provider) is")
    }
    return outcome
  }

  private static func isSame(_ first: String, _ second: String) -> Bool {
    URL(fileURLWithPath: first).resolvingSymlinksInPath() == URL(fileURLWithPath: second).resolvingSymlinksInPath()
  }
}

extension StudyResult.Latency {
  /// Each percentile's median over the rounds: a process's histogram ends with it.
  init(medianOf outcomes: [Replay.Outcome]) {
    func median(_ value: (Replay.Outcome) -> UInt64) -> UInt64 {
      UInt64(Sample(outcomes.map { Double(value($0)) }).median)
    }
    count = outcomes.reduce(0) { $0 + $1.timed }
    p50 = median(\.p50)
    p90 = median(\.p90)
    p99 = median(\.p99)
    p999 = median(\.p999)
    p9999 = median(\.p9999)
    maximum = outcomes.map(\.maximum).max() ?? 0
  }
}
