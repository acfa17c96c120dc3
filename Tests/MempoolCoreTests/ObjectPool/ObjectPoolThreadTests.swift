import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// Several threads: leases, handing over, exits, orphans, forks.
@Suite struct ObjectPoolThreadTests {
  typealias Basket = SlabCacheThreadTests.Basket

  /// Random acquires and releases of 8 threads, a third of the objects released by another thread, more of them than there are
  /// prepared, with sweeps in between.
  @Test(arguments: [1, 48, 100, 700, 5000], [ObjectPool.Fallback.segment, .system])
  func churnWithHandovers(_ size: Int, _ fallback: ObjectPool.Fallback) throws {
    let seed = SplitMix64.seed("ObjectPoolThreadTests.churnWithHandovers(\(size))")
    let test = try TestObjects(size, count: 1000, fallback: fallback)
    let basket = Basket(), findings = Findings()
    for round in 0..<3 {
      TestThread.run(8) { number in
        var random = SplitMix64(seed: seed &+ UInt64(round * 8 + number))
        var mine: [(item: UnsafeMutableRawPointer, tag: Int)] = []
        var goal = 0
        func release(_ entry: (item: UnsafeMutableRawPointer, tag: Int)) {
          if !ItemPattern.isIntact(entry.item, size, entry.tag) { findings.report("an object's content changed") }
          TestObjects.release(entry.item)
        }
        for step in 0..<4000 {
          if step % 400 == 0 { goal = random.below(300) }
          if random.below(2 * goal + 1) > mine.count {
            guard let item = test.pool.acquire() else { return findings.report("no object") }
            ItemPattern.fill(item, size, step)
            if random.below(3) == 0 { basket.add(item, step) } else { mine.append((item, step)) }
          } else if let entry = random.below(3) == 0 ? basket.takeAny() : mine.popLast() {
            release(entry)
          }
          if random.below(1000) == 0 { test.pool.sweep() }
        }
        for entry in mine { release(entry) }
      }
      let seen = test.statistics
      #expect(seen.hot + seen.fallback == UInt(basket.count) && seen.threads == 0)
      #expect(seen.maxHot <= 1000 && seen.hot <= seen.maxHot && seen.fallback <= seen.maxFallback)
      #expect(test.pool.checkInvariants() && test.memory.checkInvariants())
    }
    while let (item, tag) = basket.takeAny() {
      #expect(ItemPattern.isIntact(item, size, tag))
      TestObjects.release(item)
    }
    #expect(findings.all == [])
    #expect(test.statistics.hot == 0 && test.statistics.fallback == 0 && test.pool.destroy())
  }

  @Test("O5: what a thread acquired before it exited another releases, while a third one sweeps: 10^6 objects")
  func releasedAfterTheOwnersExit() throws {
    let test = try TestObjects(48, count: 700)
    let isDone = Mutex.make()
    defer { Mutex.free(isDone) }
    nonisolated(unsafe) let done = isDone
    let sweeper = TestThread {
      while AtomicPointer(done, word: 0).loadRelaxed() == 0 {
        test.pool.giveBackLeases()
        mp_sleep_nanoseconds(20_000)
      }
    }
    for round in 0..<1250 {
      nonisolated(unsafe) var objects: [UnsafeMutableRawPointer] = []
      TestThread.run {
        objects = (0..<800).map { _ in test.acquire() }
        for object in objects { object.storeBytes(of: round, as: Int.self) }
      }
      for object in objects { if object.load(as: Int.self) != round { Issue.record("content changed") } }
      for object in objects { TestObjects.release(object) }
    }
    AtomicPointer(isDone, word: 0).storeRelaxed(1)
    sweeper.join()
    let seen = test.statistics
    #expect(seen.allocations == 1_000_000 && seen.hot == 0 && seen.fallback == 0)
    #expect(seen.misses == 125_000, "each thread got all of the 700")
    #expect(test.pool.checkInvariants())
  }

