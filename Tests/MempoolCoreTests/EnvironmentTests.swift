import Foundation
import Testing

@testable import MempoolCore

/// Serialised: these tests change the process's environment and read what goes to standard error.
@Suite(.serialized) struct EnvironmentTests {
  static var allVariables: [EnvironmentVariable] {
    (0..<EnvironmentVariable.count).map { EnvironmentVariable(rawValue: $0)! }
  }

  /// Runs `body` with these variables and no other of ours, and returns what it wrote to standard error, line by line.
  static func with(_ variables: [String: String], _ body: () -> Void) -> [String] {
    for variable in allVariables { unsetenv("\(variable.row.name)") }
    for (name, value) in variables { setenv(name, value, 1) }
    defer { for name in variables.keys { unsetenv(name) } }
    return capturing(body)
  }

  /// Runs `body`, and returns what it wrote to standard error, line by line.
  static func capturing(_ body: () -> Void) -> [String] {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("mempool-\(UUID().uuidString)")
    let descriptor = open(file.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    let saved = dup(2)
    dup2(descriptor, 2)
    body()
    dup2(saved, 2)
    close(saved)
    close(descriptor)
    defer { try? FileManager.default.removeItem(at: file) }
    let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").map(String.init).filter { $0.hasPrefix("mempool: ") }
  }

  static func read(_ variables: [String: String]) -> (EnvironmentSettings, [String]) {
    var settings = EnvironmentSettings()
    let lines = with(variables) { settings = .read() }
    return (settings, lines)
  }

  @Test func defaultsAreTheDocumentedOnes() {
    let (settings, lines) = Self.read([:])
    #expect(lines.isEmpty)
    #expect(settings.maxRetries == 3)
    #expect(settings.waitNanoseconds == 1000)
    #expect(settings.reserveByteCount == 0)
    #expect(settings.fixedByteCount == 0)
    #expect(!settings.isLocked)
    #expect(settings.isPrefaulted)
    #expect(settings.exhaustion == .fail)
    #expect(settings.smallObjects == .classes)
    #expect(settings.hardening == .off)
    #expect(settings.purgeDelayMilliseconds == 1000)
    #expect(settings.hasPurgeThread)
    #expect(settings.guardSampleInterval == 0 && settings.guardSlotCount == 128)
    #expect(settings.statisticsFormat == nil)
    #expect(settings.statisticsProcess == 0)
    #expect(settings.statisticsPath.isEmpty)
    for variable in Self.allVariables { #expect(!settings.isGiven(variable)) }
  }

  @Test func everyVariableIsRead() {
    let (settings, lines) = Self.read([
      "MPMAXRETRIES": "0", "MPWAITTIME": "250", "MEMPOOL_RESERVE": "2T", "MEMPOOL_FIXED": "64m", "MEMPOOL_LOCK": "1",
      "MEMPOOL_PREFAULT": "0", "MEMPOOL_EXHAUSTION": "system", "MEMPOOL_SMALL": "dense", "MEMPOOL_HARDEN": "3",
      "MEMPOOL_PURGE_DELAY": "0", "MEMPOOL_PURGE_THREAD": "0", "MEMPOOL_GUARD_SAMPLE": "1000",
      "MEMPOOL_GUARD_SLOTS": "32",
      "MEMPOOL_SHOW_STATS": "json", "MEMPOOL_STATS_FILE": "/tmp/a%pb",
      "MEMPOOL_STATS_PROCESS": "4711",
    ])
    #expect(lines.isEmpty)
    #expect(settings.maxRetries == 0)
    #expect(settings.waitNanoseconds == 250)
    #expect(settings.reserveByteCount == 2 << 40)
    #expect(settings.fixedByteCount == 64 << 20)
    #expect(settings.isLocked)
    #expect(!settings.isPrefaulted)
    #expect(settings.exhaustion == .system)
    #expect(settings.smallObjects == .dense)
    #expect(settings.hardening == .guards && settings.poolOptions.hardening == .guards)
    #expect(settings.purgeDelayMilliseconds == 0)
    #expect(!settings.hasPurgeThread)
    #expect(settings.guardSampleInterval == 1000 && settings.guardSlotCount == 32)
    #expect(settings.statisticsFormat == .json)
    #expect(settings.statisticsProcess == 4711)
    #expect(settings.statisticsPath.withCString { String(cString: $0) } == "/tmp/a\(getpid())b")
    for variable in Self.allVariables { #expect(settings.isGiven(variable)) }
    let options = settings.poolOptions
    #expect(options.maxRetries == 0 && options.waitNanoseconds == 250 && options.purgeDelayMilliseconds == 0)
    guard case .fixed(64 << 20, true, false) = options.backing else {
      Issue.record("not fixed: \(options.backing)")
      return
    }
  }

  @Test(arguments: [
    ("MPMAXRETRIES", "abc", "not a whole number; using 3"),
    ("MPMAXRETRIES", "-1", "not a whole number; using 3"),
    ("MPMAXRETRIES", " 3", "not a whole number; using 3"),
    ("MPMAXRETRIES", "3x", "not a whole number; using 3"),
    ("MPMAXRETRIES", "1000001", "too large; at most 1000000; using 3"),
    ("MPWAITTIME", "99999999999999999999999", "too large; at most 10000000000; using 1000"),
    ("MEMPOOL_FIXED", "64MB", "not a size (a whole number of bytes, or one with K, M, G or T); using 0"),
    ("MEMPOOL_FIXED", "K", "not a size (a whole number of bytes, or one with K, M, G or T); using 0"),
    ("MEMPOOL_FIXED", "1K", "too small; at least 1048576; using 0"),
    ("MEMPOOL_RESERVE", "18446744073709551615T", "too large; at most 9223372036854775807; using 0"),
    ("MEMPOOL_LOCK", "yes", "not one of 0|1; using 0"),
    ("MEMPOOL_EXHAUSTION", "fai", "not one of fail|abort|system; using fail"),
    ("MEMPOOL_EXHAUSTION", "failing", "not one of fail|abort|system; using fail"),
    ("MEMPOOL_EXHAUSTION", "fail|abort", "not one of fail|abort|system; using fail"),
    ("MEMPOOL_HARDEN", "4", "not one of 0|1|2|3; using 0"),
    ("MEMPOOL_SMALL", "a\nb", "not one of classes|dense|dense-tree; using classes"),
    ("MEMPOOL_SHOW_STATS", "2", "not one of 0|1|text|json; using 0"),
  ])
  func unreadableValuesCostOneLine(name: String, value: String, expected: String) {
    let (settings, lines) = Self.read([name: value])
    #expect(lines == ["mempool: \(name)=\"\(value.replacingOccurrences(of: "\n", with: "?"))\": \(expected)"])
    #expect(!Self.allVariables.contains { settings.isGiven($0) })
    #expect(settings.maxRetries == 3 && settings.waitNanoseconds == 1000 && settings.fixedByteCount == 0)
  }

  @Test func longValuesAreCutInTheWarning() {
    let (_, lines) = Self.read(["MEMPOOL_LOCK": String(repeating: "y", count: 5000)])
    #expect(lines == ["mempool: MEMPOOL_LOCK=\"\(String(repeating: "y", count: 40))...\": not one of 0|1; using 0"])
  }

  @Test func pathsOfOneByteTooManyAreRefused() {
    let longest = String(repeating: "p", count: 1023)
    #expect(!Self.read(["MEMPOOL_STATS_FILE": longest]).0.statisticsPath.isEmpty)
    let (settings, lines) = Self.read(["MEMPOOL_STATS_FILE": longest + "p"])
    #expect(settings.statisticsPath.isEmpty)
    #expect(lines.count == 1 && lines[0].hasSuffix("...\": too long; using standard error"))
  }

  @Test func anEmptyValueIsAsGoodAsNone() {
    let (settings, lines) = Self.read(["MPMAXRETRIES": "", "MEMPOOL_STATS_FILE": ""])
    #expect(lines.isEmpty)
    #expect(settings.maxRetries == 3 && !settings.isGiven(.maxRetries) && settings.statisticsPath.isEmpty)
  }

  /// Whole numbers and sizes against a plain reference, over random texts that are nearly right.
  @Test func numbersAgreeWithAReference() {
    let seed = UInt64.random(in: 1...UInt64.max)
    var random = seed
    func next(_ bound: UInt64) -> UInt64 {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (random >> 33) % bound
    }
    let alphabet = Array("0123456789012345678901234567890123456789kKmMgGtT x")
    for _ in 0..<20_000 {
      let text = String((0..<(1 + next(21))).map { _ in alphabet[Int(next(UInt64(alphabet.count)))] })
      let digits = text.prefix { $0.isNumber }
      let rest = text.dropFirst(digits.count).lowercased()
      let unit: UInt? = ["": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40][rest]
      let product = UInt(digits).flatMap { number in
        unit.flatMap { unit in { $0.overflow ? nil : $0.partialValue }(number.multipliedReportingOverflow(by: unit)) }
      }
      let plain = UInt(text)
      let (number, size) = text.utf8CString.withUnsafeBufferPointer { buffer in
        buffer.withMemoryRebound(to: UInt8.self) { bytes in
          (
            EnvironmentValue(.number(minimum: 0, maximum: .max), bytes.baseAddress!),
            EnvironmentValue(.size(minimum: 0), bytes.baseAddress!)
          )
        }
      }
      if let plain {
        #expect(number == .value(plain), "\(text), seed \(seed)")
      } else {
        #expect(number.isUnreadable, "\(text), seed \(seed)")
      }
      if let product, product <= UInt(Int.max) {
        #expect(size == .value(product), "\(text), seed \(seed)")
      } else {
        #expect(size.isUnreadable, "\(text), seed \(seed)")
      }
    }
  }

  @Test func everyStandardValueIsReadable() {
    for variable in Self.allVariables where variable != .statisticsFile {
      let value = EnvironmentValue(variable.row.kind, variable.row.standard.utf8Start)
      #expect(!value.isUnreadable, "\(variable.row.name)")
    }
  }

  @Test func theRecordFitsItsStorage() {
    #expect(EnvironmentRecord.byteCount <= 2048)
    #expect(MemoryLayout<EnvironmentSettings>.alignment <= MemoryLayout<UInt>.alignment)
    #expect(MemoryLayout<Mutex>.size == MemoryLayout<UInt>.size)
  }

  @Test func theProcessReadsOnce() {
    let first = EnvironmentSettings.process
    let retries = first.pointee.maxRetries
    _ = Self.with(["MPMAXRETRIES": "77"]) { _ = EnvironmentSettings.process }
    #expect(EnvironmentSettings.process == first)
    #expect(EnvironmentSettings.process.pointee.maxRetries == retries)
  }

  @Test func theReportGoesWhereTheEnvironmentSays() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("mempool-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    let lines = Self.with(["MEMPOOL_SHOW_STATS": "json", "MEMPOOL_STATS_FILE": file.path]) {
      let settings = EnvironmentSettings.read()
      settings.report(.shared)
      settings.report(.shared)
    }
    #expect(lines.isEmpty)
    let written = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
    #expect(written.count == 2, "appended, one line each")
    for line in written { #expect(try JSONSerialization.jsonObject(with: Data(line.utf8)) is [String: Any]) }
  }

  @Test func theReportGoesToStandardErrorOtherwise() {
    let lines = Self.with(["MEMPOOL_SHOW_STATS": "1"]) { EnvironmentSettings.read().report(.shared) }
    #expect(lines == ["mempool: statistics of process \(getpid())"])
    for (process, count) in [("\(getpid())", 1), ("0", 1), ("1", 0)] {
      let lines = Self.with(["MEMPOOL_SHOW_STATS": "1", "MEMPOOL_STATS_PROCESS": process]) {
        EnvironmentSettings.read().report(.shared)
      }
      #expect(lines.count == count, "for process \(process)")
    }
    #expect(Self.with([:]) { EnvironmentSettings.read().report(.shared) }.isEmpty)
  }

  @Test func aReportThatCannotBeWrittenCostsOneLine() {
    let lines = Self.with(["MEMPOOL_SHOW_STATS": "1", "MEMPOOL_STATS_FILE": "/nonexistent/file"]) {
      EnvironmentSettings.read().report(.shared)
    }
    #expect(lines == ["mempool: MEMPOOL_STATS_FILE: cannot write /nonexistent/file"])
  }
}

extension EnvironmentValue {
  var isUnreadable: Bool {
    if case .unreadable = self { return true }
    return false
  }
}
