import Glibc
import ModelMachine

let help = """
  Checks every interleaving of small scenarios, on the engine's own code, with a machine in place of floor 0.

    Tests/ModelTests/run [OPTION…]

    --full              further deviations, more walks: half an hour or so
    --list              the scenarios and the mutants
    --scenario NAME     only this one (and again for others); no mutants
    --mutant NAME       only this one, with what happens; `all`: all of them, and no scenarios; `none`: only scenarios
    --orders            takes each part of each ordered operation away in turn, and says which are not noticed
    --order TEXT        the same of those only that are called so, as that report has it: `Heap/`, `FreeSet.swift tell`
    --walks N           walks by chance beyond the bound, a scenario (default 1000; 200000 with --full)
    --seed N            of these walks (default 1)
    --seconds N         explores a scenario no further after so long; the table says how far it came
    --replay SCENARIO[+MUTANT]:CHOICES
                        one run, as a failure has printed it, with what happens

  Exit status: 0 all is well, or the replayed run fails as said; 1 it is not; 64 a wrong option.
  """

func usage(_ what: String) -> Never {
  let line = "model: \(what)\n"
  _ = write(STDERR_FILENO, line, line.utf8.count)
  exit(64)
}

var checker = Checker()
var scenarios: [Scenario] = []
var chosenMutants: [Mutant]?
var walks: Int?
var checksOrders = false
// Of the ordered operations those in whose place, as the report has it, this is.
var orders = ""
var replay: String?

var arguments = CommandLine.arguments.dropFirst()
@MainActor func value(_ option: String) -> String {
  guard let value = arguments.popFirst() else { usage("\(option) needs a value") }
  return value
}

func scenario(_ name: some StringProtocol) -> Scenario {
  guard let scenario = Scenario.all.first(where: { $0.name == name }) else { usage("no scenario \(name)") }
  return scenario
}

func mutant(_ name: String) -> Mutant {
  guard let mutant = Mutant.named(name) else { usage("no mutant \(name)") }
  return mutant
}

while let argument = arguments.popFirst() {
  switch argument {
  case "--help", "-h":
    print(help)
    exit(0)
  case "--list":
    for scenario in Scenario.all { print("\(scenario.name): \(scenario.summary)") }
    for mutant in mutants { print("\(mutant.isHarmless ? "harmless" : "mutant") \(mutant.name): \(mutant.what)") }
    exit(0)
  case "--full": checker.isFull = true
  case "--scenario": scenarios.append(scenario(value(argument)))
  case "--mutant":
    let name = value(argument)
    chosenMutants = name == "all" ? mutants : name == "none" ? [] : (chosenMutants ?? []) + [mutant(name)]
  case "--orders": checksOrders = true
  case "--order":
    checksOrders = true
    orders = value(argument)
  case "--walks":
    guard let number = Int(value(argument)), number >= 0 else { usage("--walks needs a number") }
    walks = number
  case "--seed":
    guard let number = UInt64(value(argument)) else { usage("--seed needs a number") }
    checker.seed = number
  case "--seconds":
    guard let number = Double(value(argument)), number > 0 else { usage("--seconds needs a number") }
    checker.secondsEach = number
  case "--replay": replay = value(argument)
  default: usage("unknown option \(argument)")
  }
}
checker.walks = walks ?? (checker.isFull ? 200_000 : 1000)

if let replay {
  let parts = replay.split(separator: ":", maxSplits: 1)
  guard parts.count == 2, let schedule = Schedule(String(parts[1])) else { usage("--replay needs SCENARIO:CHOICES") }
  let names = parts[0].split(separator: "+", maxSplits: 1)
  if names.count == 2 { mp_machine_set_mutant(mutant(String(names[1])).number) }
  let scenario = scenario(names[0])
  scenario.begin()
  exit(checker.replay(scenario, schedule) ? 0 : 1)
}

mp_machine_print_by_line()
let start = Checker.now
let runsAll = scenarios.isEmpty && chosenMutants?.isEmpty != false && !checksOrders
if runsAll { checker.check(Litmus.all) }
if runsAll || !scenarios.isEmpty {
  print(Checker.header)
  for scenario in scenarios.isEmpty ? Scenario.all : scenarios { checker.check(scenario) }
  print(
    "\(scenarios.isEmpty ? Scenario.all.count : scenarios.count) scenarios: \(checker.schedules) schedules, "
      + "\(checker.states) states, \(checker.walked) walks from seed \(checker.seed)")
}
if runsAll && chosenMutants == nil || chosenMutants?.isEmpty == false {
  checker.check(chosenMutants ?? mutants, shows: chosenMutants.map { $0.count < mutants.count } ?? false)
}
if checksOrders { checker.checkOrders(orders) }
print("\(Int(Checker.now - start)) seconds, \(checker.failures == 0 ? "all is well" : "\(checker.failures) FAILED")")
exit(checker.failures == 0 ? 0 : 1)
