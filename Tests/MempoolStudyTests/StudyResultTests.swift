import Foundation
import Testing

@testable import MempoolStudy

@Suite struct StudyResultTests {
  /// A result of a preset with figures that are made up: throughput 1000 times the place of the point, times `factor`.
  static func result(_ preset: Preset = .retries, rounds: Int = 9, factor: Double = 1) -> StudyResult {
    var random = SplitMix64(seed: 4)
    let rows = preset.points.enumerated().map { place, point in
      func sample(_ middle: Double) -> Sample {
        Sample((0..<rounds).map { _ in middle * (0.99 + 0.02 * random.fraction()) })
      }
      var histogram = LatencyHistogram()
      for value in 1...1000 as ClosedRange<UInt64> { histogram.record(value) }
      let claims = StudyResult.Claims(
        fairness: sample(1), failuresPerThousand: sample(3), attemptsPerOperation: sample(1),
        lostSwapsPerOperation: sample(0), retriesPerOperation: sample(0.1), waitingPercent: sample(20),
        withoutProcessorPercent: sample(5), voluntarySwitchesPerSecond: sample(10),
        involuntarySwitchesPerSecond: sample(1))
      return StudyResult.Row(
        series: point.series, position: point.position, threads: point.setup.threads, setup: point.setup,
        operationsPerSecond: sample(Double(place + 1) * 1000 * factor), latency: .init(histogram), claims: claims,
        peakMebibytes: nil)
    }
    return StudyResult(
      preset: preset.name, title: preset.title, question: preset.question, command: "mempool study <x>", seed: 1,
      millisecondsPerRun: 20, roundsWanted: rounds, rounds: rounds,
      machine: Machine(
        processor: "a & b", processors: 2, memoryBytes: 1 << 30, kernel: "Linux", architecture: "x", loadAtStart: 0,
        loadAtEnd: 0, calibration: ClaimRunTests.calibration),
      reference: Sample([1000, 1010, 1000, 990]), axis: .init(title: preset.axisTitle, labels: preset.axisLabels),
      rows: rows, simulated: nil)
  }

  @Test func whatIsWrittenIsRead() throws {
    let result = Self.result()
    #expect(try StudyResult.parse(result.json()) == result)
  }

  /// Cut at every place, and with a byte changed at many: an error in words, or, where only a figure changed, a result.
  @Test func truncatedAndDamagedFiles() throws {
    var result = Self.result(.waitTime, rounds: 1)
    // Each that is still a result is compared.
    result.rows = Array(result.rows.prefix(3))
    let whole = try result.json()
    for count in stride(from: 0, to: whole.count - 2, by: 97) {
      #expect(throws: StudyError.self) { try StudyResult.parse(whole.prefix(count)) }
    }
    var random = SplitMix64(seed: 8)
    for _ in 0..<200 {
      var damaged = whole
      damaged[Int(random.below(UInt64(whole.count)))] = UInt8(random.below(256))
      #expect(use(damaged, besides: result) != "")
    }
    let other = Data(String(decoding: whole, as: UTF8.self).replacing("\"version\" : 1", with: "\"version\" : 2").utf8)
    do {
      _ = try StudyResult.parse(other)
      Issue.record("a version that nobody knows was read")
    } catch {
      #expect(error.description == "a result of version 2, and this program knows version 1")
    }
  }

  /// What is said of a file that is read, and compared in both directions; nil: nothing.
  private func use(_ data: Data, besides other: StudyResult) -> String? {
    do throws(StudyError) {
      let result = try StudyResult.parse(data)
      _ = try CompareReport(before: other, after: result, seed: 1).text
      _ = try CompareReport(before: result, after: other, seed: 1).text
      return nil
    } catch {
      return error.description
    }
  }

