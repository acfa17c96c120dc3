import CMempoolShims
import Foundation
import MempoolCore
import MempoolStudy

/// Object pools against the claims that were made for glusterfs's.
enum ObjectPoolBenchmark: FamilyBenchmark {
  static let name = "objectpool"
  static let summary =
    "objects of one type kept ready, after glusterfs's mem-pool: \(objectSize) bytes, medians of interleaved rounds"

  static let usualRounds = 15
  private static let threadCounts = [1, 2, 4, 8]
  // Of a thread at a time.
  private static let batchSize = 16

  static func run(rounds: Int, progress: (String) -> Void) throws(Failure) -> [FamilyRow] {
    let pool = try make(count: 8192)
    PreparedObjects.pool = pool
    defer { _ = pool.destroy() }
    var rows = try acquireAndRelease(rounds, progress)
    progress("from one thread to another")
    rows.append(try handOver(rounds))
    progress("a burst")
    rows += try burst()
    rows += try hitRates(progress)
    return rows
  }

  private static func make(count: UInt) throws(Failure) -> ObjectPoolPointer {
    do {
      return try MemoryPoolPointer.shared.makeObjectPool(itemSize: objectSize, count: count)
    } catch {
      throw Failure("no memory for an object pool: \(error)", status: EX_OSERR)
    }
  }

  private static func median(_ values: [Double]) -> Double { Distribution(values).median }

  // MARK: Acquire and release by many threads

  private static func acquireAndRelease(_ roundCount: Int, _ progress: (String) -> Void) throws(Failure) -> [FamilyRow]
  {
    let names = [PreparedObjects.name, EngineObjects.name, SystemObjects.name, OneLockObjects.name]
    var times = names.map { _ in threadCounts.map { _ in [Double]() } }
    for round in 0...roundCount {
      progress("acquire and release, round \(round) of \(roundCount)")
      for (index, threads) in threadCounts.enumerated() {
        let one = [
          try churn(PreparedObjects.self, threads), try churn(EngineObjects.self, threads),
          try churn(SystemObjects.self, threads), try churn(OneLockObjects.self, threads),
        ]
        // The first round is for page faults and caches to settle.
        if round > 0 { for (subject, time) in one.enumerated() { times[subject][index].append(time) } }
      }
    }
    var rows: [FamilyRow] = []
    for (index, threads) in threadCounts.enumerated() {
      let claim: String? =
        threads == 1
        ? "operations of a file server 5 to 20 % faster than with the C library's malloc"
        : threads == 8
          ? "\"massive contention\" on the one lock of its first design; none since lists are a thread's" : nil
      rows.append(
        FamilyRow(
          what: "acquire and release, \(threads) thread\(threads == 1 ? "" : "s"): ns of all processors together",
          claim: claim, figures: zip(names, times).map { .init(name: $0, value: median($1[index])) }, bound: nil))
    }
    let ratios = zip(names, times).map { name, times in
      FamilyRow.Figure(name: name, value: median(zip(times[3], times[1]).map { $0 / $1 }))
    }
    rows.append(
      FamilyRow(
        what: "8 threads' time for an operation, in total, by that of 2", claim: nil, figures: ratios, bound: 1.05))
    return rows
  }

