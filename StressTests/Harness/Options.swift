/// What the command line asks for.
struct Options {
  var scenarios: [any Scenario.Type] = StressTests.scenarios
  var threads = 8
  var seconds = 60.0
  var seed = UInt64.random(in: 1...UInt64.max)
  var pools = PoolKind.allCases
  var jsonPath: String?
  var wantsList = false
  var wantsHelp = false

  /// Why a command line cannot be obeyed, and what to do about it.
  struct UsageError: Error {
    let message: String
  }

  /// A row an option: how it is spelled, what it takes, what it does.
  private struct Row: Sendable {
    let name: String
    let value: String?
    let help: String
    let apply: @Sendable (inout Options, String) throws -> Void
  }

  private static let table: [Row] = [
    Row(name: "--scenario", value: "NAME", help: "one of --list, several with commas, or all (default)") {
      $0.scenarios = try scenarios(named: $1)
    },
    Row(name: "--threads", value: "N", help: "live threads, 1…1024 (default 8)") {
      guard let n = Int($1), (1...1024).contains(n) else {
        throw UsageError(message: "--threads takes a number from 1 to 1024, not '\($1)'")
      }
      $0.threads = n
    },
    Row(name: "--seconds", value: "S", help: "how long, divided among the scenarios (default 60)") {
      guard let s = Double($1), s > 0, s <= 1_000_000 else {
        throw UsageError(message: "--seconds takes a number above 0, not '\($1)'")
      }
      $0.seconds = s
    },
    Row(name: "--seed", value: "X", help: "decimal or 0x…; the same seed asks for the same (default: random)") {
      let digits = $1.hasPrefix("0x") ? $1.dropFirst(2) : $1[...]
      guard let seed = UInt64(digits, radix: $1.hasPrefix("0x") ? 16 : 10) else {
        throw UsageError(message: "--seed takes a number of 64 bits, decimal or 0x…, not '\($1)'")
      }
      $0.seed = seed
    },
    Row(name: "--pool", value: "KIND,…", help: "some of \(PoolKind.names): one a round (default: all)") {
      $0.pools = try $1.split(separator: ",", omittingEmptySubsequences: false).map { name in
        guard let kind = PoolKind(rawValue: String(name)) else {
          throw UsageError(message: "--pool takes some of \(PoolKind.names), not '\(name)'")
        }
        return kind
      }
    },
    Row(name: "--json", value: "PATH", help: "writes the result there; - is standard output") { $0.jsonPath = $1 },
    Row(name: "--list", value: nil, help: "names the scenarios") { options, _ in options.wantsList = true },
    Row(name: "--help", value: nil, help: "prints this") { options, _ in options.wantsHelp = true },
  ]

  init(_ arguments: [String]) throws(UsageError) {
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let row = Self.table.first(where: { $0.name == parts[0] }) else {
        throw UsageError(message: "there is no option '\(argument)'")
      }
      var value = parts.count == 2 ? String(parts[1]) : nil
      if row.value == nil, value != nil { throw UsageError(message: "\(row.name) takes no value") }
      if let placeholder = row.value, value == nil {
        value = rest.popFirst()
        if value == nil { throw UsageError(message: "\(row.name) needs a value: \(row.name) \(placeholder)") }
      }
      do { try row.apply(&self, value ?? "") } catch { throw error as! UsageError }
    }
  }

  private static func scenarios(named names: String) throws -> [any Scenario.Type] {
    if names == "all" { return StressTests.scenarios }
    return try names.split(separator: ",", omittingEmptySubsequences: false).map { name in
      guard let scenario = StressTests.scenarios.first(where: { $0.name == name }) else {
        throw UsageError(message: "there is no scenario '\(name)': --list names them")
      }
      return scenario
    }
  }

  static var help: String {
    let width = 20
    let rows = table.map { row in
      let head = "  \(row.name)" + (row.value.map { " \($0)" } ?? "")
      return head + String(repeating: " ", count: max(1, width + 2 - head.count)) + row.help
    }
    return """
      Usage: mempool-stress [OPTION…]

      Loads the allocator from many threads, and checks every block's content.

      \(rows.joined(separator: "\n"))

      Exit status: 0 clean, 1 a check failed, 2 fewer threads than asked for, 64 a wrong command line.
      """
  }

  static var list: String {
    let width = scenarios.map { $0.name.count }.max() ?? 0
    return scenarios.map { scenario in
      scenario.name + String(repeating: " ", count: width + 2 - scenario.name.count) + scenario.summary
    }.joined(separator: "\n")
  }

  private static var scenarios: [any Scenario.Type] { StressTests.scenarios }
}
