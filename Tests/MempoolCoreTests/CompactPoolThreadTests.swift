import CMempoolShims
import Testing

@testable import MempoolCore

/// Many threads on one compact pool. Run these under ThreadSanitizer, too.
@Suite struct CompactPoolThreadTests {
  @Test("C3: nothing fails while the system has memory, whatever other threads do", arguments: CompactKind.allCases)
  func noSpuriousFailure(kind: CompactKind) throws {
    let seed = SplitMix64.seed("noSpuriousFailure(\(kind))")
    // All on one shard, where one may take what another has just made room for, and each on its own.
    for shardCount in [1, 8] as [UInt] {
      let test = try TestCompact(kind) { $0.shardCount = shardCount }
      let pool = Shared(test.pool), findings = Findings()
      TestThread.run(8) { number in
        findings.report {
          var model = CompactModel(pool.value, seed: seed &+ UInt64(number))
          for _ in 0..<(kind.isFile ? 300 : 3000) {
            if model.random.below(3) > 0 {
              try demand(try model.take(1 + model.random.below(4092)), "seed \(seed): refused")
            } else {
              try model.freeAny()
            }
          }
          try model.freeAll()
        }
      }
      #expect(findings.all == [])
      #expect(pool.value.totalBytes == 0 && pool.value.checkInvariants())
      #expect(pool.value.statistics().refusals == 0)
    }
  }

  @Test("C4: after concurrent churn, objects freed by other threads, the total is 0", arguments: CompactKind.allCases)
  func totalReturnsToZero(kind: CompactKind) throws {
    let seed = SplitMix64.seed("totalReturnsToZero(\(kind))")
    let test = try TestCompact(kind)
    let pool = Shared(test.pool), findings = Findings(), gate = ThreadGate(4)
    let boxes = Shared(UnsafeMutablePointer<[CompactHandle]>.allocate(capacity: 4))
    boxes.value.initialize(repeating: [], count: 4)
    TestThread.run(4) { number in
      findings.report {
        var random = SplitMix64(seed: seed &+ UInt64(number))
        for round in 0..<20 {
          for _ in 0..<(kind.isFile ? 50 : 300) {
            let size = random.below(100) == 0 ? 100_000 : 1 + random.below(4092)
            guard let handle = pool.value.allocate(UInt(size)) else { throw Broken(description: "refused") }
            guard let (start, _) = pool.value.map(handle) else { throw Broken(description: "cannot be mapped") }
            start.storeBytes(of: UInt8(truncatingIfNeeded: handle.page), as: UInt8.self)
            pool.value.unmap(handle)
            boxes.value[number].append(handle)
          }
          gate.arrive()
          // The next thread's objects, while others move what they can.
          let other = (number + 1) % 4
          for handle in boxes.value[other] {
            guard let (start, _) = pool.value.map(handle) else { throw Broken(description: "cannot be mapped") }
            try demand(start.load(as: UInt8.self) == UInt8(truncatingIfNeeded: handle.page), "was written to")
            pool.value.unmap(handle)
            if random.below(50) == 0 { pool.value.compact() }
            if random.below(50) == 0 { pool.value.trim() }
            pool.value.free(handle)
          }
          gate.arrive()
          boxes.value[other] = []
          gate.arrive()
          if round % 5 == 0, number == 0 { try demand(pool.value.totalBytes == 0, "seed \(seed): pages stayed") }
          gate.arrive()
        }
      }
    }
    #expect(findings.all == [])
    boxes.value.deinitialize(count: 4)
    boxes.value.deallocate()
    #expect(pool.value.totalBytes == 0 && pool.value.checkInvariants())
    #expect(pool.value.statistics().liveObjects == 0)
  }

  @Test("pages are sharded over threads: a held shard is in nobody else's way")
  func shardsAreIndependent() throws {
    let test = try TestCompact()
    let pool = Shared(test.pool), findings = Findings()
    let hold = CompactHold(pool.value, pool.value.ownShard())
    let held = hold.number
    // Threads are numbered one after the other.
    for _ in 0..<16 {
      TestThread.run {
        if pool.value.ownShard() == held { return }
        guard let handle = pool.value.allocate(3000) else { return findings.report("refused") }
        pool.value.free(handle)
        findings.report("served")
      }
    }
    hold.end()
    #expect(findings.all.count >= 8 && findings.all.allSatisfy { $0 == "served" })
    #expect(pool.value.totalBytes == 0 && pool.value.checkInvariants())
  }

  @Test("a child process goes on with what its parent had; a file's pages are the parent's")
  func fork() async {
    for kind in [CompactKind.plain, .movable, .file] {
      await #expect(processExitsWith: .success) { [kind = kind.rawValue as String] in
        try Forks.inside { try CompactPoolThreadTests.forkWhileOthersWork(CompactKind(rawValue: kind)!) }
      }
    }
  }

  private static func forkWhileOthersWork(_ kind: CompactKind) throws {
    let test = try TestCompact(kind)
    let pool = Shared(test.pool)
    var model = CompactModel(pool.value, seed: SplitMix64.seed("fork(\(kind))"))
    for _ in 0..<200 { _ = try model.take(1 + model.random.below(4092)) }
    let stop = Shared(UnsafeMutablePointer<UInt>.allocate(capacity: 1))
    stop.value.initialize(to: 0)
    let others = (0..<3).map { number in
      TestThread {
        var random = SplitMix64(seed: UInt64(number))
        while AtomicPointer(stop.value).loadRelaxed() == 0 {
          if let handle = pool.value.allocate(UInt(1 + random.below(4092))) { pool.value.free(handle) }
        }
      }
    }
    for _ in 0..<20 {
      let status = Forks.child {
        if kind.isFile { return pool.value.allocate(100) == nil ? 0 : 1 }
        for object in model.live { pool.value.free(object.handle) }
        for size in UInt(1)..<500 {
          guard let handle = pool.value.allocate(size) else { return 2 }
          pool.value.free(handle)
        }
        return pool.value.checkInvariants() ? 0 : 3
      }
      try demand(status == 0, "\(kind): status \(status)")
    }
    AtomicPointer(stop.value).storeRelaxed(1)
    for other in others { other.join() }
    stop.value.deallocate()
    try model.freeAll()
    try demand(pool.value.totalBytes == 0 && pool.value.checkInvariants(), "\(kind): broken")
  }
}
