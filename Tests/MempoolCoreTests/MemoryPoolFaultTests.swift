import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// What happens when the system refuses memory. The switches that make it refuse, and the counters of its calls, are the
/// process's: each of these tests runs in a process of its own.
@Suite struct MemoryPoolFaultTests {
  /// Every nth call fails, for n from 1 to 20, while pools are made and used: each failure is an error value, no content is
  /// lost, and when memory can be had again all works.
  @Test(
    "T17: every nth call of the system fails: each failure is an error value, and nothing is lost",
    arguments: [PoolKind.elastic, .crowded, .fixed, .dense])
  func everyNthCallFails(kind: PoolKind) async {
    switch kind {
    case .elastic: await #expect(processExitsWith: .success) { Faults.report { try Faults.everyNth(.elastic) } }
    case .crowded: await #expect(processExitsWith: .success) { Faults.report { try Faults.everyNth(.crowded) } }
    case .fixed: await #expect(processExitsWith: .success) { Faults.report { try Faults.everyNth(.fixed) } }
    default: await #expect(processExitsWith: .success) { Faults.report { try Faults.everyNth(.dense) } }
    }
  }

  /// Making a pool fails at each of its calls in turn; nothing is left behind.
  @Test("T17: a reservation that fails is an error with its errno, and leaves nothing behind")
  func makingAPoolFailsCleanly() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        for kind in [PoolKind.elastic, .fixed] {
          _ = try TestPool(kind)  // what all pools have in common is there now
          let before = Faults.addressSpaceButHeap()
          for _ in 0..<50 {
            mp_system_fail_every(1)
            defer { mp_system_fail_every(0) }
            #expect(throws: PoolError.self) { try TestPool(kind) }
          }
          for _ in 0..<50 {
            mp_system_reserve_limit(1)
            defer { mp_system_reserve_limit(0) }
            if kind == .elastic {
              #expect(throws: PoolError.reservationFailed(errno: Int32(MP_ENOMEM))) { try TestPool(kind) }
            }
          }
          let grown = Faults.addressSpaceButHeap() - before
          try demand(grown < 8 << 20, "\(kind): \(grown) bytes of address space stayed")
        }
      }
    }
  }

  /// No reservation above 8 MiB, 1 GiB of objects: many reservations, each object found, all of it given back.
  @Test func aGigabyteInSmallReservations() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        _ = try TestPool(.elastic)
        mp_system_reserve_limit(8 << 20)
        var options = PoolOptions()
        options.backing = .elastic(reserve: 0)
        let pool = try MemoryPoolPointer.create(options)
        var random = SplitMix64(seed: SplitMix64.seed("aGigabyteInSmallReservations"))
        var live: [(UnsafeMutableRawPointer, Int, UInt64)] = []
        var bytes = 0
        while bytes < 1 << 30 {
          let size = random.below(50) == 0 ? 1 + random.below(900_000) : 1 + random.below(120_000)
          guard let pointer = pool.allocate(UInt(size)) else {
            throw Broken(description: "refused after \(bytes) bytes")
          }
          let tag = random.next()
          Pattern.fill(pointer, min(size, 64), tag)
          live.append((pointer, min(size, 64), tag))
          bytes += size
        }
        var segments = 0
        pool.segments.first { segment in
          segments += 1
          return segment.pointee.byteCount > 8 << 20
        }
        try demand(segments >= 128, "\(segments) reservations hold a gigabyte")
        try demand(pool.checkInvariants(), "broken")
        for block in live {
          try demand(Pattern.isIntact(block.0, block.1, block.2), "a block was written to")
          pool.deallocate(block.0)
        }
        try demand(pool.statistics().allocatedBytes == 0, "not all came back")
        pool.purge()
        try demand(pool.statistics().activeBytes == 0, "pages stayed in use")
        pool.destroy()
      }
    }
  }

  /// Under a limit on address space, a pool that says nothing of its size takes a sixteenth of it at most: others want some, too.
  @Test func aPartOfTheLimit() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        let limit = (Faults.addressSpace() + 8 << 30) & ~0xffff
        var value = rlimit(rlim_cur: rlim_t(limit), rlim_max: rlim_t(limit))
        try demand(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &value) == 0, "no limit")
        for _ in 0..<6 {
          var options = PoolOptions()
          options.backing = .elastic(reserve: 0)
          let pool = try MemoryPoolPointer.create(options)
          let mapped = pool.statistics().mappedBytes
          try demand(mapped <= UInt(limit) / 16 && mapped > UInt(limit) / 64, "\(mapped) of \(limit) bytes")
          _ = pool.allocate(1 << 20)
        }
        // The third and later ones get what is left, halved until it fits.
        var options = PoolOptions()
        options.backing = .elastic(reserve: limit)
        let pool = try MemoryPoolPointer.create(options)
        try demand(pool.allocate(100_000) != nil, "refused")
      }
    }
  }

  /// Fixed and buffer pools make no call of the system's for memory once they exist: not when threads come and go, not when
  /// they are full, not when they are purged.
  @Test("T19: once a pool in a segment of its own exists, it makes no call of the system")
  func noCallOnceAPoolHasItsMemory() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        for kind in [PoolKind.fixed, .buffer, .denseFixed] {
          let test = try TestPool(kind)
          let pool = test.pool, shared = Shared(pool)
          let before = Faults.calls()
          for wave in 0..<3 {
            let findings = Findings()
            TestThread.run(60) { number in
              findings.report {
                var model = PoolModel(shared.value, kind, seed: UInt64(wave * 100 + number))
                model.mostBytes = 1 << 20
                try model.run(steps: 300)
                try model.finish()
              }
            }
            try demand(findings.all == [], "\(findings.all)")
          }
          var live: [UnsafeMutableRawPointer] = []
          while let pointer = pool.allocate(UInt(live.count % 5_000)) { live.append(pointer) }
          for pointer in live { pool.deallocate(pointer) }
          pool.purge()
          try demand(Faults.calls() == before, "\(kind): \(Faults.calls() - before) calls of the system")
          try demand(test.isFenceIntact, "wrote outside the caller's memory")
        }
      }
    }
  }

  /// A purge that the system refuses loses nothing: the pages are idle and dirty as before.
  @Test func aRefusedPurge() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        let test = try TestPool(.elastic)
        let pool = test.pool
        let live = (0..<400).map { _ in pool.allocate(20_000)! }
        for pointer in live { pointer.initializeMemory(as: UInt8.self, repeating: 0xff, count: 20_000) }
        mp_system_fail_every(1)
        for pointer in live { pool.deallocate(pointer) }
        try demand(pool.purge() == 0, "purged what the system kept")
        mp_system_fail_every(0)
        try demand(pool.checkInvariants(), "broken")
        for _ in 0..<400 {
          let pointer = pool.allocateZeroed(count: 1, byteCount: 20_000)!
          try demand(Pattern.isZero(pointer, 20_000), "not zero")
        }
      }
    }
  }

  @Test("T16: free takes no memory: with the system refusing every call, a full pool can be emptied, by any thread")
  func freeTakesNothing() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        for kind in [PoolKind.elastic, .crowded, .fixed, .dense, .denseFixed] {
          let test = try TestPool(kind)
          let pool = test.pool, shared = Shared(pool)
          var random = SplitMix64(seed: SplitMix64.seed("freeTakesNothing, \(kind)"))
          var live: [UnsafeMutableRawPointer] = []
          var bytes = 0
          while bytes < 32 << 20 {
            let size = random.below(100) == 0 ? random.below(200_000) : random.below(4_000)
            guard let pointer = pool.allocate(UInt(size)) else { break }
            live.append(pointer)
            bytes += size
          }
          live.shuffle(using: &random)
          mp_system_fail_every(1)
          let remote = Shared(Array(live.suffix(live.count / 2)))
          TestThread.run(2) { number in
            for index in remote.value.indices where index % 2 == number { shared.value.deallocate(remote.value[index]) }
          }
          var most = pool.statistics().activeBytes
          for (index, pointer) in live.dropLast(live.count / 2).enumerated() {
            pool.deallocate(pointer)
            if index % 1000 == 0 {
              let active = pool.statistics().activeBytes
              try demand(active <= most, "\(kind): a free took pages: \(active) bytes after \(most)")
              most = active
            }
          }
          mp_system_fail_every(0)
          try demand(pool.statistics().allocatedBytes == 0, "\(kind): not all came back")
          try demand(pool.checkInvariants(), "\(kind): broken")
        }
      }
    }
  }

  @Test("T17: memory that cannot be locked is an error with its errno, and leaves nothing behind")
  func aRefusedLock() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        var options = PoolOptions()
        options.backing = .fixed(size: 1 << 20, locked: true, prefault: false)
        _ = try TestPool(.fixed)
        let before = Faults.addressSpaceButHeap()
        var seen = false
        // The lock is one of the first few calls.
        for call in UInt(1)...8 {
          mp_system_fail_every(call)
          do throws(PoolError) {
            let pool = try MemoryPoolPointer.create(options)
            mp_system_fail_every(0)
            pool.destroy()
          } catch {
            seen = seen || error == .lockFailed(errno: Int32(MP_ENOMEM))
          }
          mp_system_fail_every(0)
        }
        try demand(seen, "no call of these was the one that locks")
        let grown = Faults.addressSpaceButHeap() - before
        try demand(grown < 1 << 20, "\(grown) bytes of address space stayed")
      }
    }
  }

  /// A span that grows, while each of the calls that this takes fails in turn: it is where it was, with what it held, or
  /// elsewhere with all of it; no address space is lost, and the map knows the one place and no other.
  @Test func resizingSpansFailsCleanly() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        let test = try TestPool(.elastic)
        let pool = test.pool
        let threshold = SpanList.threshold
        var random = SplitMix64(seed: SplitMix64.seed("resizingSpansFailsCleanly"))
        pool.deallocate(pool.allocate(64 << 20))
        var failures = 0, moves = 0
        for step in 0..<400 {
          let size = threshold + 1 + UInt(random.below(4 << 20)), wanted = size + UInt(random.below(24 << 20))
          // The neighbour is in the way, so that growing means moving, as a rule.
          guard let neighbour = pool.allocate(size), let pointer = pool.allocate(size) else {
            throw Broken(description: "step \(step): no span")
          }
          let span = pool.spans.pointee.head!, old = span.pointee.byteCount, before = Faults.addressSpaceButHeap()
          Pattern.fill(pointer, Int(old), UInt64(step))
          mp_system_fail_every(1 + UInt(step % 4))
          let resized = pool.spans.resize(span, to: wanted)
          mp_system_fail_every(0)
          try demand(pool.spans.checkInvariants() && pool.checkInvariants(), "step \(step): broken")
          let grown = Faults.addressSpaceButHeap() - before
          if let resized {
            try demand(span.pointee.address == resized && span.pointee.byteCount >= wanted, "step \(step): lost")
            try demand(grown == Int(span.pointee.byteCount - old), "step \(step): \(grown) bytes of address space")
            if resized != UInt(bitPattern: pointer) { moves += 1 }
          } else {
            failures += 1
            try demand(span.pointee.address == UInt(bitPattern: pointer), "step \(step): moved by a failure")
            try demand(span.pointee.byteCount == old, "step \(step): resized by a failure")
            // But for what is another's by now, where the place was lost to it.
            try demand(
              grown == 0 || grown == Int(pool.goodSize(wanted)), "step \(step): \(grown) bytes of address space stayed")
          }
          let memory = UnsafeMutableRawPointer(bitPattern: span.pointee.address)!
          try demand(Pattern.isIntact(memory, Int(old), UInt64(step)), "step \(step): content lost")
          pool.deallocate(memory)
          pool.deallocate(neighbour)
        }
        try demand(failures > 50 && moves > 20, "\(failures) failures, \(moves) moves")
      }
    }
  }

  /// A place that a refused move has unmapped, and that another thread has got since, is left alone.
  @Test func whatARefusedMoveLosesToAnother() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        let size = 8 << 20
        let from = mp_pages_map(size, 1)!
        from.storeBytes(of: 77, as: Int.self)
        for number in 0..<20 {
          let to = mp_pages_reserve(2 * size, 1)!
          let before = Faults.addressSpaceButHeap()
          mp_system_fail_every(1)
          try demand(mp_pages_move(from, size, to, 2 * size) != 0, "moved")
          mp_system_fail_every(0)
          try demand(from.load(as: Int.self) == 77, "run \(number): content lost")
          let left = Faults.addressSpaceButHeap() - before
          if number % 2 == 0 {
            try demand(left == -2 * size, "run \(number): \(left + 2 * size) bytes of ours stayed")
          } else {
            try demand(left == 0, "run \(number): \(-left) bytes of another's are gone")
            _ = mp_pages_release(to, 2 * size)
          }
        }
      }
    }
  }

  /// The kernel itself refuses to move pages: the place is gone, whether it was unmapped before that or not.
  @Test func whatARefusedMoveLeaves() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        for number in 0..<20 {
          let size = 8 << 20
          let from = mp_pages_map(size, 1)!, to = mp_pages_reserve(2 * size, 1)!
          _ = mp_pages_release(from, size)  // nothing there: EFAULT
          let before = Faults.addressSpaceButHeap()
          try demand(mp_pages_move(from, size, to, 2 * size) != 0, "moved nothing")
          try demand(Faults.addressSpaceButHeap() == before - 2 * size, "run \(number): address space stayed")
          try demand(mp_pages_commit(to, size) != 0, "run \(number): still mapped")
        }
      }
    }
  }

  /// When the system maps nothing any more, large objects are runs in the address space that the pool has.
  @Test func runsWhereNoSpanCanBeHad() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        let test = try TestPool(.elastic)
        let pool = test.pool
        // Pages that are accessible already, so that every call may fail from now on.
        let room = (0..<100).map { _ in pool.allocate(1 << 20)! }
        for pointer in room { pool.deallocate(pointer) }
        let sizes = [(1 << 20) + 1, 3_000_000, 20 << 20]
        mp_system_fail_every(1)
        for size in sizes {
          guard let pointer = pool.allocateZeroed(count: 1, byteCount: UInt(size)) else {
            throw Broken(description: "\(size) bytes refused")
          }
          try demand(Pattern.isZero(pointer, size), "\(size) bytes are not zero")
          let usable = pool.usableSize(of: pointer)
          try demand(usable >= pool.goodSize(UInt(size)) && pool.isPlausible(UInt(size), usable: usable), "\(usable)")
          Pattern.fill(pointer, size, 7)
          guard let larger = pool.reallocate(pointer, UInt(size) * 2) else { throw Broken(description: "not resized") }
          try demand(Pattern.isIntact(larger, size, 7), "content lost")
          pool.deallocate(larger)
          for alignment in [UInt(64), 4096, 1 << 16, 4 << 20] {
            guard let aligned = pool.allocateAligned(UInt(size), alignment: alignment) else {
              throw Broken(description: "\(size) bytes, aligned to \(alignment), refused")
            }
            try demand(UInt(bitPattern: aligned) % alignment == 0, "not aligned to \(alignment)")
            pool.deallocate(aligned)
          }
        }
        try demand(pool.allocate(2 << 30) == nil, "more than the segment")
        try demand(pool.allocate(UInt(Int.max)) == nil, "more than there can be")
        try demand(pool.allocateAligned(2 << 20, alignment: 1 << 61) == nil, "more than there can be")
        mp_system_fail_every(0)
        try demand(pool.spans.liveCount.loadRelaxed() == 0 && pool.checkInvariants(), "broken")
        try demand(pool.statistics().allocatedBytes == 0, "not all came back")
      }
    }
  }
}

