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
    let whole = try Self.result(.waitTime, rounds: 1).json()
    for count in stride(from: 0, to: whole.count - 2, by: 97) {
      #expect(throws: StudyError.self) { try StudyResult.parse(whole.prefix(count)) }
    }
    var random = SplitMix64(seed: 8)
    for _ in 0..<200 {
      var damaged = whole
      damaged[Int(random.below(UInt64(whole.count)))] = UInt8(random.below(256))
      do { _ = try StudyResult.parse(damaged) } catch { #expect(!error.description.isEmpty) }
    }
    let other = Data(String(decoding: whole, as: UTF8.self).replacing("\"version\" : 1", with: "\"version\" : 2").utf8)
    do {
      _ = try StudyResult.parse(other)
      Issue.record("a version that nobody knows was read")
    } catch {
      #expect(error.description == "a result of version 2, and this program knows version 1")
    }
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
    #expect(
      try CompareReport(before: before, after: after, seed: 1).notes.contains { $0.hasPrefix("1 points are only") })
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
