import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

@Suite(.serialized) struct MemoryPoolThreadTests {
  /// Each thread against its own shadow, all in one pool at once.
  @Test(arguments: PoolKind.allCases)
  func randomOperationsOnManyThreads(kind: PoolKind) throws {
    let seed = SplitMix64.seed("randomOperationsOnManyThreads, \(kind)")
    let test = try TestPool(kind)
    let shared = Shared(test.pool)
    let findings = Findings()
    TestThread.run(6) { number in
      findings.report {
        var model = PoolModel(shared.value, kind, seed: seed &+ UInt64(number))
        model.mostBytes = 3 << 20
        model.mayFail = model.mayFail || kind == .passThrough
        try model.run(steps: 2_000)
        try model.finish()
      }
    }
    #expect(findings.all == [])
    #expect(test.pool.statistics().allocatedBytes == 0)
    #expect(test.pool.statistics().brokenInvariant(isQuiescent: true) == nil)
    #expect(test.pool.checkInvariants())
    #expect(test.isFenceIntact)
  }

  /// A thousand threads alive at once, three times: as many heaps, and what the second thousand took the third takes again.
  @Test func aThousandThreadsAtOnce() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool, shared = Shared(pool)
    let findings = Findings()
    var committed: [UInt] = []
    for wave in 0..<3 {
      let left = BlockExchange(slots: 1000)
      TestThread.run(1000) { number in
        findings.report {
          let pool = shared.value
          var blocks: [(UnsafeMutableRawPointer, Int, UInt64)] = []
          for index in 0..<8 {
            let size = 10 + (number * 7 + index * 97) % 900
            guard let pointer = pool.allocate(UInt(size)) else {
              throw Broken(description: "thread \(number): no memory")
            }
            Pattern.fill(pointer, size, UInt64(number * 8 + index))
            blocks.append((pointer, size, UInt64(number * 8 + index)))
          }
          // All are alive here: nobody leaves before a thousand have come.
          waves[wave].arrive()
          for block in blocks {
            try demand(Pattern.isIntact(block.0, block.1, block.2), "thread \(number): a block was written to")
          }
          // One outlives the thread, its neighbours do not.
          _ = left.swap(blocks.removeLast(), at: number)
          for block in blocks { pool.deallocate(block.0) }
        }
      }
      for slot in 0..<1000 {
        guard let block = left.swap(nil, at: slot) else { continue }
        #expect(Pattern.isIntact(block.0, block.1, block.2))
        pool.deallocate(block.0)
      }
      #expect(pool.statistics().allocatedBytes == 0)
      committed.append(pool.statistics().committedBytes)
    }
    #expect(findings.all == [])
    let statistics = pool.statistics()
    #expect(statistics.heapCount <= 1001 && statistics.ownedHeapCount <= 1)
    #expect(committed[2] <= committed[1] + 1 << 20, "\(committed): the third thousand took more memory")
    #expect(pool.checkInvariants())
  }

  private let waves = (0..<3).map { _ in ThreadGate(1000) }

  /// A hundred thousand, one after another, some blocks outliving their thread: no heap is lost, no memory piles up.
  @Test func aHundredThousandShortThreads() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool, shared = Shared(pool)
    let left = BlockExchange(slots: 16)
    var early: UInt = 0
    for number in 0..<100_000 {
      TestThread.run {
        let pool = shared.value
        let blocks = (0..<3).map { (pool.allocate(UInt(20 + (number + $0 * 300) % 1500))!, 20, UInt64(number)) }
        Pattern.fill(blocks[0].0, 20, UInt64(number))
        pool.deallocate(blocks[1].0)
        pool.deallocate(blocks[2].0)
        if let old = left.swap(blocks[0], at: number % 16) {
          if !Pattern.isIntact(old.0, old.1, old.2) { Issue.record("a block was written to") }
          pool.deallocate(old.0)
        }
      }
      if number == 2_000 { early = pool.statistics().committedBytes }
    }
    let statistics = pool.statistics()
    #expect(statistics.heapCount <= 2, "one thread at a time needs one heap")
    #expect(statistics.committedBytes <= early + 256 << 10, "\(early) bytes grew to \(statistics.committedBytes)")
    for slot in 0..<16 { pool.deallocate(left.swap(nil, at: slot)?.0) }
    #expect(pool.statistics().allocatedBytes == 0)
    #expect(pool.checkInvariants())
  }

  /// Read while threads run, the figures stay within what is possible; when they are gone, the ledger agrees.
  @Test func statisticsWhileThreadsRun() throws {
    let seed = SplitMix64.seed("statisticsWhileThreadsRun")
    let test = try TestPool(.elastic)
    let pool = test.pool, shared = Shared(pool)
    let findings = Findings()
    let perThread: UInt = 2 << 20
    let running = Shared(AtomicPointer(UnsafeMutablePointer<UInt>.allocate(capacity: 1)))
    running.value.storeRelaxed(4)
    defer { running.value.word.deallocate() }
    let asked = Shared(UnsafeMutablePointer<UInt>.allocate(capacity: 8))
    defer { asked.value.deallocate() }
    TestThread.run(5) { number in
      findings.report {
        let pool = shared.value
        if number == 4 {
          var last = PoolStatistics()
          var count = 0
          repeat {
            let now = pool.statistics()
            if let broken = now.brokenInvariant(isQuiescent: false) { throw Broken(description: "\(broken)") }
            try demand(now.generation > last.generation, "generation \(now.generation) after \(last.generation)")
            try demand(now.requestedBytes >= last.requestedBytes, "requested bytes fell")
            // Each thread has at most so much out; a pass over the pages may see some of it twice, once freed, once taken.
            try demand(now.allocatedBytes < 8 * perThread, "\(now.allocatedBytes) bytes allocated")
            try demand(now.heapCount <= 6, "\(now.heapCount) heaps of five threads")
            last = now
            count += 1
          } while running.value.loadAcquire() != 0 || count < 10
          return
        }
        defer { _ = running.value.fetchAddAcquireRelease(0 &- 1) }
        var random = SplitMix64(seed: seed &+ UInt64(number))
        var live: [(UnsafeMutableRawPointer, UInt)] = []
        var bytes: UInt = 0, sum: UInt = 0
        for _ in 0..<30_000 {
          let size = UInt(random.below(10) == 0 ? random.below(20_000) : random.below(600))
          if bytes + size < perThread / 2, random.below(2) == 0 {
            guard let pointer = pool.allocate(size) else { throw Broken(description: "no memory") }
            live.append((pointer, size))
            bytes += size
            sum += size
          } else if !live.isEmpty {
            let index = random.below(live.count)
            live.swapAt(index, live.count - 1)
            let block = live.removeLast()
            bytes -= block.1
            pool.deallocate(block.0)
          }
        }
        for block in live { pool.deallocate(block.0) }
        asked.value[number] = sum
      }
    }
    #expect(findings.all == [])
    let statistics = pool.statistics()
    #expect(statistics.requestedBytes == (0..<4).reduce(0) { $0 + asked.value[$1] })
    #expect(statistics.allocatedBytes == 0)
    #expect(statistics.brokenInvariant(isQuiescent: true) == nil)
  }

  /// Pools made, used by threads, and destroyed, at the same address again and again, while other threads keep what they
  /// remember of the pools before.
  @Test func poolsComeAndGoUnderLivingThreads() throws {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 2 << 20, alignment: 64)
    defer { memory.deallocate() }
    let start = UInt(bitPattern: memory)
    let findings = Findings()
    let gate = ThreadGate(8)
    let current = Shared(UnsafeMutablePointer<MemoryPoolPointer?>.allocate(capacity: 1))
    current.value.initialize(to: nil)
    defer { current.value.deallocate() }
    TestThread.run(8) { number in
      findings.report {
        for round in 0..<200 {
          if number == 0 {
            var options = PoolOptions()
            options.backing = .buffer(start: start, count: 2 << 20)
            do throws(PoolError) { current.value.pointee = try .create(options) } catch { findings.report("\(error)") }
          }
          gate.arrive()
          if let pool = current.value.pointee {
            // Threads sit out some rounds, so that what they remember is of different ages.
            if (round + number) % 3 != 0 {
              for size in [UInt(16), 200, 3_000, 9_000] {
                guard let pointer = pool.allocate(size) else {
                  findings.report("thread \(number), round \(round): no memory")
                  continue
                }
                Pattern.fill(pointer, Int(size), UInt64(number))
                if !Pattern.isIntact(pointer, Int(size), UInt64(number)) { findings.report("two have one block") }
                if size != 200 { pool.deallocate(pointer) }
              }
            }
          }
          gate.arrive()
          if number == 0, let pool = current.value.pointee {
            if !pool.checkInvariants() { findings.report("round \(round): broken") }
            pool.destroy()
          }
          gate.arrive()
        }
      }
    }
    #expect(findings.all == [])
  }
}
