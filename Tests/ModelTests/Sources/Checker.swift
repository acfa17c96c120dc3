import Glibc
import ModelMachine

/// Runs scenarios, reports what it finds, and says how much it has looked at.
struct Checker {
  var isFull = false
  var walks = 0
  var seed: UInt64 = 1
  /// Seconds that one scenario may take; what it did not come to is said.
  var secondsEach = Double.infinity
  private(set) var schedules = 0
  private(set) var states = 0
  private(set) var walked = 0
  private(set) var failures = 0

  /// Seconds of the processor: what else the machine does makes no difference.
  static var now: Double {
    var now = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func right(_ value: Int, _ width: Int) -> String {
    let text = String(value)
    return String(repeating: " ", count: max(0, width - text.count)) + text
  }

  static let header = pad("scenario", 24) + pad("deviations", 12) + " schedules    states     steps  seconds"

  /// All runs within the bound, and walks beyond.
  mutating func check(_ scenario: Scenario) {
    let start = Self.now, limit = secondsEach
    scenario.begin()
    let explorer = Explorer(scenario)
    var reached = "none", states = 0, failure: Explorer.Failure?
    bounds: for bound in 0...(isFull ? scenario.fullBound : scenario.bound) {
      switch explorer.explore(bound: bound, more: 20_000, isTimeUp: { Self.now - start > limit }) {
      case .complete(let isAll):
        reached = isAll ? "all" : "up to \(bound)"
        states = explorer.states
        if isAll { break bounds }
      case .failed(let found):
        failure = found
        break bounds
      case .unfinished:
        states = explorer.states
        break bounds
      }
    }
    if failure == nil { failure = walk(scenario) }
    schedules += explorer.schedules
    self.states += states
    let tenths = Int((Self.now - start) * 10)
    print(
      Self.pad(scenario.name, 24) + Self.pad(reached, 12) + Self.right(explorer.schedules, 10)
        + Self.right(states, 10) + Self.right(explorer.steps, 10) + Self.right(tenths / 10, 7) + ".\(tenths % 10)")
    guard let failure else { return }
    failures += 1
    print("FAILED  \(scenario.name): \(failure.what)")
    print("        after \(failure.steps) steps, \(failure.schedule.choices.count) choices that are not the first")
    replay(scenario, failure.schedule)
    print("replay: Tests/ModelTests/run --replay \(scenario.name):\(failure.schedule.text)")
  }

  // By chance, beyond the bound; half of what the seed says is the scenario's own, so that each has other walks.
  private mutating func walk(_ scenario: Scenario) -> Explorer.Failure? {
    let settings = scenario.settings()
    var steps = 60
    for number in 0..<UInt64(walks) {
      let seed = seed &* 1_000_003 &+ number
      while true {
        let walk = Walk(seed: seed, steps: steps, threads: scenario.bodies.count)
        let outcome = scenario.run(settings, walk)
        if outcome == .again { continue }
        walked += 1
        steps = max(steps, walk.taken.count)
        if case .failed(let what) = outcome { return shortened(scenario, Schedule(taken: walk.taken), what) }
        break
      }
    }
    return nil
  }

  // Without each of its choices that the failure does not need.
  private func shortened(_ scenario: Scenario, _ schedule: Schedule, _ what: String) -> Explorer.Failure {
    var schedule = schedule
    let settings = scenario.settings()
    for choice in schedule.choices.keys.sorted(by: >) {
      var shorter = schedule
      shorter.choices[choice] = nil
      if scenario.run(settings, Replay(shorter)) == .failed(what) { schedule = shorter }
    }
    _ = scenario.run(settings, Replay(schedule))
    return Explorer.Failure(
      what: what, schedule: schedule, steps: Int(mp_machine_steps()), bound: schedule.choices.count)
  }

  private func outcome(_ scenario: Scenario, _ schedule: Schedule, records: Bool = false) -> Scenario.Outcome {
    var outcome = Scenario.Outcome.again
    // What several threads use is found by running.
    while outcome == .again { outcome = scenario.run(scenario.settings(records: records), Replay(schedule)) }
    return outcome
  }

  /// Runs a schedule and prints what happens; whether it fails.
  @discardableResult
  func replay(_ scenario: Scenario, _ schedule: Schedule) -> Bool {
    let outcome = outcome(scenario, schedule, records: true)
    Table.print(scenario.bodies.count)
    if case .failed(let what) = outcome {
      print("  → \(what)")
      return true
    }
    print("  → nothing is wrong")
    return false
  }

  /// Whether the machine shows what it must.
  mutating func check(_ tests: [Litmus]) {
    var right = 0
    for test in tests {
      let (reduced, whole) = test.run()
      if reduced == test.shows, whole == test.shows {
        right += 1
        continue
      }
      failures += 1
      print(
        "FAILED   \(test.name): shows \(reduced.sorted()), without reduction \(whole.sorted()), not \(test.shows.sorted())"
      )
    }
    print("litmus tests of the machine: \(right) of \(tests.count) show what they must")
  }

  // MARK: Mutants

  struct Catch {
    let scenario: Scenario
    let failure: Explorer.Failure
  }

  /// The first scenario that notices what is wrong now with the engine, of those named first, then of all others.
  func find(first names: [String], only isOnly: Bool = false) -> Catch? {
    let first = names.compactMap { name in Scenario.all.first { $0.name == name } }
    let rest = isOnly ? [] : Scenario.all.filter { !names.contains($0.name) }
    for scenario in first + rest {
      scenario.begin()
      let explorer = Explorer(scenario)
      for bound in 0...(isFull ? scenario.fullBound : scenario.bound) {
        let result = explorer.explore(bound: bound, more: 1000, isTimeUp: { false })
        if case .failed(let failure) = result { return Catch(scenario: scenario, failure: failure) }
        if case .complete(isAll: true) = result { break }
      }
    }
    return nil
  }

  /// Whether all of these are caught, each for what it is, and the harmless ones not. `shows`: with what happened.
  mutating func check(_ mutants: [Mutant], shows: Bool) {
    var caught = 0, wanted = 0
    for mutant in mutants {
      mp_machine_set_mutant(mutant.number)
      let found = find(first: mutant.scenarios, only: mutant.isHarmless && !isFull)
      if !mutant.isHarmless { wanted += 1 }
      switch (found, mutant.isHarmless) {
      case (let found?, let isHarmless):
        let isWanted = mutant.shows.contains { found.failure.what.contains($0) }
        if isWanted { caught += 1 } else { failures += 1 }
        let count = found.failure.bound
        let replayed = outcome(found.scenario, found.failure.schedule)
        if replayed != .failed(found.failure.what) {
          failures += 1
          print("FAILED   the replay of \(mutant.name) shows something else: \(replayed)")
        }
        print(
          Self.pad(isWanted ? "caught" : "FAILED", 9) + Self.pad(mutant.name, 34) + "\(found.scenario.name), "
            + "\(count == 1 ? "1 deviation" : "\(count) deviations"), \(found.failure.steps) steps: \(found.failure.what)"
        )
        if !isWanted, !isHarmless { print("         and not: \(mutant.shows.joined(separator: "; "))") }
        if shows {
          print("         \(mutant.what)")
          replay(found.scenario, found.failure.schedule)
          print(
            "replay: Tests/ModelTests/run --replay \(found.scenario.name)+\(mutant.name):\(found.failure.schedule.text)"
          )
        }
      case (nil, true): print(Self.pad("harmless", 9) + Self.pad(mutant.name, 34) + "as it must be")
      case (nil, false):
        failures += 1
        print(Self.pad("MISSED", 9) + mutant.name)
      }
    }
    mp_machine_set_mutant(0)
    print("mutants: \(caught) of \(wanted) caught")
  }
}
