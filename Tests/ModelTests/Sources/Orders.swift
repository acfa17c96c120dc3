import ModelMachine

extension Checker {
  /// Takes each part of each ordered operation away in turn: what no scenario then notices is either not needed, or needed for
  /// something that no scenario does.
  mutating func checkOrders() {
    let used = usedOperations()
    var noticed = 0, unnoticed: [String] = [], unused = 0
    for operation in orderedOperations {
      guard let scenarios = used[operation.number] else {
        unused += 1
        continue
      }
      for part in operation.parts {
        mp_machine_weaken(operation.number, part.order)
        let what = "\(operation.file): \(operation.operation) without \(part.name)"
        if let found = find(first: scenarios, only: true) {
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
        + "\(unused) of \(orderedOperations.count) operations are in no scenario")
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
