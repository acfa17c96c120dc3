import Foundation
import MempoolCore

/// Contexts against what was claimed for talloc, which they follow, and against the installed libtalloc.
enum ContextBenchmark: FamilyBenchmark {
  static let name = "context"
  static let summary = """
    A tree of memory, after talloc. The tree has \(ContextWorkload.count) objects of 16 to 79 bytes, each below one made before it; it \
    is built, and freed by one call. Times are medians of interleaved rounds.
    """

  static let usualRounds = 101

  static func run(rounds: Int, progress: (String) -> Void) throws(Failure) -> [FamilyRow] {
    progress("trees")
    let tree = times(rounds) { $0.tree() }, pool = times(rounds) { $0.pool() }
    var rows = [
      row("ns an object of a tree, built and freed", "talloc: about 4 % slower than malloc", tree),
      row("ns an object of a tree in a pool, built and freed", "talloc: way faster than any malloc", pool),
    ]
    for (index, times) in [tree, pool].enumerated() {
      guard let original = times[.libtalloc] else { continue }
      rows[index].bound = index == 0 ? original * 0.45 : min(original * 0.5, times[.libc] ?? .infinity)
      guard let dropIn = times[.dropIn] else { continue }
      rows.append(
        FamilyRow(
          what: index == 0 ? "the tree, by libtalloc's own functions" : "the tree in a pool, likewise", claim: nil,
          figures: [figure("mempool", dropIn), figure("libtalloc", original)], bound: rows[index].bound))
    }
    progress("pools and depth")
    let few = freeingPlainPool(of: poolBytes / 65536, rounds), many = freeingPlainPool(of: poolBytes / 128, rounds)
    rows.append(
      FamilyRow(
        what: "freeing a pool of 512 KiB with 4096 objects against one with 8, in time", claim: nil,
        figures: [figure("mempool", many / few)], bound: 2))
    rows.append(
      FamilyRow(
        what: "ns a block, freeing a million nested ones", claim: "talloc: the stack overflows",
        figures: [figure("mempool", freeingChain(of: 1_000_000))], bound: nil))
    rows.append(
      FamilyRow(
        what: "bytes in front of a block", claim: "talloc: 96",
        figures: [figure("mempool", Double(ContextStatistics.overhead))], bound: 64))
    return rows
  }

  private typealias Times = [ContextWorkload.Subject: Double]

  private static func times(_ rounds: Int, _ body: (inout ContextWorkload) -> Double) -> Times {
    var samples: [ContextWorkload.Subject: [Double]] = [:]
    for _ in 0..<rounds {
      for subject in ContextWorkload.Subject.allCases {
        guard var workload = ContextWorkload(subject) else { continue }
        samples[subject, default: []].append(body(&workload))
      }
    }
    return samples.mapValues { Distribution($0).median }
  }

  private static func row(_ what: String, _ claim: String, _ times: Times) -> FamilyRow {
    let figures = ContextWorkload.Subject.allCases.compactMap { subject in
      subject == .dropIn ? nil : times[subject].map { figure(subject.rawValue, $0) }
    }
    return FamilyRow(what: what, claim: claim, figures: figures, bound: nil)
  }

  private static let poolBytes = 512 << 10

  // Full of objects of one size, all of it touched.
  private static func freeingPlainPool(of count: Int, _ rounds: Int) -> Double {
    let size = poolBytes / count - Int(ContextStatistics.overhead)
    let samples = (0..<rounds).map { _ -> Double in
      guard let pool = ContextPointer.allocatePool(0, capacity: UInt(poolBytes), under: nil, isStrict: false) else {
        return 0
      }
      for _ in 0..<count {
        let object = ContextPointer.allocate(UInt(size), under: pool, isStrict: false)
        object?.payload.initializeMemory(as: UInt8.self, repeating: 1, count: size)
      }
      return ContextWorkload.nanoseconds { pool.free(at: nil) }
    }
    return max(Distribution(samples).median, 1)
  }

  private static func freeingChain(of count: Int) -> Double {
    guard let top = ContextPointer.allocate(0, under: nil, isStrict: false) else { return .infinity }
    var last = top
    for _ in 1..<count {
      guard let next = ContextPointer.allocate(0, under: last, isStrict: false) else { break }
      last = next
    }
    return ContextWorkload.nanoseconds { top.free(at: nil) } / Double(count)
  }

  private static func figure(_ name: String, _ value: Double) -> FamilyRow.Figure {
    FamilyRow.Figure(name: name, value: value)
  }
}
