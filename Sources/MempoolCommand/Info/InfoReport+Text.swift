import Foundation
import MempoolCore

extension InfoReport {
  var machineText: String {
    guard let machine else { return "" }
    func bytes(_ count: Int?) -> String { count.map { "\($0) bytes" } ?? "unlimited" }
    return """
      Machine
        architecture               \(machine.architecture), \(machine.coreCount) cores
        system page                \(machine.systemPageBytes) bytes
        address space (ulimit -v)  \(bytes(machine.addressSpaceLimitBytes))
        locked memory (ulimit -l)  \(bytes(machine.lockedMemoryLimitBytes))
        transparent huge pages     \(machine.transparentHugePages ?? "unknown")
        drop-in library            \(machine.dropInLibrary ?? "not built")
      """
  }

  var environmentText: String {
    var lines = ["Environment (* set here)"]
    for variable in environment ?? [] {
      let value = variable.value.isEmpty ? "(none)" : variable.value
      let mark = variable.isSet ? "*" : " "
      let standard = variable.isSet && !variable.default.isEmpty ? ", default \(variable.default)" : ""
      lines.append("\(mark) \(variable.name.padded(20)) \(value)  [\(variable.kind)\(standard)]")
      lines.append("    \(variable.summary)")
    }
    return lines.joined(separator: "\n")
  }

  var classesText: String {
    guard let classes, !classes.isEmpty else { return "Size classes\n  none: this pool passes through" }
    var lines = ["Size classes", "   item size       requests   worst waste"]
    for row in classes {
      let requests = "\(row.smallestRequest)…\(row.itemSize)"
      let waste = String(format: "%.1f %%", row.worstWaste * 100)
      lines.append("  \("\(row.itemSize)".aligned(10)) \(requests.aligned(14)) \(waste.aligned(13))")
    }
    // Whatever the classes are, 33 bytes aligned to 16 take 48: 36 is the first of that row which wastes no more than a quarter.
    func worst(from smallest: Int) -> Double {
      let wastes = classes.filter { $0.itemSize >= smallest }.map { row in
        Double(row.itemSize - max(row.smallestRequest, smallest)) / Double(row.itemSize)
      }
      return (wastes.max() ?? 0) * 100
    }
    lines.append(
      String(
        format: "At worst %.1f %% of an item is wasted above 128 bytes, %.1f %% from 36 bytes on.", worst(from: 129),
        worst(from: 36)))
    lines.append(
      "33 to 35 bytes take 48 and waste 27 to 31 %: what alignment to 16 costs. Up to 32 bytes it is at most 15 bytes.")
    lines.append(
      "A block of a context has \(ContextStatistics.overhead) bytes in front of it; in a context's pool, multiples of 16 are taken."
    )
    return lines.joined(separator: "\n")
  }
}

extension String {
  /// Followed by spaces up to `width` characters.
  func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }

  /// After spaces up to `width` characters.
  func aligned(_ width: Int) -> String { String(repeating: " ", count: max(0, width - count)) + self }
}
