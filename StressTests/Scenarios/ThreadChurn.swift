import MempoolCore

/// Threads that are born, allocate, hand out, and die with blocks alive, while others free these before, during and after.
///
/// Each worker starts one visitor after the other. A visitor sends blocks to its worker and exits at a point that chance chooses:
/// before the worker has freed any, or in the middle. It allocates and frees in its exit handlers too. Blocks that outlive
/// their thread stay for a while, so that abandoned heaps are adopted half full. In every second round the workers meet now and
/// then, when no visitor is alive, and look whether a heap was abandoned with work left.
final class ThreadChurn: Scenario {
  static let name = "thread-churn"
  static let summary = "short threads leave live blocks behind; their heaps are abandoned, adopted and drained"
  static let mustCount: [Counter] = [.allocations, .threads, .remoteFrees, .lateFrees]

  private let visitors: Visitors
  private let threads: Int
  private nonisolated(unsafe) var meeting: Meeting?

  init(_ setting: Setting) {
    threads = setting.threads
    visitors = Visitors(threads: threads)
  }

  func prepare(round: Int, _ run: Run) {
    meeting = run.variant(round, of: 2) == 1 ? Meeting(threads: threads) : nil
  }

  func work(_ worker: Worker) {
    guard let meeting else {
      while worker.step() { receiveVisitor(worker) }
      return
    }
    repeat {
      for _ in 0..<worker.random.within(1...4) where worker.step() && !worker.run.hasFailed { receiveVisitor(worker) }
    } while meeting.meet(worker) {
      worker.run.checkBlocks(in: worker.pool)
      if !worker.pool.checkInvariants() {
        worker.run.fail("the pool's invariants do not hold in mid-round", in: worker)
      }
    }
  }

  /// Starts a visitor, frees what it sends, and sees it go.
  private func receiveVisitor(_ worker: Worker) {
    let visitor = visitors.next(for: worker)
    let ring = OneWayRing(sender: visitor.index, capacity: 256)
    let count = visitor.random.below(200)
    guard let thread = OwnThread({ Self.visit(visitor, ring, count) }) else {
      worker.run.fail("no thread could be started", in: worker)
      return
    }
    worker.counters[.threads] += 1

    // Some of its blocks are freed while it lives or exits; the rest waits until it is gone.
    let early = worker.random.below(2 * count + 1)
    for _ in 0..<early {
      if let block = ring.receive() { worker.free(block) } else { worker.idle() }
    }
    keepUp(worker)
    thread.join()
    worker.counters.add(visitor.counters)
    while let block = ring.receive() { worker.shadow.add(block) }
    while let block = visitor.shadow.takeLast() { worker.shadow.add(block) }
    while worker.shadow.count > 300 || worker.isFull, let block = worker.shadow.takeAny(&worker.random) {
      worker.free(block)
    }
  }

  /// The worker's own load, so that it adopts when it runs out.
  private func keepUp(_ worker: Worker) {
    for _ in 0..<worker.random.below(32) {
      if worker.random.oneIn(2) {
        if let block = worker.allocate(Sizes.medium(&worker.random)) { worker.shadow.add(block) }
      } else if let block = worker.shadow.takeAny(&worker.random) {
        worker.free(block)
      }
    }
  }

  private static func visit(_ visitor: Worker, _ ring: OneWayRing, _ count: Int) {
    for _ in 0..<count {
      guard let block = visitor.allocate(Sizes.medium(&visitor.random)) else { break }
      switch visitor.random.below(4) {
      case 0: visitor.free(block)
      case 1: visitor.shadow.add(block)
      default: visitor.handOff(block) { ring.send($0) }
      }
    }
    // Some exit at once, some after an exit handler or three; a thread may even begin there.
    var rounds = visitor.random.below(4)
    guard rounds > 0 else { return }
    LateWork.arm {
      if let block = visitor.shadow.takeAny(&visitor.random) { visitor.free(block) }
      if let block = visitor.allocate(Sizes.small(&visitor.random)) { visitor.shadow.add(block) }
      visitor.counters[.lateFrees] += 1
      rounds -= 1
      return rounds > 0
    }
  }
}
