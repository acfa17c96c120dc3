import CMempoolShims
import Foundation
import MempoolCore

/// Compact pools: peak memory on the two workloads that were published for the original, and how latency depends on the population.
enum CompactPoolBenchmark: FamilyBenchmark {
  static let name = "compactpool"
  static let summary = """
    after xvmalloc, the allocator of compcache and of zram's first years. Peak memory above the live bytes, a million random \
    allocations and frees a round (seeds 1, 2, 3…); latency of single operations at 1,000 and 1,000,000 objects.
    """

  static let usualRounds = 10

  static func run(rounds: Int, progress: (String) -> Void) throws(Failure) -> [FamilyRow] {
    var rows: [FamilyRow] = []
    for workload in CompactWorkload.allCases {
      progress("peak memory, \(workload.what)")
      rows += try peaks(workload, rounds)
    }
    progress("overhead")
    rows += try overheads()
    progress("threads")
    rows.append(try threads(rounds))
    progress("latency")
    rows += try latency(rounds)
    return rows
  }

  // MARK: Peak memory

  private static func peaks(_ workload: CompactWorkload, _ rounds: Int) throws(Failure) -> [FamilyRow] {
    var excess: [[Double]] = [[], [], [], []]
    var time: [[Double]] = [[], [], [], []]
    let names = ["mempool", "mempool, dense heap", "mempool, size classes", "libc's malloc"]
    for seed in UInt64(1)...UInt64(rounds) {
      for index in names.indices {
        let subject = try subject(index)
        let start = mp_clock_nanoseconds()
        let result = workload.run(subject, seed: seed)
        time[index].append(Double(mp_clock_nanoseconds() - start) / 1e6)
        if result.peakHeld > 0 {
          excess[index].append((Double(result.peakHeld) / Double(result.peakLive) - 1) * 100)
        }
        subject.end()
      }
    }
    let measured = zip(names, excess).filter { !$1.isEmpty }
    let what = "\(workload.what): peak memory above the peak of live bytes"
    return [
      FamilyRow(
        what: "\(what), mean of \(rounds) seeds (%)", claim: workload.claim,
        figures: measured.map { .init(name: $0, value: $1.reduce(0, +) / Double($1.count)) }, bound: 7),
      FamilyRow(
        what: "\(what), the worst (%)", claim: nil,
        figures: measured.map { .init(name: $0, value: $1.max() ?? 0) }, bound: nil),
      FamilyRow(
        what: "\(workload.what): time of an operation, the workload's own included, median (ns)", claim: nil,
        figures: zip(names, time).map { .init(name: $0, value: $1.sorted()[$1.count / 2]) }, bound: nil),
    ]
  }

  private static func subject(_ index: Int) throws(Failure) -> any CompactSubject {
    switch index {
    case 0: try CompactPoolSubject()
    case 1: try MemoryPoolSubject(.dense)
    case 2: try MemoryPoolSubject(.classes)
    default: LibcSubject()
    }
  }

  // MARK: Overhead

  private static func overheads() throws(Failure) -> [FamilyRow] {
    let small = try CompactPoolSubject()
    for index in 0..<100_000 { _ = small.allocate(4 * (2 + index % 1000)) }
    let statistics = small.statistics
    small.end()
    var worst = 0.0, sum = 0.0, count = 0.0
    for size in stride(from: 2048, through: 4096, by: 64) {
      let pool = try CompactPoolSubject()
      for _ in 0..<2000 { _ = pool.allocate(size) }
      let excess = (Double(pool.held) / Double(size * 2000) - 1) * 100
      pool.end()
      (worst, sum, count) = (max(worst, excess), sum + excess, count + 1)
    }
    return [
      FamilyRow(
        what: "overhead of an object whose size is a multiple of 4 (bytes)", claim: "4",
        figures: [
          .init(
            name: "mempool",
            value: Double(statistics.blockBytes - statistics.liveBytes) / Double(statistics.liveObjects))
        ], bound: 4),
      FamilyRow(
        what: "2,000 objects of one size from 2048 to 4096: memory above the live bytes, mean of 33 sizes (%)",
        claim: "a page for each, as they do not span pages: 38 % on average; the reason why zram replaced it",
        figures: [.init(name: "mempool", value: sum / count), .init(name: "mempool, the worst size", value: worst)],
        bound: nil),
    ]
  }

  // MARK: Threads

  /// Four threads that allocate and free at random, in a pool with a shard for each and in one with a single lock, by turns.
  private static func threads(_ rounds: Int) throws(Failure) -> FamilyRow {
    var times: [[Double]] = [[], []]
    for _ in 0..<rounds {
      for (index, shardCount) in [UInt(8), 1].enumerated() {
        var options = CompactOptions()
        options.shardCount = shardCount
        let pool: CompactPoolPointer
        do { pool = try .create(options) } catch { throw Failure("no compact pool: \(error)", status: 1) }
        let address = UInt(bitPattern: pool)
        let start = mp_clock_nanoseconds()
        DispatchQueue.concurrentPerform(iterations: 4) { number in
          let pool = CompactPoolPointer(bitPattern: address)!
          var random = SmallRandom(state: UInt64(number)), live: [CompactHandle] = []
          for _ in 0..<100_000 {
            if live.count < 200 || random.below(2) == 0 && live.count < 400 {
              live.append(pool.allocate(UInt(1 + random.below(4092)))!)
            } else {
              pool.free(live.remove(at: live.count - 1 - random.below(20)))
            }
          }
          for handle in live { pool.free(handle) }
        }
        times[index].append(Double(mp_clock_nanoseconds() - start) / 400_000)
        pool.destroy()
      }
    }
    return FamilyRow(
      what: "four tasks at once: time of an allocation or a free in all, median (ns)",
      claim: "one spinlock a pool; the answer to scalability was one pool a processor",
      figures: zip(["mempool, 8 shards", "mempool, 1 shard"], times).map {
        .init(name: $0, value: $1.sorted()[$1.count / 2])
      },
      bound: nil)
  }

  // MARK: Latency

  /// Random replacement in two pools by turns, each operation timed: the quantiles of both, and their ratio.
  private static func latency(_ rounds: Int) throws(Failure) -> [FamilyRow] {
    let few = try CompactPopulation(1000), many = try CompactPopulation(1_000_000)
    defer {
      few.end()
      many.end()
    }
    for _ in 0..<4 * rounds {
      few.replace(10_000)
      many.replace(10_000)
    }
    func row(_ what: String, _ quantile: Double) -> FamilyRow {
      FamilyRow(
        what: "\(what) of an allocation or a free (ns)", claim: nil,
        figures: [
          .init(name: "at 1,000,000 objects", value: many.quantile(quantile)),
          .init(name: "at 1,000 objects", value: few.quantile(quantile)),
        ], bound: nil)
    }
    let ratio = many.quantile(0.999) / few.quantile(0.999)
    return [
      row("p50", 0.5), row("p99.9", 0.999), row("the longest", 1),
      FamilyRow(
        what: "p99.9 at 1,000,000 objects over p99.9 at 1,000", claim: "constant time",
        figures: [.init(name: "mempool", value: ratio)], bound: 1.5),
    ]
  }
}