  /// Figures that are missing or no numbers, and points that no axis has, are found when the file is read.
  @Test func whatNoStudyWrote() throws {
    var result = Self.result(rounds: 2)
    result.rows = Array(result.rows.prefix(2))
    result.rows[1].operationsPerSecond = Sample([12345])
    let text = String(decoding: try result.json(), as: UTF8.self)
    #expect(use(Data(text.utf8), besides: result) == nil)
    for (old, new) in [
      ("12345", ""), ("12345", "1e999"), ("\"position\" : 1", "\"position\" : 8"),
      ("\"position\" : 1", "\"position\" : -1"), ("\"labels\" : [", "\"labels\" : [], \"more\" : ["),
    ] {
      #expect(text.contains(old))
      #expect(
        use(Data(text.replacing(old, with: new).utf8), besides: result)
          == "the result of a study, but incomplete or damaged", "\(old): \(new)")
    }
    // A speed of nothing can be measured, but nothing compared with it.
    let none = Data(text.replacing("12345", with: "0").utf8)
    _ = try StudyResult.parse(none)
    #expect(use(none, besides: result)?.contains("did nothing in a round of the first result") == true)
  }

  /// A result takes the place of an older one of its preset, and of nothing else.
  @Test func filesOfTheUserStay() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mempool-study-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let output = StudyOutput(folder: folder, gnuplot: nil)
    try output.prepare()
    let old = ["retries-throughput-wide.svg", "retries-throughput-wide.png", "retries-latency-narrow.svg"]
    let others = [
      "retries-mine.svg", "retries-throughput.png", "retries-throughput-narrow.png", "threads-throughput-wide.svg",
    ]
    for name in old + others { try Data("x".utf8).write(to: folder.appendingPathComponent(name)) }
    output.removeOld(Self.result())
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == others.sorted())
  }

  @Test(arguments: Preset.all.map(\.name))
  func everyPresetIsSound(name: String) throws {
    let preset = try #require(Preset.named(name))
    #expect(preset.points.allSatisfy { $0.setup.complaint == nil && preset.axisLabels.indices.contains($0.position) })
    #expect(Set(preset.points.map { "\($0.series) \($0.position)" }).count == preset.points.count)
    let result = Self.result(preset)
    #expect(result.plots.count == preset.charts.count)
    let lines = result.csv.split(separator: "\n")
    #expect(lines.count == preset.points.count + 1)
    // The commas of a series stand in quotes.
    #expect(
      lines.dropFirst().allSatisfy { line in
        line.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
          .filter { $0.offset % 2 == 0 }.reduce(0) { $0 + $1.element.count { $0 == "," } } == 25
      })
    for plot in result.plots {
      let script = plot.script(.wide, format: "svg", output: "x.svg")
      #expect(script.components(separatedBy: "\nEND\n").count - 1 == plot.curves.count)
      #expect(plot.curves.reduce(0) { $0 + $1.points.count } == preset.points.count)
    }
  }

  @Test func thePageSaysWhatIsMissingAndEscapes() {
    let page = Page(Self.result(), pictures: [:]).html
    #expect(page.contains("No picture: gnuplot was not there."))
    #expect(page.contains("mempool study &lt;x&gt;") && page.contains("a &amp; b"))
    #expect(!page.contains("http://") && !page.contains("https://"))
  }

  @Test func coloursOfAnInlinedPictureAreThePages() {
    let svg = """
      <?xml version="1.0"?><!DOCTYPE svg><svg width="1"><g color="rgb( 47, 111, 222)" stroke='#404048'>\
      <path stroke='rgb( 47, 111, 222)'/></g></svg>
      """
    let inlined = Page.inlined(svg, label: "a < b")
    #expect(inlined.hasPrefix("<svg role=\"img\" aria-label=\"a &lt; b\" width=\"1\">"))
    #expect(inlined.contains("<path style='stroke:var(--c0)'/>"))
    #expect(inlined.contains("var(--ink)") && !inlined.contains("#404048") && !inlined.contains("222"))
  }

  @Test func aBeforeAndAnAfter() throws {
    let before = Self.result()
    var after = before
    for index in after.rows.indices where after.rows[index].series == "spin" {
      after.rows[index].operationsPerSecond = Sample(after.rows[index].operationsPerSecond.values.map { $0 * 1.3 })
    }
    let report = try CompareReport(before: before, after: after, seed: 1)
    #expect(report.lines.allSatisfy { $0.isDifference == ($0.series == "spin") })
    #expect(report.text.contains("8 of 48 points differ."))
    #expect(try CompareReport(before: before, after: before, seed: 1).lines.allSatisfy { $0.verdict == "noise" })
    // Two samples of the same thing, with other noise.
    let noise = try CompareReport(before: before, after: Self.result(rounds: 8), seed: 1)
    #expect(noise.lines.filter(\.isDifference).count <= 2)
    #expect(throws: StudyError.self) { try CompareReport(before: before, after: Self.result(.threads), seed: 1) }
    after.rows.removeLast()
    after.rows[0].setup?.held += 1
    // One is gone and one is another: two points, and not three.
    #expect(
      try CompareReport(before: before, after: after, seed: 1).notes.contains { $0.hasPrefix("2 points are only") })
  }

  /// The points of another trace or another axis are other points, though they stand at the same places.
  @Test func whatCannotBeCompared() throws {
    let before = Self.result()
    var after = before
    after.title = "another.trace: 5 objects"
    #expect(throws: StudyError.self) { try CompareReport(before: before, after: after, seed: 1) }
    after = before
    after.axis.labels[1] = "2"
    #expect(throws: StudyError.self) { try CompareReport(before: before, after: after, seed: 1) }
    after = before
    after.reference = Sample([0])
    #expect(throws: StudyError.self) { try CompareReport(before: after, after: before, seed: 1) }
  }

  /// Thousands are written out: gnuplot's prefixes would stand beside the title's million.
  @Test func logarithmicTicks() throws {
    let plot = try #require(Self.result().plots.first { $0.yIsLogarithmic })
    #expect(plot.script(.wide, format: "svg", output: "x.svg").contains("\nset format y '%g'\n"))
  }

  @Test func whatTheReaderIsTold() {
    var result = Self.result(.threads)
    #expect(result.caveats.contains { $0.hasPrefix("4, 8, 16 threads are more than this machine's 2 processors") })
    #expect(result.plots[0].overloadedFrom == 1.5)
    result.rounds = 3
    #expect(result.caveats.contains("Interrupted: 3 of 9 rounds are whole, and points may be missing."))
    #expect(Self.result(rounds: 5).caveats.contains { $0.contains("holds the median with 94 %") })
  }

  @Test func shortFigures() {
    #expect(
      [0, 0.1234, 12.345, 999, 1234, 9996, 12345, 1e6, 12_345_678, 2.5e9].map(\.short) == [
        "0", "0.123", "12.3", "999", "1234", "10 k", "12.3 k", "1 M", "12.3 M", "2.5 G",
      ])
  }
}
