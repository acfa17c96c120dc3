#if CommandLine
  import ArgumentParser
  import Foundation

  struct InfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "info",
      abstract: "Tells how the allocator is set up here: machine, environment, size classes and their waste.",
      discussion: "Without an option all of it. What the environment says now is what `mempool run` would pass on."
    )

    @Flag(help: "Only the variables of the environment: what they mean, their defaults and what is in force.")
    var environment = false

    @Flag(help: "Only the size classes, with what each wastes at worst.")
    var classes = false

    @Flag(help: "As JSON.")
    var json = false

    func run() throws {
      let report = InfoReport.current()
      let all = !environment && !classes
      if json {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let part = InfoReport(
          machine: all ? report.machine : nil, environment: all || environment ? report.environment : nil,
          classes: all || classes ? report.classes : nil)
        print(String(decoding: try encoder.encode(part), as: UTF8.self))
        return
      }
      if all { print(report.machineText, terminator: "\n\n") }
      if all || environment { print(report.environmentText) }
      if all { print() }
      if all || classes { print(report.classesText) }
    }
  }
#endif
