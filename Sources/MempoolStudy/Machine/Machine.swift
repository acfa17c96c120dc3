import CMempoolShims
import Foundation

/// What a study ran on, as it is written into its result.
package struct Machine: Codable, Equatable, Sendable {
  package var processor: String
  package var processors: Int
  package var memoryBytes: Int
  package var kernel: String
  package var architecture: String
  /// Processes that wanted to run, on average over a minute, at the start and at the end.
  package var loadAtStart: Double
  package var loadAtEnd: Double
  package var calibration: Calibration

  package static func look(_ calibration: Calibration) -> Machine {
    var names = utsname()
    uname(&names)
    func text<Name>(_ name: Name) -> String {
      withUnsafeBytes(of: name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
    let information = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let model = information.split(separator: "\n").first { $0.hasPrefix("model name") }
    return Machine(
      processor: model.flatMap { $0.split(separator: ":").last }.map { $0.trimmingCharacters(in: .whitespaces) }
        ?? "unknown",
      processors: sysconf(Int32(_SC_NPROCESSORS_ONLN)), memoryBytes: Int(mp_system_memory_size()),
      kernel: "\(text(names.sysname)) \(text(names.release))", architecture: text(names.machine),
      loadAtStart: load(), loadAtEnd: load(), calibration: calibration)
  }

  package static func load() -> Double {
    var load = 0.0
    return getloadavg(&load, 1) == 1 ? load : 0
  }

  /// Nanoseconds of a fixed piece of work that touches no memory: measured in every round, it tells how steady the machine was.
  package static func reference() -> Double {
    let steps = 200_000
    let start = mp_clock_nanoseconds()
    Calibration.compute(steps)
    return Double(mp_clock_nanoseconds() - start)
  }
}