extension Faults {
  fileprivate static func everyNth(_ kind: PoolKind) throws {
    let seed = SplitMix64.seed("everyNthCallFails, \(kind)")
    do { try everyNth(kind, seed) } catch { throw Broken(description: "seed \(seed): \(error)") }
  }

  private static func everyNth(_ kind: PoolKind, _ seed: UInt64) throws {
    _ = try TestPool(.elastic)
    for n in UInt(1)...20 {
      let failedBefore = failedCalls()
      mp_system_fail_every(n)
      defer { mp_system_fail_every(0) }
      var test: TestPool?
      for _ in 0..<40 where test == nil { test = try? TestPool(kind) }
      if test == nil {
        // Nothing can be had at all: then one without failures, to fail from here on.
        mp_system_fail_every(0)
        test = try TestPool(kind)
        mp_system_fail_every(n)
      }
      let pool = test!.pool
      var model = PoolModel(pool, kind, seed: seed &+ UInt64(n))
      model.mayFail = true
      try model.run(steps: 2_000)
      try model.checkDisjoint()
      mp_system_fail_every(0)
      try demand(pool.checkInvariants(), "every \(n)th call: broken")
      model.mayFail = !kind.isElastic
      try model.run(steps: 1_000)
      try model.finish()
      try demand(pool.statistics().allocatedBytes == 0, "every \(n)th call: not all came back")
      pool.purge()
      try demand(pool.checkInvariants(), "every \(n)th call: broken after all is free")
      // Not every one is a refusal to the caller: where no span can be had, there may be a run.
      try demand(n > 5 || kind == .fixed || failedCalls() > failedBefore, "every \(n)th call: none failed")
    }
  }
}
