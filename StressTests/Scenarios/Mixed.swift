import MempoolCore

/// All of it at once: any size, any way to allocate, resize, hand over, look at, purge; and a thread of its own now and then.
///
/// In some of the rounds the threads meet now and then, and the pool's invariants are checked while it is in use.
final class Mixed: Scenario {
  static let name = "mixed"
  static let summary = "everything that a program does, at once"
  static let mustCount: [Counter] = [.allocations, .reallocations, .handoffs, .remoteFrees]

  private let threads: Int
  private nonisolated(unsafe) var exchange: any Exchange

  private nonisolated(unsafe) var meeting: Meeting?

  init(_ setting: Setting) {
    threads = setting.threads
    exchange = OneWayMesh(threads: threads, capacity: 1)
  }

  func prepare(round: Int, _ run: Run) {
    exchange = makeExchange(threads: threads, round: round, depth: 16, run)
    meeting = run.variant(round, of: 4) >= 2 ? Meeting(threads: threads) : nil
  }

  func work(_ worker: Worker) {
    guard let meeting else {
      while worker.step() { act(worker) }
      return
    }
    repeat {
      for _ in 0..<worker.random.within(1...2000) where worker.step() { act(worker) }
    } while meeting.meet(worker) {
      worker.run.checkBlocks(in: worker.pool, someOnTheirWay: true)
      if !worker.pool.checkInvariants() {
        worker.run.fail("the pool's invariants do not hold in mid-round", in: worker)
      }
    }
  }

  private func act(_ worker: Worker) {
    if let block = exchange.receive(worker.index, &worker.random) { worker.shadow.add(block) }
    switch worker.random.below(1024) {
    case 0:
      worker.pool.purge()
      worker.counters[.purges] += 1
    case 1:
      // A thread whose first act is to free, or to allocate; this one waits, so it may use this one's tables.
      let count = worker.random.below(64)
      guard let thread = OwnThread({ for _ in 0..<count { self.act(worker) } }) else {
        return worker.run.fail("no thread could be started", in: worker)
      }
      thread.join()
      worker.counters[.threads] += 1
    case 2:
      // A burst, and all of it back: pages go from empty to full to empty.
      let size = Sizes.medium(&worker.random)
      var burst: [Block] = []
      for _ in 0..<500 {
        if let block = worker.allocate(size) { burst.append(block) }
      }
      burst.shuffle(using: &worker.random)
      for block in burst { worker.free(block) }
    case 3: if worker.random.oneIn(8) { _ = worker.pool.statistics() }
    case 4..<200:
      guard let block = worker.shadow.takeAny(&worker.random) else { return }
      if let resized = worker.reallocate(block, max(1, Sizes.any(&worker.random))) { worker.shadow.add(resized) }
    case 200..<300:
      if let block = worker.shadow.takeAny(&worker.random) {
        worker.handOff(block) { exchange.send($0, from: worker) }
      }
    case 300..<620 where !worker.isFull:
      guard let block = worker.allocate(Sizes.any(&worker.random)) else { return }
      worker.shadow.add(block)
    default:
      if let block = worker.shadow.takeAny(&worker.random) { worker.free(block) }
    }
  }

  func settle(_ run: Run) { bringHome(exchange, run) }
}