  @Test("O4: threads that live on keep nothing of a burst that is over")
  func idleThreadsKeepNothing() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let shared = MemoryPoolPointer.shared
        nonisolated(unsafe) let pool = try shared.makeObjectPool(itemSize: 256, count: 8192)
        shared.purge()
        let prepared = pool.statistics().pageBytes, before = shared.statistics().committedBytes
        let gate = ThreadGate(5)
        let threads = (0..<4).map { _ in
          TestThread {
            let objects = (0..<20_000).map { _ in pool.acquire()! }
            gate.arrive()  // at its peak
            for object in objects { ObjectPoolPointer.release(object) }
            gate.arrive()  // over
            gate.arrive()
          }
        }
        gate.arrive()
        let peak = shared.statistics().committedBytes
        gate.arrive()
        pool.sweep()
        // The threads wait at the gate, so their heaps may be looked into. Of a slab that was hardly used a system page was touched.
        var hardlyUsed: UInt = 0
        for index in 1..<shared.registry.count {
          guard let heap = shared.registry.heap(index) else { continue }
          for sizeClass in 0..<SizeClass.count {
            let slab = heap.current(sizeClass)
            if slab != ThreadHeapPointer.emptySlab, slab.isMostlyUntouched { hardlyUsed += slab.byteCount }
          }
        }
        let after = shared.statistics().committedBytes.minus(hardlyUsed)
        gate.arrive()
        for thread in threads { thread.join() }
        try demand(peak > before + 8 * prepared, "\(peak) bytes at the peak, \(before) before")
        try demand(after <= before + prepared / 10, "\(after) bytes, \(before) before, \(prepared) of them prepared")
        try demand(pool.destroy(), "objects are out")
      }
    }
  }

  @Test("O4: no lock: threads acquire and release while another holds every lock there is")
  func noLock() async {
    await #expect(processExitsWith: .success) {
      let test = try TestObjects(64, count: 4000)
      let step = ThreadGate(9), findings = Findings()
      let threads = (0..<8).map { number in
        TestThread {
          func churn(_ count: Int) {
            var random = SplitMix64(seed: UInt64(number))
            var objects: [UnsafeMutableRawPointer] = []
            for _ in 0..<count {
              if random.below(200) > objects.count {
                objects.append(test.acquire())
              } else {
                TestObjects.release(objects.removeLast())
              }
            }
            for object in objects { TestObjects.release(object) }
          }
          churn(2000)
          step.arrive()  // has leases, and no memory to ask for
          step.arrive()  // every lock is taken
          churn(20_000)
          step.arrive()
          step.arrive()
        }
      }
      step.arrive()
      alarm(60)  // else it waits for ever
      Process.prepareFork()
      step.arrive()
      step.arrive()
      Process.forkedParent()
      step.arrive()
      for thread in threads { thread.join() }
      if test.statistics.misses != 0 || findings.all != [] { Issue.record("misses") }
    }
  }

  /// What others release of a leased cell comes back to its lessee before it looks elsewhere.
  @Test func whatOthersReleaseComesBack() throws {
    let test = try TestObjects(64, count: 200)
    let items = (0..<200).map { _ in Shared(test.acquire()) }
    TestThread.run { for item in items { TestObjects.release(item.value) } }
    #expect(test.statistics.hot == 0)
    let again = (0..<200).map { _ in test.acquire() }
    #expect(Set(again) == Set(items.map(\.value)))
    #expect(test.statistics.misses == 0)
    for item in again { TestObjects.release(item) }
    #expect(test.pool.checkInvariants())
  }

  /// A thread that exits gives back what it held; short threads one after another need no more records.
  @Test func exitingThreadsKeepNothing() throws {
    let test = try TestObjects(64, count: 100)
    for _ in 0..<1000 {
      TestThread.run {
        let objects = (0..<100).map { _ in test.acquire() }
        for object in objects { TestObjects.release(object) }
      }
    }
    #expect(test.statistics.threads == 0 && test.statistics.misses == 0)
    var records: UInt = 0
    test.pool.forEachLeases { _ in records += 1 }
    #expect(records <= ObjectPoolPointer.leaseBucketCount)
    #expect(test.pool.checkInvariants())
  }

  /// A sweep has an idle thread's objects handed to others as soon as that one comes by.
  @Test func sweepReachesOtherThreads() throws {
    let test = try TestObjects(64, count: 128)
    let step = ThreadGate(2)
    let other = TestThread {
      let all = (0..<128).map { _ in test.acquire() }
      for object in all { TestObjects.release(object) }
      step.arrive()  // holds all of them
      step.arrive()  // swept
      // Takes what it still holds, and then more.
      let one = (0..<129).map { _ in test.acquire() }
      for object in one { TestObjects.release(object) }
      step.arrive()
      step.arrive()
    }
    step.arrive()
    let miss = test.acquire()
    #expect(test.statistics.misses == 1)
    TestObjects.release(miss)
    test.pool.sweep()
    step.arrive()
    step.arrive()
    #expect(test.pool.checkInvariants())
    step.arrive()
    other.join()
    let all = (0..<128).map { _ in test.acquire() }
    #expect(all.allSatisfy(test.isPrepared))
    for object in all { TestObjects.release(object) }
  }

  /// Objects come back from 8 threads to a pool that becomes an orphan meanwhile, and goes when the last one is back.
  @Test func anOrphanGoesWithItsLastObject() throws {
    for fallback in [ObjectPool.Fallback.segment, .system] {
      for _ in 0..<20 {
        let test = try TestObjects(48, count: 10)
        var options = ObjectPool.Options()
        options.fallback = fallback
        nonisolated(unsafe) let pool = try test.memory.makeObjectPool(itemSize: 48, count: 600, options)
        let id = pool.id
        let objects = (0..<800).map { _ in Shared(pool.acquire()!) }
        TestThread.run(9) { number in
          if number == 8 { return pool.orphan() }
          for index in 0..<100 { TestObjects.release(objects[number * 100 + index].value) }
        }
        // Whoever was last may not have seen that it is one.
        ObjectPools.sweep()
        #expect(!ObjectPools.isThere(id))
        #expect(test.memory.checkInvariants())
      }
    }
  }

  /// Pools that are made and destroyed in the same place while threads remember the old ones.
  @Test func madeAgainInTheSamePlace() throws {
    let test = try TestObjects(64, count: 10)
    let gate = ThreadGate(9), findings = Findings()
    nonisolated(unsafe) var pool = test.pool
    let rounds = 30, sizes = [64, 16, 200, 1000, 48, 3000]
    let threads = (0..<8).map { number in
      TestThread {
        for round in 0..<rounds {
          gate.arrive()  // a new pool
          let size = sizes[round % sizes.count]
          let objects = (0..<100).compactMap { _ in pool.acquire() }
          if objects.count < 100 { findings.report("no object") }
          for object in objects { ItemPattern.fill(object, size, number) }
          for object in objects where !ItemPattern.isIntact(object, size, number) { findings.report("shared") }
          for object in objects { TestObjects.release(object) }
          gate.arrive()
        }
        gate.arrive()  // They end when the last pool has been looked at.
      }
    }
    for round in 0..<rounds {
      pool = try test.memory.makeObjectPool(itemSize: UInt(sizes[round % sizes.count]), count: 300)
      gate.arrive()
      gate.arrive()
      #expect(pool.checkInvariants() && pool.destroy())
    }
    gate.arrive()
    for thread in threads { thread.join() }
    #expect(findings.all == [])
    #expect(test.memory.checkInvariants())
  }

  /// A child has what its forking thread had, and what other threads held ready is anybody's.
  @Test func fork() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let test = try TestObjects(64, count: 1000), system = try TestObjects(64, count: 1, fallback: .system)
        let gate = ThreadGate(5)
        let kept = test.acquire(), elsewhere = (0..<3).map { _ in system.acquire() }
        let threads = (0..<4).map { _ in
          TestThread {
            let objects = (0..<100).map { _ in test.acquire() }
            for object in objects.dropFirst() { TestObjects.release(object) }
            gate.arrive()
            gate.arrive()
          }
        }
        gate.arrive()
        let status = Forks.child {
          guard test.pool.checkInvariants(), test.statistics.threads == 1, test.statistics.hot == 5 else { return 1 }
          TestObjects.release(kept)
          for object in elsewhere { TestObjects.release(object) }
          let objects = (0..<996).map { _ in test.acquire() }
          guard test.statistics.misses == 0, Set(objects).count == 996 else { return 2 }
          for object in objects { TestObjects.release(object) }
          guard ObjectPools.sweep(every: 1), ObjectPools.sweep(every: 0) else { return 3 }
          return test.pool.checkInvariants() && system.statistics.fallback == 0 ? 0 : 4
        }
        try demand(status == 0, "the child: status \(status)")
        try demand(test.statistics.hot == 5 && system.statistics.fallback == 2, "the child's releases were seen here")
        gate.arrive()
        for thread in threads { thread.join() }
        try demand(test.pool.checkInvariants(), "broken")
      }
    }
  }

  /// Threads past their exit handlers acquire and release without leases, and are counted.
  @Test func exitHandlers() throws {
    let test = try TestObjects(64, count: 10)
    var key = pthread_key_t()
    pthread_key_create(&key) { argument in
      let round = UInt(bitPattern: argument) & 7, pool = ObjectPoolPointer(bitPattern: UInt(bitPattern: argument) & ~7)!
      if round < 3 {
        pthread_setspecific(ObjectPoolThreadTests.key, UnsafeRawPointer(bitPattern: UInt(bitPattern: argument) + 1))
        return
      }
      let objects = (0..<12).map { _ in pool.acquire()! }
      for object in objects { ObjectPoolPointer.release(object) }
    }
    Self.key = key
    TestThread.run {
      TestObjects.release(test.acquire())
      pthread_setspecific(Self.key, UnsafeRawPointer(bitPattern: UInt(bitPattern: test.pool) + 1))
    }
    pthread_key_delete(key)
    let seen = test.statistics
    #expect(seen.allocations == 13 && seen.misses == 2 && seen.hot == 0 && seen.fallback == 0 && seen.maxHot == 10)
    #expect(test.pool.checkInvariants())
  }

  private nonisolated(unsafe) static var key = pthread_key_t()
}

extension Mutex {
  // A word that threads share.
  fileprivate static func make() -> MutexPointer {
    let mutex = MutexPointer.allocate(capacity: 1)
    mutex.initialize(to: Mutex())
    return mutex
  }

  fileprivate static func free(_ mutex: MutexPointer) { mutex.deallocate() }
}
