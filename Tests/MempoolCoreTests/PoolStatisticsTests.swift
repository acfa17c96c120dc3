import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

@Suite struct PoolStatisticsTests {
  /// Every word holds its own number, so that a figure taken from the wrong field, or left out, is seen.
  static func numbered(classCount: UInt) -> PoolStatistics {
    var statistics = PoolStatistics()
    withUnsafeMutableBytes(of: &statistics) { bytes in
      let words = bytes.bindMemory(to: UInt.self)
      for index in words.indices { words[index] = UInt(1000 + index) }
    }
    statistics.classCount = classCount
    return statistics
  }

  struct Figures: StatisticsVisitor {
    var keys: [String] = []
    var values: [UInt] = []
    var units: [StatisticsUnit] = []
    var rows: [ClassStatistics] = []
    mutating func group(_ title: StaticString) {}
    mutating func figure(_ key: StaticString, _ value: UInt, _ unit: StatisticsUnit) {
      keys.append("\(key)")
      values.append(value)
      units.append(unit)
    }
    mutating func sizeClass(_ row: ClassStatistics) { rows.append(row) }
  }

  static func document() throws -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return try String(contentsOf: root.appendingPathComponent("docs/statistics.md"), encoding: .utf8)
  }

  @Test func everyFieldIsVisitedOnceInOrder() {
    var figures = Figures()
    Self.numbered(classCount: 64).visit(&figures)
    let classWords = 64 * 4
    #expect(figures.values.count + 1 + classWords == MemoryLayout<PoolStatistics>.size / MemoryLayout<UInt>.size)
    #expect(figures.values == (0..<figures.values.count).map { UInt(1000 + $0) })
    #expect(Set(figures.keys).count == figures.keys.count)
    #expect(figures.rows.count == 64)
    for (key, unit) in zip(figures.keys, figures.units) {
      #expect((unit == .bytes) == key.hasSuffix("_bytes"), "\(key)")
    }
  }

  @Test func jsonParsesBackToTheSameNumbers() throws {
    let statistics = Self.numbered(classCount: 2)
    var figures = Figures()
    statistics.visit(&figures)
    var sink = BytesSink()
    statistics.writeJSON(to: &sink)
    #expect(sink.text.hasSuffix("}\n") && sink.text.filter { $0 == "\n" }.count == 1)
    let parsed = try JSONSerialization.jsonObject(with: Data(sink.bytes))
    let object = try #require(parsed as? [String: Any])
    #expect(Set(object.keys) == Set(figures.keys + ["classes"]))
    for (key, value) in zip(figures.keys, figures.values) { #expect(object[key] as? UInt == value, "\(key)") }
    let rows = try #require(object["classes"] as? [[String: UInt]])
    #expect(rows.map { $0["item_size"] } == figures.rows.map { $0.itemSize })
    #expect(rows.map { $0["live_items"] } == figures.rows.map { $0.liveItems })
    #expect(rows.map { $0["slabs"] } == figures.rows.map { $0.slabs })
    #expect(rows.map { $0["capacity"] } == figures.rows.map { $0.capacity })
    #expect(rows.allSatisfy { $0.count == 4 })
  }

  @Test func jsonWithoutClassesIsValid() throws {
    var sink = BytesSink()
    PoolStatistics().writeJSON(to: &sink)
    let object = try JSONSerialization.jsonObject(with: Data(sink.bytes)) as? [String: Any]
    #expect((object?["classes"] as? [Any])?.isEmpty == true)
  }

  @Test func largestNumbersAreWritten() throws {
    var statistics = PoolStatistics()
    statistics.requestedBytes = .max
    var json = BytesSink()
    var text = BytesSink()
    statistics.writeJSON(to: &json)
    statistics.writeText(to: &text)
    #expect(json.text.contains("\"requested_bytes\":18446744073709551615,"))
    #expect(text.text.contains("18446744073709551615  15.9 EiB\n"))
  }

  /// Whatever is read, together or one after the other: no sum and no difference ends the process.
  @Test func noFigureTraps() async {
    await #expect(processExitsWith: .success) {
      do { try Self.readAbsurdities() } catch { Issue.record("\(error)") }
    }
  }

  private static func readAbsurdities() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    for size in [10, 100, 3_000, 9_000, 90_000, 2 << 20, 33 << 20] { _ = pool.allocate(UInt(size)) }
    pool.deallocate(pool.allocate(10_000))
    let heap = pool.threadHeap()!
    let words: [AtomicPointer] = [
      pool.spans.liveBytes, pool.spans.liveCount, pool.spans.peakBytes, heap.cachedRunBytes, heap.collected,
      heap.requested, heap.sampledBytes, heap.sampledSlots, pool.segments.limitHits,
      pool.pointee.first.peakPages, pool.pointee.first.arena.usedBytes, pool.pointee.first.purgedBytes,
      pool.snapshots,
    ]
    // One at a time, then all at once.
    for changed in words.map({ [$0] }) + [words] {
      for absurd: UInt in [.max, .max / 2, 0] {
        let saved: [UInt] = changed.map { $0.loadRelaxed() }
        for word in changed { word.storeRelaxed(absurd) }
        let statistics = pool.statistics()
        for (word, value) in zip(changed, saved) { word.storeRelaxed(value) }
        _ = statistics.brokenInvariant(isQuiescent: true)
        var sink = BytesSink()
        statistics.writeText(to: &sink)
        statistics.writeJSON(to: &sink)
      }
    }
    try demand(pool.checkInvariants(), "not put back")
    var largest = Self.numbered(classCount: 64)
    _ = withUnsafeMutableBytes(of: &largest) { $0.initializeMemory(as: UInt8.self, repeating: 0xff) }
    largest.classCount = 64
    _ = largest.brokenInvariant(isQuiescent: false)
    var sink = BytesSink()
    largest.writeText(to: &sink)
    largest.writeJSON(to: &sink)
  }

  @Test func textHasALineForEachFigure() {
    let statistics = Self.numbered(classCount: 3)
    var figures = Figures()
    statistics.visit(&figures)
    var sink = BytesSink()
    statistics.writeText(to: &sink)
    let lines = sink.text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    for (key, value) in zip(figures.keys, figures.values) {
      #expect(lines.contains { $0.prefix(2) == [key, "\(value)"] }, "\(key)")
    }
    for row in figures.rows {
      #expect(
        lines.contains { $0.prefix(4) == ["\(row.itemSize)", "\(row.liveItems)", "\(row.slabs)", "\(row.capacity)"] })
    }
  }

  @Test(
    arguments: [
      (1023, "1023\n"), (1024, "1024  1.0 KiB\n"), (1_048_575, "1048575  1023.9 KiB\n"),
      (1_048_576, "1048576  1.0 MiB\n"),
      (1_610_612_736, "1610612736  1.5 GiB\n"), (1_099_511_627_776, "1099511627776  1.0 TiB\n"),
    ] as [(UInt, String)])
  func textShowsBinaryUnits(value: UInt, expected: String) {
    var statistics = PoolStatistics()
    statistics.mappedBytes = value
    var sink = BytesSink()
    statistics.writeText(to: &sink)
    let line = sink.text.split(separator: "\n", omittingEmptySubsequences: false).first { $0.contains("mapped_bytes") }
    #expect(
      line.map { $0.split(separator: " ", maxSplits: 1)[1].drop { $0 == " " } + "\n" } == Substring(expected)[...])
  }

  @Test func classesWithoutSlabsAreLeftOutOfTheText() {
    var statistics = PoolStatistics()
    statistics.classCount = 2
    statistics.classes[0].itemSize = 7777
    statistics.classes[1].itemSize = 8888
    statistics.classes[1].slabs = 1
    var sink = BytesSink()
    statistics.writeText(to: &sink)
    #expect(!sink.text.contains("7777"))
    #expect(sink.text.contains("8888"))
  }

  /// docs/statistics.md has one paragraph for each key, in the same order, and none for a key that does not exist.
  @Test func theDocumentHasAParagraphForEachKey() throws {
    let paragraphs = try Self.document().components(separatedBy: "\n\n").filter {
      $0.hasPrefix("`") && $0.contains("`:")
    }
    let documented = paragraphs.map { String($0.dropFirst().prefix { $0 != "`" }) }
    var figures = Figures()
    PoolStatistics().visit(&figures)
    #expect(documented == figures.keys + ["item_size", "live_items", "slabs", "capacity"])
    for paragraph in paragraphs { #expect(paragraph.count > 40, "says next to nothing: \(paragraph)") }
  }

  @Test func aFileGetsTheSameBytes() throws {
    let statistics = Self.numbered(classCount: 64)
    let pipe = Pipe()
    #expect(statistics.write(.json, to: pipe.fileHandleForWriting.fileDescriptor))
    try pipe.fileHandleForWriting.close()
    var sink = BytesSink()
    statistics.writeJSON(to: &sink)
    #expect(pipe.fileHandleForReading.readDataToEndOfFile() == Data(sink.bytes))
    #expect(sink.bytes.count < 8192, "no longer one write")
  }

  @Test func aFileThatCannotBeWrittenIsNoticed() throws {
    let full = try #require(FileHandle(forWritingAtPath: "/dev/full"))
    #expect(!PoolStatistics().write(.text, to: full.fileDescriptor))
  }

  @Test func brokenInvariantsAreFound() {
    var statistics = PoolStatistics()
    #expect(statistics.brokenInvariant(isQuiescent: true) == nil)
    statistics.allocatedBytes = 1
    #expect(statistics.brokenInvariant(isQuiescent: true) != nil)
    #expect(statistics.brokenInvariant(isQuiescent: false) == nil)
    statistics = PoolStatistics()
    statistics.ownedHeapCount = 1
    #expect(statistics.brokenInvariant(isQuiescent: false) != nil)
    statistics = PoolStatistics()
    statistics.classCount = 1
    statistics.classes[0].liveItems = 1
    #expect(statistics.brokenInvariant(isQuiescent: true) != nil)
  }

  /// What the kernel says grows by what is touched.
  @Test func theProcessIsMeasured() async {
    await #expect(processExitsWith: .success) {
      let byteCount = 64 << 20
      guard let memory = mp_pages_map(byteCount, 4096) else { exit(2) }
      var before = PoolStatistics(), after = PoolStatistics()
      before.readSystemCounters()
      memory.initializeMemory(as: UInt8.self, repeating: 1, count: byteCount)
      errno = 77
      after.readSystemCounters()
      guard errno == 77 else { exit(3) }
      guard after.residentBytes > before.residentBytes + 60 << 20 else { exit(4) }
      // Huge pages are one fault each.
      guard after.minorFaults + after.majorFaults >= before.minorFaults + before.majorFaults + 32 else { exit(5) }
      guard after.residentBytes < before.residentBytes + 80 << 20 else { exit(6) }
      exit(0)
    }
  }

  @Test func lostSwapsAreShown() throws {
    let test = try TestPool(.elastic)
    let before = test.pool.statistics().claimLostSwaps
    test.pool.pointee.first.wait.countLostSwaps(7)
    #expect(test.pool.statistics().claimLostSwaps == before + 7)
  }

  @Test func theSharedPoolAnswers() {
    let statistics = MemoryPoolPointer.shared.statistics()
    #expect(statistics.processID == UInt(getpid()))
    #expect(statistics.brokenInvariant(isQuiescent: false) == nil)
  }
}
