import ModelMachine

/// The choices of a run, as a replay line has them: those that are not the first, `NUMBER.CHOICE`, joined by commas.
struct Schedule {
  var choices: [Int: Int]

  init(taken: [Int]) {
    choices = [:]
    for (number, choice) in taken.enumerated() where choice != 0 { choices[number] = choice }
  }

  init?(_ text: String) {
    choices = [:]
    for part in text.split(separator: ",") where part != "-" {
      let pair = part.split(separator: ".").map { Int($0) }
      guard pair.count == 2, let number = pair[0], let choice = pair[1] else { return nil }
      choices[number] = choice
    }
  }

  var text: String {
    choices.isEmpty ? "-" : choices.sorted { $0.key < $1.key }.map { "\($0.key).\($0.value)" }.joined(separator: ",")
  }
}

/// Makes the choices of a schedule, and the first of each where that says nothing.
final class Replay: Chooser {
  private let schedule: Schedule
  private(set) var taken: [Int] = []

  init(_ schedule: Schedule) { self.schedule = schedule }

  override func choose(_ point: mp_point) -> Int {
    let choice = min(schedule.choices[taken.count] ?? 0, Int(point.count) - 1)
    taken.append(choice)
    return choice
  }
}

/// Chooses by chance, as priorities with a few changes: what needs few changes at just the right steps is found soon.
final class Walk: Chooser {
  private var random: SplitMix64
  private var priorities: [Int] = []
  private var changes: Set<Int> = []
  private(set) var taken: [Int] = []

  init(seed: UInt64, steps: Int, threads: Int) {
    random = SplitMix64(seed: seed)
    priorities = (0..<threads).map { $0 + 100 }.shuffled(using: &random)
    for _ in 0..<random.below(6) { changes.insert(random.below(max(steps, 1))) }
  }

  override func choose(_ point: mp_point) -> Int {
    let choice = point.kind == MP_CHOOSE_MESSAGE ? message(point) : thread(point)
    taken.append(choice)
    return choice
  }

  private func message(_ point: mp_point) -> Int { random.below(4) == 0 ? random.below(Int(point.count)) : 0 }

  private func thread(_ point: mp_point) -> Int {
    if changes.contains(taken.count) { priorities[Int(point.current)] = -taken.count }
    var best = -1
    for index in 0..<Int(point.count) {
      let which = Int(point.option(index).which)
      if which >= priorities.count {
        if random.below(40) == 0 { return index }
        continue
      }
      // A sleep is cut short now and then.
      if point.option(index).early != 0, point.option(index).cost > 0, random.below(4) > 0 { continue }
      if best < 0 || priorities[which] > priorities[Int(point.option(best).which)] { best = index }
    }
    if best >= 0 { return best }
    return (0..<Int(point.count)).first { point.option($0).cost == 0 } ?? 0
  }
}
