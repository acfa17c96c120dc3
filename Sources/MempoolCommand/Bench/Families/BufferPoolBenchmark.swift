import CMempoolShims
import Foundation
import MempoolCore

/// The buffer pool against what was claimed for the memory pool of an embedded file system that it follows.
enum BufferPoolBenchmark: FamilyBenchmark {
  static let name = "bufferpool"
  static let summary = """
    An allocator in the caller's memory, after the pool of a small embedded file system. The workload opens a disk of 12 files, \
    with a chain of block numbers each, lists it and closes it. Times are medians of interleaved rounds.
    """

  static let usualRounds = 15

  static func run(rounds: Int, progress: (String) -> Void) throws(Failure) -> [FamilyRow] {
    progress("memory")
    return try workload() + bookkeeping() + exhaustion() + times(rounds, progress)
  }

  // MARK: Calls of the system's allocator, and bytes

  private static func workload() throws(Failure) -> [FamilyRow] {
    let libc = CountedSystem()
    guard DiskWorkload.run(libc.allocator) else {
      throw Failure("no memory for the workload", status: EX_OSERR)
    }
    let fallback = CountedSystem()
    let done = withStackMemory { memory -> Bool in
      guard let pool = BufferPoolPointer.make(in: memory, 4096, fallback: fallback.allocator) else { return false }
      return DiskWorkload.run(pool.allocator)
    }
    guard done else { throw Failure("the workload does not fit into 4096 bytes", status: EX_SOFTWARE) }
    let least = (0...4096).first { size in
      withStackMemory { memory in
        BufferPoolPointer.make(in: memory, UInt(size)).map { DiskWorkload.run($0.allocator) } ?? false
      }
    }
    return [
      FamilyRow(
        what: "calls of the system's allocator for open, list and close, in 4 KiB of stack",
        claim: "listing needs no malloc of the library's; 2 of the process in all",
        figures: [figure("mempool", Double(fallback.calls)), figure("libc", Double(libc.calls))], bound: 0),
      FamilyRow(
        what: "bytes of the smallest memory in which it succeeds",
        claim: "1 to 2 KB suffice for average use, 5 KB are a lot",
        figures: [figure("mempool", Double(least ?? .max)), figure("libc", Double(libc.peakBytes))], bound: 2048),
    ]
  }

  private static func bookkeeping() -> [FamilyRow] {
    func statistics(_ size: UInt, _ blockSize: UInt) -> BufferPoolStatistics {
      let memory = UnsafeMutableRawPointer.allocate(byteCount: Int(size), alignment: 16)
      defer { memory.deallocate() }
      let pool = BufferPoolPointer.make(in: memory, size, blockSize: blockSize)
      return (try? pool?.statistics()) ?? BufferPoolStatistics()
    }
    let record = statistics(8000, 8)
    let fixed = Double(record.overhead) - Double(record.blockCount) / 4
    var rows = [
      FamilyRow(
        what: "bytes of bookkeeping without the bits, of a pool of 8000 bytes", claim: "120 to 200, by the index type",
        figures: [figure("mempool", fixed)], bound: 208)
    ]
    // Its own arithmetic; the documentation says 18 to 19 for the first.
    for (blockSize, claim) in [(UInt(1), 25.0), (2, 12.5), (4, 6.3), (8, 3.2), (16, 1.6), (64, 0.4), (128, 0.2)] {
      let now = statistics(8000, blockSize)
      let bits = Double(now.overhead) - 176
      rows.append(
        FamilyRow(
          what: "% of the blocks' bytes that their bits take, blocks of \(blockSize)", claim: "\(claim)",
          figures: [figure("mempool", 100 * bits / Double(now.blockCount * now.blockSize))], bound: claim * 1.06))
    }
    return rows
  }

  private static func exhaustion() -> [FamilyRow] {
    // A chain of records of six bytes that is to describe a megabyte; then the pool must be whole, and empty when it is freed.
    let isClean = withStackMemory { memory -> Bool in
      guard let pool = BufferPoolPointer.make(in: memory, 1200, blockSize: 256) else { return false }
      var chain: UnsafeMutableRawPointer?
      var length: UInt = 0
      while let longer = try? pool.reallocate(chain, length + 6) {
        chain = longer
        length += 6
        if length > 1 << 20 { return false }
      }
      guard pool.checkInvariants(), (try? pool.deallocate(chain)) != nil else { return false }
      return (try? pool.statistics().blocksUsed) == 0
    }
    return [
      FamilyRow(
        what: "failures that are not clean: 1200 bytes, blocks of 256, a file grown towards 1 MB",
        claim: "the recipe for testing what happens out of memory", figures: [figure("mempool", isClean ? 0 : 1)],
        bound: 0)
    ]
  }

  static func figure(_ name: String, _ value: Double) -> FamilyRow.Figure { FamilyRow.Figure(name: name, value: value) }

  /// 4 KiB of this thread's stack.
  private static func withStackMemory<Result>(_ body: (UnsafeMutableRawPointer) -> Result) -> Result {
    var memory = InlineArray<512, UInt64>(repeating: 0)
    return withUnsafeMutableBytes(of: &memory) { body($0.baseAddress!) }
  }

  // MARK: Time

  private static func times(_ roundCount: Int, _ progress: (String) -> Void) -> [FamilyRow] {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { memory.deallocate() }
    let region = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { region.deallocate() }
    guard let pool = BufferPoolPointer.make(in: memory, 1 << 20, blockSize: 16),
      let bump = RegionPointer.make(in: region, 1 << 20)
    else { return [] }
    var single: [String: Double] = [:], several: [String: Double] = [:]
    var rows: [FamilyRow] = []
    for pattern in TimedPattern.allCases {
      for (byteCount, title) in [(16, "one block"), (160, "ten blocks")] {
        progress("\(pattern.title), \(title)")
        var rounds: [String: [Double]] = [:]
        for _ in 0..<roundCount {
          rounds["mempool", default: []].append(pattern.nanoseconds(PooledSubject(pool: pool), byteCount))
          rounds["libc", default: []].append(pattern.nanoseconds(SystemSubject(), byteCount))
          rounds["mempool's malloc", default: []].append(pattern.nanoseconds(SharedSubject(), byteCount))
          if let talloc = TallocSubject.shared {
            rounds["talloc pool", default: []].append(pattern.nanoseconds(talloc, byteCount))
          }
          if pattern == .batches {
            rounds["mempool's region", default: []].append(pattern.nanoseconds(RegionSubject(region: bump), byteCount))
            if let apr = AprSubject.shared {
              rounds["apr pool", default: []].append(pattern.nanoseconds(apr, byteCount))
            }
          }
        }
        let medians = rounds.mapValues { Distribution($0).median }
        if pattern == .batches { if byteCount == 16 { single = medians } else { several = medians } }
        rows.append(
          FamilyRow(
            what: "ns a pair of allocation and free: \(pattern.title), \(title) of 16 bytes", claim: nil,
            figures: ordered(medians), bound: nil))
      }
    }
    rows.append(
      FamilyRow(
        what: "ten blocks against one, in time", claim: "several factors",
        figures: ordered(several.compactMapValues { $0 }.merging(single) { $0 / $1 }), bound: nil))
    return rows
  }

  private static func ordered(_ figures: [String: Double]) -> [FamilyRow.Figure] {
    // "mempool" sorts before its relatives.
    let own = figures.keys.filter { $0.hasPrefix("mempool") }.sorted(),
      others = figures.keys.filter { !$0.hasPrefix("mempool") }
    return (own + others.sorted()).map { figure($0, figures[$0] ?? 0) }
  }
}
