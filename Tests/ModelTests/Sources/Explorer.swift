import ModelMachine

/// Goes through all runs of a scenario that deviate at most so often, depth first.
///
/// A run is started anew for each choice, up to which it repeats an earlier one. A state that was reached before with as many deviations left
/// is not gone on from: the hash of a state is one of what each thread has observed, whose order of independent operations makes no
/// difference to. So of all orders of them one is explored.
final class Explorer: Chooser {
  private struct Choice {
    var costs: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8)
    var count: UInt8
    var index: UInt8
    // Deviations before it.
    var spent: Int32
    var key: UInt64

    func cost(_ index: Int) -> Int32 { withUnsafeBytes(of: costs) { Int32($0[index]) } }
  }

  private let scenario: Scenario
  private var choices: [Choice] = []
  private var depth = 0
  private var spent: Int32 = 0
  private var visited = StateSet()
  private var bound: Int32 = 0
  // Some choice cost more than was left.
  private var isCut = false
  /// Of all bounds so far.
  private(set) var schedules = 0
  private(set) var states = 0
  private(set) var steps = 0

  // Not to is for litmus tests, which compare.
  private let reduces: Bool

  init(_ scenario: Scenario, reduces: Bool = true) {
    self.scenario = scenario
    self.reduces = reduces
  }

  override var beginsNew: Bool { choices.isEmpty }

  override func choose(_ point: mp_point) -> Int {
    if depth < choices.count {
      let choice = choices[depth]
      depth += 1
      // The last one is another than in the run before.
      if depth == choices.count { mp_machine_is_new(1) }
      spent = choice.spent + choice.cost(Int(choice.index))
      return Int(choice.index)
    }
    let key =
      point.state &+ UInt64(truncatingIfNeeded: point.current + 1) &* 0x9e37_79b9_7f4a_7c15
      ^ (point.kind == MP_CHOOSE_MESSAGE ? 0x5bd1_e995_0000_0001 : 0)
    if reduces {
      guard let isNew = visited.insert(key, left: UInt8(truncatingIfNeeded: bound - spent)) else {
        // Something happens between any two points, so a run comes to no state twice: if it did, a part would never be explored.
        precondition(!choices.contains { $0.key == key }, "a run came to the same state twice")
        return -1
      }
      if isNew { states += 1 }
    }
    var choice = Choice(costs: (0, 0, 0, 0, 0, 0, 0, 0), count: UInt8(point.count), index: 0, spent: spent, key: key)
    withUnsafeMutableBytes(of: &choice.costs) { costs in
      for index in 0..<Int(point.count) { costs[index] = UInt8(point.option(index).cost) }
    }
    // What costs nothing first.
    while choice.cost(Int(choice.index)) > 0, choice.index + 1 < choice.count { choice.index += 1 }
    spent += choice.cost(Int(choice.index))
    choices.append(choice)
    depth += 1
    return Int(choice.index)
  }

  /// The next choice that differs from those made so far; false: there is none.
  private func backtrack() -> Bool {
    while var choice = choices.popLast() {
      let first = (0..<Int(choice.count)).first { choice.cost($0) == 0 } ?? 0
      var next = Int(choice.index)
      // The first of those that cost nothing came first, whatever its place.
      next = next == first ? 0 : next + 1
      while next < Int(choice.count) {
        if next != first {
          if choice.spent + choice.cost(next) <= bound { break }
          isCut = true
        }
        next += 1
      }
      if next < Int(choice.count) {
        choice.index = UInt8(next)
        choices.append(choice)
        return true
      }
    }
    return false
  }

  struct Failure {
    let what: String
    let schedule: Schedule
    /// Operations on shared words.
    let steps: Int
    /// Deviations that it takes.
    let bound: Int
  }

  enum Result {
    /// All runs within the bound; `isAll`: no bound would have more.
    case complete(isAll: Bool)
    case failed(Failure)
    /// Out of time.
    case unfinished
  }

  /// All runs of at most `bound` deviations. After a failure goes on for `more` runs, to find a shorter one. `isTimeUp` is
  /// asked now and then.
  func explore(bound: Int, more: Int, isTimeUp: () -> Bool) -> Result {
    self.bound = Int32(bound)
    restart()
    var best: Failure?
    var rest = more
    let settings = scenario.settings()
    while true {
      depth = 0
      spent = 0
      let outcome = scenario.run(settings, self)
      schedules += 1
      steps += Int(mp_machine_steps())
      switch outcome {
      case .again:
        // There are more points to choose at: a schedule's numbers mean others now.
        best = nil
        rest = more
        restart()
        continue
      case .failed(let what):
        let count = Int(mp_machine_steps())
        if count < best?.steps ?? .max {
          let schedule = Schedule(taken: choices.prefix(depth).map { Int($0.index) })
          best = Failure(what: what, schedule: schedule, steps: count, bound: bound)
        }
      case .done, .givenUp: break
      }
      if best != nil { rest -= 1 }
      if !backtrack() || rest < 0 { return best.map { .failed($0) } ?? .complete(isAll: !isCut) }
      if schedules % 256 == 0, isTimeUp() { return best.map { .failed($0) } ?? .unfinished }
    }
  }

  private func restart() {
    choices = []
    visited.clear()
    states = 0
    isCut = false
  }
}

/// The hashes of states that were seen, each with the deviations that were left there at most.
struct StateSet {
  private var keys: [UInt64] = []
  private var left: [UInt8] = []
  private var count = 0

  mutating func clear() {
    keys = Array(repeating: 0, count: 1 << 12)
    left = Array(repeating: 0, count: 1 << 12)
    count = 0
  }

  /// Nil: it was seen with as many left. Else whether it is new.
  mutating func insert(_ state: UInt64, left now: UInt8) -> Bool? {
    if count * 2 > keys.count { grow() }
    let key = state == 0 ? 1 : state
    var index = Int(truncatingIfNeeded: key) & (keys.count - 1)
    while keys[index] != 0 {
      if keys[index] == key {
        if left[index] >= now { return nil }
        left[index] = now
        return false
      }
      index = (index + 1) & (keys.count - 1)
    }
    keys[index] = key
    left[index] = now
    count += 1
    return true
  }

  private mutating func grow() {
    let oldKeys = keys, oldLeft = left
    keys = Array(repeating: 0, count: oldKeys.count * 2)
    left = Array(repeating: 0, count: oldKeys.count * 2)
    for (old, key) in oldKeys.enumerated() where key != 0 {
      var index = Int(truncatingIfNeeded: key) & (keys.count - 1)
      while keys[index] != 0 { index = (index + 1) & (keys.count - 1) }
      keys[index] = key
      left[index] = oldLeft[old]
    }
  }
}
