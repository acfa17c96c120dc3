import Foundation
import Mempool
import MempoolCore

/// What `mempool info` tells: facts, gathered once, then shown as text or as JSON.
struct InfoReport: Encodable {
  struct Machine: Encodable {
    let architecture: String
    let coreCount: Int
    let systemPageBytes: Int
    /// Nil: unlimited.
    let addressSpaceLimitBytes: Int?
    /// Nil: unlimited.
    let lockedMemoryLimitBytes: Int?
    let transparentHugePages: String?
    let dropInLibrary: String?
  }

  struct Variable: Encodable {
    let name: String
    let kind: String
    let `default`: String
    let value: String
    let isSet: Bool
    let summary: String
  }

  struct SizeClass: Encodable {
    let itemSize: Int
    let smallestRequest: Int
    /// What the smallest request wastes of an item, from 0 to 1.
    let worstWaste: Double
  }

  let machine: Machine?
  let environment: [Variable]?
  let classes: [SizeClass]?

  static func current() -> InfoReport {
    // The pool starts with its first allocation.
    let pool = MemoryPoolPointer.shared
    pool.deallocate(pool.allocate(1))
    return InfoReport(
      machine: .current(), environment: Variable.all(), classes: SizeClass.table(pool.statistics()))
  }
}

extension InfoReport.Machine {
  static func current() -> InfoReport.Machine {
    InfoReport.Machine(
      architecture: Self.architecture,
      coreCount: ProcessInfo.processInfo.activeProcessorCount,
      systemPageBytes: Int(sysconf(Int32(_SC_PAGESIZE))),
      addressSpaceLimitBytes: limit(RLIMIT_AS),
      lockedMemoryLimitBytes: limit(__RLIMIT_MEMLOCK),
      transparentHugePages: hugePages(),
      dropInLibrary: try? LibraryLocation.find(given: nil).path)
  }

  private static var architecture: String {
    var name = utsname()
    uname(&name)
    return withUnsafeBytes(of: &name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  private static func limit(_ resource: __rlimit_resource) -> Int? {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, limit.rlim_cur <= UInt(Int.max) else {
      return nil
    }
    return Int(limit.rlim_cur)
  }

  /// The kernel's choice: the word in brackets.
  private static func hugePages() -> String? {
    let file = "/sys/kernel/mm/transparent_hugepage/enabled"
    guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { return nil }
    return text.split(separator: "[").last?.split(separator: "]").first.map(String.init)
  }
}

extension InfoReport.Variable {
  static func all() -> [InfoReport.Variable] {
    let settings = EnvironmentSettings.process.pointee
    return (0..<EnvironmentVariable.count).map { index in
      let variable = EnvironmentVariable(rawValue: index)!
      let row = variable.row
      let isSet = settings.isGiven(variable)
      return InfoReport.Variable(
        name: "\(row.name)", kind: row.kindText, default: "\(row.standard)",
        value: isSet ? ProcessInfo.processInfo.environment["\(row.name)"] ?? "" : "\(row.standard)", isSet: isSet,
        summary: "\(row.summary)")
    }
  }
}

extension EnvironmentVariable.Row {
  var kindText: String {
    switch kind {
    case .number: "\(unit)"
    case .size: "bytes"
    case .choice(let words): "\(words)"
    case .path: "path"
    }
  }
}

extension InfoReport.SizeClass {
  static func table(_ statistics: PoolStatistics) -> [InfoReport.SizeClass] {
    var smallest = 1
    return (0..<Int(statistics.classCount)).map { index in
      let itemSize = Int(statistics.classes[index].itemSize)
      defer { smallest = itemSize + 1 }
      return InfoReport.SizeClass(
        itemSize: itemSize, smallestRequest: smallest, worstWaste: Double(itemSize - smallest) / Double(itemSize))
    }
  }
}
