extension Launch {
  /// Options of `run` and `record` that take a value of their own.
  private static let valued: Set = ["--fixed", "--library", "--stats-file", "--output", "--sample", "--recorder"]

  /// Arguments as the parser understands them: it knows no option with an optional value, so `--stats` gets its own here,
  /// and it would read the program's options as ours, so the first word that is no option gets its `--`.
  static func normalized(_ arguments: [String]) -> [String] {
    guard arguments.first == "run" || arguments.first == "record" else { return arguments }
    var result = arguments
    var index = 1
    while index < result.count, result[index].hasPrefix("-") {
      if result[index] == "--" { return result }
      if result[index] == "--stats" { result[index] = "--stats=text" }
      index += valued.contains(result[index]) ? 2 : 1
    }
    if index < result.count { result.insert("--", at: index) }
    return result
  }
}
