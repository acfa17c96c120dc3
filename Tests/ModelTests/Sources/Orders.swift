import ModelMachine

extension Checker {
  /// Takes each part of each ordered operation away in turn: what no scenario then notices is either not needed, or needed for
  /// something that no scenario does: README.md says of each.
  mutating func checkOrders(_ text: String) {
    let used = usedOperations()
    var noticed = 0, unnoticed: [String] = [], unused = 0
    let operations = orderedOperations.filter { text.isEmpty || $0.place.contains(text) }
    for operation in operations {
      guard let scenarios = used[operation.number] else {
        unused += 1
        print("unused     \(operation.place)")
        continue
      }
      for part in operation.parts {
        mp_machine_weaken(operation.number, part.order)
        let what = "\(operation.place) without \(part.name)"
        if let found = findSoon(scenarios) {
          noticed += 1
          print("noticed    \(what): \(found.scenario.name), \(found.failure.what)")
        } else {
          unnoticed.append(what)
          print("unnoticed  \(what)")
        }
      }
    }
    mp_machine_weaken(0, MP_RELAXED)
    print(
      "orders: \(noticed) of \(noticed + unnoticed.count) parts are noticed when they lack; "
        + "\(unused) of \(operations.count) operations are in no scenario")
  }

  // The first scenario that notices what is wrong now, few deviations in all of them before more in one: at most two, or with --full as many
  // as each scenario has otherwise.
  private func findSoon(_ names: [String]) -> Catch? {
    var rest = Scenario.all.filter { names.contains($0.name) }
    var bound = 0
    while !rest.isEmpty {
      var next: [Scenario] = []
      for scenario in rest {
        scenario.begin()
        switch Explorer(scenario).explore(bound: bound, more: 0, isTimeUp: { false }) {
        case .failed(let failure): return Catch(scenario: scenario, failure: failure)
        case .complete(let isAll):
          if !isAll, bound < (isFull ? scenario.bound : min(scenario.bound, 2)) { next.append(scenario) }
        case .unfinished: break
        }
      }
      rest = next
      bound += 1
    }
    return nil
  }

  // In which scenarios threads execute each, as far as a few runs show.
  private func usedOperations() -> [Int32: [String]] {
    var used: [Int32: [String]] = [:]
    for scenario in Scenario.all {
      scenario.begin()
      let explorer = Explorer(scenario)
      _ = explorer.explore(bound: 1, more: 0, isTimeUp: { false })
      for operation in orderedOperations where mp_machine_site_uses(operation.number) > 0 {
        used[operation.number, default: []].append(scenario.name)
      }
    }
    return used
  }
}
