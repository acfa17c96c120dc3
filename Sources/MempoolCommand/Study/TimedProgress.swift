import CMempoolShims
import Foundation

/// A bar with the time that is left, on a terminal; nothing elsewhere.
struct TimedProgress {
  private let line = ProgressLine()
  private let name: String
  private let start = mp_clock_nanoseconds()

  init(_ name: String) { self.name = name }

  /// - Parameter part: What is done, in 0…1.
  func show(_ part: Double) {
    line.show(Self.text(name, part, seconds: Double(mp_clock_nanoseconds() - start) / 1e9))
  }

  func clear() { line.clear() }

  /// What is left is as long as what is done was, in proportion; of the first hundredth nothing can be said.
  static func text(_ name: String, _ part: Double, seconds: Double) -> String {
    let width = 30
    let filled = Int((part * Double(width)).rounded(.down))
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    guard part > 0.01 else { return "\(name) \(bar)" }
    let left = Int((seconds / part * (1 - part)).rounded(.up))
    return "\(name) \(bar) \(Int(part * 100)) %, \(left / 60):\(left % 60 < 10 ? "0" : "")\(left % 60) left"
  }
}
