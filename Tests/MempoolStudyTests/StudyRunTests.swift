import Testing

@testable import MempoolStudy

@Suite struct StudyRunTests {
  private func study(_ preset: Preset = .crossFree) -> StudyRun {
    var study = StudyRun(preset)
    study.rounds = 2
    study.milliseconds = 2
    return study
  }

  /// Every point has a figure of each round.
  @Test func aWholeStudy() throws {
    var parts: [Double] = []
    let result = try #require(try study().run(progress: { parts.append($0) }, isInterrupted: { false }))
    #expect(result.isComplete && result.rows.count == Preset.crossFree.points.count)
    #expect(result.rows.allSatisfy { $0.operationsPerSecond.count == 2 && $0.operationsPerSecond.median > 0 })
    #expect(parts.first == 0 && parts.last == 1 && zip(parts, parts.dropFirst()).allSatisfy { $0 <= $1 })
    #expect(result.reference.count == 3)
  }

  /// What was measured until then is kept, and nothing that was not is made up.
  @Test func anInterruptedStudy() throws {
    let count = Preset.crossFree.points.count
    func stopped(after limit: Int) throws -> StudyResult? {
      var asked = 0
      return try study().run(progress: { _ in }) {
        asked += 1
        return asked > limit
      }
    }
    #expect(try stopped(after: 0) == nil)
    #expect(try stopped(after: count) == nil)
    let early = try #require(try stopped(after: count + 5))
    #expect(early.rows.count == 5 && early.rounds == 0 && !early.isComplete)
    let late = try #require(try stopped(after: 2 * count + 3))
    #expect(late.rounds == 1 && late.rows.count == count)
    #expect(late.rows.count { $0.operationsPerSecond.count == 2 } == 3)
  }
}