  /// Nanoseconds for acquiring and releasing an object, a few of them at a time in each thread.
  private static func churn<Source: ObjectSource>(_: Source.Type, _ threads: Int) throws(Failure) -> Double {
    // Enough for the start of the threads not to count.
    let batches = 240_000 / threads
    let time = try TogetherThreads.time(threads) { _ in
      withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: batchSize) { objects in
        for _ in 0..<batches {
          for index in 0..<batchSize {
            objects[index] = Source.acquire()
            objects[index]?.storeBytes(of: 1, as: UInt8.self)
          }
          for index in 0..<batchSize { Source.release(objects[index]) }
        }
      }
    }
    return time / Double(batches * batchSize * threads)
  }

  // MARK: Objects that another thread releases

  private static func handOver(_ roundCount: Int) throws(Failure) -> FamilyRow {
    var times: [[Double]] = [[], [], [], []]
    for round in 0...roundCount {
      let one = [
        try handOver(PreparedObjects.self), try handOver(EngineObjects.self), try handOver(SystemObjects.self),
        try handOver(OneLockObjects.self),
      ]
      if round > 0 { for (subject, time) in one.enumerated() { times[subject].append(time) } }
    }
    let names = [PreparedObjects.name, EngineObjects.name, SystemObjects.name, OneLockObjects.name]
    return FamilyRow(
      what: "acquired by one thread, released by another: ns an object", claim: nil,
      figures: zip(names, times).map { .init(name: $0, value: median($1)) }, bound: nil)
  }

  /// One thread fills a ring, another empties it.
  private static func handOver<Source: ObjectSource>(_: Source.Type) throws(Failure) -> Double {
    let count = 100_000, capacity = 1024
    let ring = UnsafeMutablePointer<UInt>.allocate(capacity: capacity)
    ring.initialize(repeating: 0, count: capacity)
    defer { ring.deallocate() }
    let time = try TogetherThreads.time(2) { number in
      for step in 0..<count {
        let slot = AtomicPointer(ring + step % capacity)
        if number == 0 {
          let object = Source.acquire()
          object?.storeBytes(of: 1, as: UInt8.self)
          while slot.loadAcquire() != 0 { sched_yield() }
          slot.storeRelease(UInt(bitPattern: object))
        } else {
          var word = slot.loadAcquire()
          while word == 0 {
            sched_yield()
            word = slot.loadAcquire()
          }
          slot.storeRelease(0)
          Source.release(UnsafeMutableRawPointer(bitPattern: word))
        }
      }
    }
    return time / Double(count)
  }

  // MARK: Memory

  /// What stays of a burst of ten times the prepared objects, by 4 threads that live on, when it is swept.
  private static func burst() throws(Failure) -> [FamilyRow] {
    // Beside the prepared objects each of these threads may keep a slab of a page, and one of 64 KiB that it hardly touched.
    let count: UInt = 32_768, threadCount = 4
    let shared = MemoryPoolPointer.shared
    _ = shared.purge()
    let before = shared.statistics().committedBytes
    let pool = try make(count: count)
    defer { _ = pool.destroy() }
    let step = UnsafeMutablePointer<pthread_barrier_t>.allocate(capacity: 1)
    pthread_barrier_init(step, nil, UInt32(threadCount + 1))
    defer {
      pthread_barrier_destroy(step)
      step.deallocate()
    }
    nonisolated(unsafe) let (barrier, objectPool) = (step, pool)
    for _ in 0..<threadCount {
      Thread.detachNewThread {
        let objects = (0..<Int(count) * 10 / threadCount).map { _ in objectPool.acquire() }
        for object in objects { object?.initializeMemory(as: UInt8.self, repeating: 1, count: Int(objectSize)) }
        pthread_barrier_wait(barrier)  // at its peak
        pthread_barrier_wait(barrier)
        for object in objects { ObjectPoolPointer.release(object) }
        pthread_barrier_wait(barrier)  // over, and the threads are still there
        pthread_barrier_wait(barrier)
      }
    }
    pthread_barrier_wait(step)
    let peak = shared.statistics().committedBytes
    pthread_barrier_wait(step)
    pthread_barrier_wait(step)
    pool.sweep()
    let after = shared.statistics().committedBytes
    pthread_barrier_wait(step)
    let prepared = Double(count * pool.itemStride)
    return [
      FamilyRow(
        what: "memory after a burst of 10 times the prepared objects by 4 threads, swept, by that of the prepared ones",
        claim: "never given back in the first design, after 30 to 60 s in the second",
        figures: [
          .init(name: PreparedObjects.name, value: (Double(after) - Double(before)) / prepared),
          .init(name: "at the burst's peak", value: (Double(peak) - Double(before)) / prepared),
        ], bound: 1.1)
    ]
  }

  // MARK: How many to prepare

  /// Misses when fewer are prepared than are out at a time, 1000 at most.
  private static func hitRates(_ progress: (String) -> Void) throws(Failure) -> [FamilyRow] {
    var figures: [FamilyRow.Figure] = []
    for count: UInt in [1000, 900, 500, 100] {
      progress("\(count) prepared for 1000")
      let pool = try make(count: count)
      defer { _ = pool.destroy() }
      var random = SplitMix64(seed: 1)
      var objects: [UnsafeMutableRawPointer?] = []
      for step in 0..<100_000 {
        let goal = 500 + Int(500 * sin(Double(step) / 8000))
        if objects.count < goal || objects.isEmpty {
          objects.append(pool.acquire())
        } else {
          objects.swapAt(Int.random(in: 0..<objects.count, using: &random), objects.count - 1)
          ObjectPoolPointer.release(objects.removeLast())
        }
      }
      let seen = pool.statistics()
      figures.append(.init(name: "\(count) prepared", value: 1 - Double(seen.misses) / Double(seen.allocations)))
      for object in objects { ObjectPoolPointer.release(object) }
    }
    return [
      FamilyRow(
        what: "objects that were prepared ones, of all, where up to 1000 are out at a time",
        claim: "choose the count near max_alloc, and add max_stdalloc", figures: figures, bound: nil)
    ]
  }
}
