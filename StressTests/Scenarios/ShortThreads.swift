/// Threads that do one allocation and end, thousands of them, a few at a time.
///
/// Each needs a heap, and leaves it with one live block; the next thread must get that heap, not a new one.
final class ShortThreads: Scenario {
  static let name = "short-threads"
  static let summary = "thousands of threads that each allocate once; their heaps must serve the next ones"
  static let mustCount: [Counter] = [.allocations, .threads, .remoteFrees]

  private static let most = 8
  private let visitors: Visitors
  private let threads: Int

  init(_ setting: Setting) {
    threads = setting.threads
    visitors = Visitors(threads: setting.threads)
  }

  func work(_ worker: Worker) {
    while worker.step() && !worker.run.hasFailed {
      var wave: [(thread: OwnThread, visitor: Worker)] = []
      for _ in 0..<worker.random.within(1...Self.most) {
        let visitor = visitors.next(for: worker)
        let thread = OwnThread {
          if let block = visitor.allocate(Sizes.any(&visitor.random)) { visitor.shadow.add(block) }
        }
        guard let thread else {
          worker.run.fail("no thread could be started", in: worker)
          break
        }
        wave.append((thread, visitor))
      }
      for (thread, visitor) in wave {
        thread.join()
        worker.counters[.threads] += 1
        worker.counters.add(visitor.counters)
        while let block = visitor.shadow.takeLast() { worker.shadow.add(block) }
      }
      while worker.shadow.count > 200 || worker.isFull, let block = worker.shadow.takeAny(&worker.random) {
        worker.free(block)
      }
    }
  }

  func settle(_ run: Run) { run.checkHeapCount(most: (1 + Self.most) * threads) }
}
