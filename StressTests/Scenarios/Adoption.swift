/// Blocks of a thread that has exited, freed by some while others adopt the heap that they are in.
///
/// A donor leaves blocks of a single class, so few that they lie in one or two slabs. At one signal adopters begin, who allocate of that class
/// at once, and the worker and another thread free the donor's blocks, each half of them.
final class Adoption: Scenario {
  static let name = "adoption"
  static let summary = "blocks freed while the page that they lie in is adopted and allocated from"
  static let mustCount: [Counter] = [.allocations, .threads, .remoteFrees]

  private let visitors: Visitors
  private let threads: Int

  init(_ setting: Setting) {
    threads = setting.threads
    visitors = Visitors(threads: setting.threads)
  }

  func work(_ worker: Worker) {
    while worker.step() && !worker.run.hasFailed { leaveAndAdopt(worker) }
  }

  private func leaveAndAdopt(_ worker: Worker) {
    let size = Sizes.medium(&worker.random)
    let count = worker.random.within(1...60)
    let donor = visitors.next(for: worker)
    guard let gone = OwnThread({ Self.allocate(count, size, donor) }) else { return fail(worker) }
    gone.join()
    // Half of the time nobody adopts: the freeing threads look after the heap.
    let adopters = worker.random.below(3)
    let shot = StartShot(threads: 2 + adopters)
    var others: [(thread: OwnThread, visitor: Worker)] = []
    let helper = visitors.next(for: worker)
    for _ in 0..<donor.shadow.count / 2 { helper.shadow.add(donor.shadow.takeLast()!) }
    for i in 0...adopters {
      let visitor = i == 0 ? helper : visitors.next(for: worker)
      let thread = OwnThread {
        shot.wait()
        if i == 0 { Self.freeAll(visitor) } else { Self.allocate(count, size, visitor) }
      }
      guard let thread else {
        shot.comeForAnother()
        fail(worker)
        continue
      }
      others.append((thread, visitor))
    }
    shot.wait()
    while let block = donor.shadow.takeAny(&worker.random) { worker.free(block) }
    for (thread, visitor) in others {
      thread.join()
      worker.counters.add(visitor.counters)
      while let block = visitor.shadow.takeLast() { worker.shadow.add(block) }
    }
    worker.counters[.threads] += UInt64(2 + adopters)
    worker.counters.add(donor.counters)
    // Some stay, so that heaps have old blocks, too.
    while worker.shadow.count > 100 || worker.isFull, let block = worker.shadow.takeAny(&worker.random) {
      worker.free(block)
    }
  }

  private static func allocate(_ count: Int, _ size: Int, _ visitor: Worker) {
    for _ in 0..<count {
      if let block = visitor.allocate(size) { visitor.shadow.add(block) }
    }
  }

  private static func freeAll(_ visitor: Worker) {
    while let block = visitor.shadow.takeAny(&visitor.random) { visitor.free(block) }
  }

  private func fail(_ worker: Worker) { worker.run.fail("no thread could be started", in: worker) }

  func settle(_ run: Run) { run.checkHeapCount(most: 4 * threads) }
}
