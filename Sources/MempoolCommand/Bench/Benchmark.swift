import Foundation
import MempoolCore

/// Runs a plan: real threads that start each round at a barrier, the allocators in turn.
final class Benchmark: @unchecked Sendable {
  enum Subject: Int, CaseIterable { case system, pool }

  private let plan: BenchmarkPlan
  private let threads: [BenchmarkThread]
  private let barrier: UnsafeMutablePointer<pthread_barrier_t>
  // Written by the driver before a barrier, read by the threads after it; nil: the end.
  private var subject: Subject?

  /// One figure a round, phase and subject: the median over the round's cycles and threads, in nanoseconds per operation.
  private var rounds: [[[Double]]] = Subject.allCases.map { _ in BenchmarkPlan.Phase.allCases.map { _ in [] } }

  private init(_ plan: BenchmarkPlan, threadCount: Int) throws(Failure) {
    self.plan = plan
    threads = (0..<threadCount).map { BenchmarkThread(plan, number: $0) }
    barrier = .allocate(capacity: 1)
    guard pthread_barrier_init(barrier, nil, UInt32(threadCount + 1)) == 0 else {
      throw Failure("no barrier for \(threadCount) threads", status: EX_OSERR)
    }
  }

  deinit {
    pthread_barrier_destroy(barrier)
    barrier.deallocate()
  }

  /// The results for one number of threads. `progress` is told of each round that is done.
  static func run(
    _ plan: BenchmarkPlan, threadCount: Int, progress: (Int) -> Void
  ) throws(Failure) -> [BenchmarkResult] {
    let benchmark = try Benchmark(plan, threadCount: threadCount)
    try benchmark.run(progress)
    return BenchmarkPlan.Phase.allCases.map { phase in
      BenchmarkResult(
        threads: threadCount, phase: phase,
        system: Distribution(benchmark.rounds[Subject.system.rawValue][phase.rawValue]),
        pool: Distribution(benchmark.rounds[Subject.pool.rawValue][phase.rawValue]))
    }
  }

  private func run(_ progress: (Int) -> Void) throws(Failure) {
    var workers: [pthread_t] = []
    for thread in threads { workers.append(try start(thread)) }
    // The first round of each is for page faults and caches to settle, and is thrown away.
    for round in 0...plan.roundCount {
      for subject in round % 2 == 0 ? [Subject.system, .pool] : [.pool, .system] {
        self.subject = subject
        pthread_barrier_wait(barrier)
        pthread_barrier_wait(barrier)
        if round > 0 { collect(subject) }
      }
      progress(round)
    }
    subject = nil
    pthread_barrier_wait(barrier)
    for worker in workers { pthread_join(worker, nil) }
  }

  private func start(_ thread: BenchmarkThread) throws(Failure) -> pthread_t {
    let body = Unmanaged.passRetained(Worker(benchmark: self, thread: thread))
    var worker = pthread_t()
    let error = pthread_create(
      &worker, nil,
      { argument in
        let worker = Unmanaged<Worker>.fromOpaque(argument!).takeRetainedValue()
        worker.benchmark.work(worker.thread)
        return nil
      }, body.toOpaque())
    // Threads that are there already wait at the barrier for ever; the process ends with this error.
    guard error == 0 else {
      throw Failure("cannot start \(threads.count) threads: \(String(cString: strerror(error)))", status: EX_OSERR)
    }
    return worker
  }

  private func work(_ thread: BenchmarkThread) {
    while true {
      pthread_barrier_wait(barrier)
      switch subject {
      case .system: thread.run(SystemAllocator.self)
      case .pool: thread.run(PoolAllocator.self)
      case nil: return
      }
      pthread_barrier_wait(barrier)
    }
  }

  private func collect(_ subject: Subject) {
    for phase in BenchmarkPlan.Phase.allCases {
      let times = threads.flatMap { thread in
        stride(from: phase.rawValue, to: thread.times.count, by: 3).map { Double(thread.times[$0]) }
      }
      rounds[subject.rawValue][phase.rawValue].append(Distribution(times).median / Double(phase.operationCount))
    }
  }

  private final class Worker: Sendable {
    let benchmark: Benchmark
    let thread: BenchmarkThread
    init(benchmark: Benchmark, thread: BenchmarkThread) {
      self.benchmark = benchmark
      self.thread = thread
    }
  }
}
