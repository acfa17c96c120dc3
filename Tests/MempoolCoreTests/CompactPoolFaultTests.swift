import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// Compact pools when the system refuses memory. The switch that makes it refuse is the process's: each test runs in one of its own.
@Suite struct CompactPoolFaultTests {
  @Test(
    "every nth call fails: refused or served, never half; afterwards all works",
    arguments: [CompactKind.plain, .movable])
  func everyNthCallFails(kind: CompactKind) async {
    await #expect(processExitsWith: .success) { [kind = kind.rawValue as String] in
      do {
        for n in UInt(1)...30 { try CompactPoolFaultTests.use(CompactKind(rawValue: kind)!, failingEvery: n) }
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  /// The same with a window that keeps nothing mapped that is not in use. A pool that cannot map the pages that it is about to change ends the
  /// process, with one line (`Tests/CrashTests`); all other refusals are values.
  @Test(arguments: [CompactKind.file, .movableFile])
  func everyNthCallOfAFileFails(kind: CompactKind) async {
    await #expect(processExitsWith: .success) { [kind = kind.rawValue as String] in
      Faults.report {
        var ended = 0
        for n in UInt(1)...40 {
          let status = Forks.child {
            do {
              try CompactPoolFaultTests.use(CompactKind(rawValue: kind)!, failingEvery: n)
              return 0
            } catch {
              print("\(error)")
              return 1
            }
          }
          try demand(status == 0 || status == -SIGABRT, "every \(n)th call: \(status)")
          if status == 0 { ended += 1 }
        }
        for n in UInt(1)...8 {
          mp_system_fail_every(n)
          let made = try? TestCompact(CompactKind(rawValue: kind)!)
          mp_system_fail_every(0)
          try demand(made?.pool.checkInvariants() != false, "made in part")
        }
        try demand(ended > 0, "none came to its end")
      }
    }
  }

  private static func use(_ kind: CompactKind, failingEvery n: UInt) throws {
    let test = try TestCompact(kind)
    let pool = test.pool
    var model = CompactModel(pool, seed: SplitMix64.seed("everyNthCallFails(\(kind)), every \(n)"))
    mp_system_fail_every(n)
    defer { mp_system_fail_every(0) }
    for step in 0..<3000 {
      if step / 500 % 2 == 0 ? model.random.below(3) > 0 : model.random.below(3) == 0 {
        _ = try model.take(model.size())
      } else {
        try model.freeAny()
      }
    }
    mp_system_fail_every(0)
    try demand(pool.checkInvariants(), "every \(n)th call: broken")
    for _ in 0..<50 { try demand(try model.take(3000), "every \(n)th call: refused afterwards") }
    try model.freeAll()
    try demand(pool.totalBytes == 0 && test.runBytes == 0, "every \(n)th call: pages stayed")
  }

  @Test("a file without memory refuses objects, and keeps those that it has")
  func fullFile() async {
    await #expect(processExitsWith: .success) {
      do {
        try CompactPoolFaultTests.useFile()
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  private static func useFile() throws {
    // All is mapped, so that what fails is memory for new pages, or the mapping of a new region.
    let test = try TestCompact(.file) { $0.backing = .file(window: 1 << 30) }
    let pool = test.pool
    var model = CompactModel(pool, seed: SplitMix64.seed("fullFile"))
    for _ in 0..<500 { _ = try model.take(1 + model.random.below(4092)) }
    mp_system_fail_every(1)
    defer { mp_system_fail_every(0) }
    var refused = 0
    for _ in 0..<500 where try !model.take(1 + model.random.below(100_000)) { refused += 1 }
    try demand(refused > 300, "\(refused) refused")
    let full = pool.totalBytes
    for object in model.live { try model.check(object) }
    mp_system_fail_every(0)
    try demand(pool.checkInvariants() && pool.totalBytes == full, "broken")
    try model.freeAll()
    try demand(pool.totalBytes == 0, "pages stayed")
  }

  @Test("an exhausted pool fails, and one freed object makes room for its like")
  func exhaustion() throws {
    let test = try TestCompact(.fixed)
    let pool = test.pool
    var model = CompactModel(pool, seed: SplitMix64.seed("exhaustion"))
    while try model.take(3000) {}
    #expect(model.live.count > 15_000)
    for _ in 0..<100 {
      try model.freeAny()
      #expect(try model.take(3000))
      #expect(try !model.take(3000))
    }
    #expect(pool.checkInvariants())
    try model.freeAll()
    #expect(pool.totalBytes == 0 && test.runBytes == 0)
  }

  /// Records are the memory pool's as a whole: that its first reservation is full of them refuses nothing.
  @Test func recordsLieInFurtherSegments() throws {
    var memoryOptions = PoolOptions()
    memoryOptions.backing = .elastic(reserve: 2 << 20)
    let memory = try MemoryPoolPointer.create(memoryOptions)
    let pool = try CompactPoolPointer.create(CompactKind.movable.options, in: memory)
    // Of regions far from each other, so that each is in a block of records of its own.
    for number in UInt(1)...1_000 { #expect(pool.makeRecord(number << 6) != nil, "block \(number) refused") }
    #expect(memory.segments.newest != memory.pointee.first)
    var model = CompactModel(pool, seed: SplitMix64.seed("recordsLieInFurtherSegments"))
    for number in 0..<100 { #expect(try model.take(3_000), "object \(number) refused") }
    #expect(pool.checkInvariants())
    try model.freeAll()
    pool.destroy()
    #expect(memory.statistics().allocatedBytes == 0 && memory.checkInvariants())
    memory.destroy()
  }

  /// Who only attached to a pool's file has to map an object to learn its size.
  @Test func aSizeThatCannotBeLookedAt() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      let test = try TestCompact(.file)
      let handle = try #require(test.pool.allocate(100))
      let attached = try CompactPoolPointer.attach(#require(test.pool.descriptor), in: test.memory)
      mp_system_fail_every(1)
      _ = attached.size(handle)
    }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(text.split(separator: "\n").contains("mempool: size(16, 4): cannot be mapped"), "\(text)")
  }
}
