import Glibc
import MempoolCore

/// Forks while all other threads allocate and free. The child frees what the forking thread held, allocates, frees, and exits.
///
/// The first thread forks, at most 500 times, and does its share of the load between. A child that dies, hangs, or finds a
/// pattern spoilt is a failure.
final class ForkUnderLoad: Scenario {
  static let name = "fork"
  static let summary = "fork while other threads are in mid-operation; the child frees, allocates and exits"
  static let mustCount: [Counter] = [.forks, .allocations]

  private static let forkLimit = 500
  private let threads: Int
  private nonisolated(unsafe) var exchange: any Exchange
  private nonisolated(unsafe) var forks = 0

  init(_ setting: Setting) {
    threads = setting.threads
    exchange = OneWayMesh(threads: threads, capacity: 1)
  }

  func prepare(round: Int, _ run: Run) { exchange = makeExchange(threads: threads, round: round, depth: 16, run) }

  func work(_ worker: Worker) {
    // Soon after the start, so that each round has one however slow the machine is.
    var untilFork = worker.random.below(50)
    while worker.step() {
      if let block = exchange.receive(worker.index, &worker.random) { worker.shadow.add(block) }
      if worker.isFull || worker.shadow.count > 400 || worker.random.oneIn(2) {
        if let block = worker.shadow.takeAny(&worker.random) { worker.free(block) }
      } else if let block = worker.allocate(Sizes.any(&worker.random)) {
        worker.handOff(block) { exchange.send($0, from: worker) }
      }
      untilFork -= 1
      if worker.index == 0 && untilFork <= 0 && forks < Self.forkLimit {
        fork(worker)
        untilFork = worker.random.below(2000)
      }
    }
  }

  func settle(_ run: Run) { bringHome(exchange, run) }

  private func fork(_ worker: Worker) {
    forks += 1
    worker.counters[.forks] += 1
    let seed = worker.random.next()
    let patience = Int(20 * Sanitizer.current.patience)
    let verdict = worker.shadow.blocks.withUnsafeBufferPointer { blocks in
      ForkedChild.run(seconds: patience) { Self.child(worker.pool, worker.poolMayExhaust, blocks, seed).rawValue }
    }
    switch verdict {
    case .exited(0): break
    case .exited(let code):
      worker.run.fail("forked child: \(Finding(rawValue: code).map { "\($0)" } ?? "exit status \(code)")", in: worker)
    case .killed(let signal): worker.run.fail("forked child died of signal \(signal)", in: worker)
    case .hung: worker.run.fail("forked child hung for \(patience) s", in: worker)
    case .notForked(let error):
      worker.run.fail("cannot fork: \(String(cString: strerror(error)))", in: worker)
    }
  }

  /// What a child reports by its exit status.
  private enum Finding: Int32 {
    case clean = 0
    case inheritedBlockOverwritten = 10
    case newBlockOverwritten = 11
    case noMemory = 12
  }

  /// In the child, where only this thread is left: no array, no class, no lock.
  private static func child(
    _ pool: MemoryPoolPointer, _ mayExhaust: Bool, _ inherited: UnsafeBufferPointer<Block>, _ seed: UInt64
  ) -> Finding {
    var random = SplitMix64(seed: seed)
    for i in 0..<inherited.count {
      if inherited[i].firstMismatch() != nil { return .inheritedBlockOverwritten }
      if i % 2 == 0 { pool.deallocate(inherited[i].pointer) }
    }
    var finding = Finding.clean
    withUnsafeTemporaryAllocation(of: Block.self, capacity: 64) { held in
      var count = 0
      for step in 0..<500 {
        if count == held.count || (count > 0 && random.oneIn(2)) {
          let chosen = random.below(count)
          if held[chosen].firstMismatch() != nil {
            finding = .newBlockOverwritten
            return
          }
          pool.deallocate(held[chosen].pointer)
          count -= 1
          held[chosen] = held[count]
        } else {
          let size = Sizes.any(&random)
          guard let pointer = pool.allocate(UInt(size)) else {
            if mayExhaust { continue }
            finding = .noMemory
            return
          }
          let tag = Tag(owner: 0xff_ffff, serial: UInt64(step), size: size)
          held[count] = Block(address: UInt(bitPattern: pointer), size: size, tag: tag)
          held[count].fill()
          count += 1
        }
      }
      for i in 0..<count { pool.deallocate(held[i].pointer) }
    }
    // The other half of what was inherited must have stayed untouched by all that.
    for i in 0..<inherited.count where i % 2 == 1 {
      if inherited[i].firstMismatch() != nil { return .inheritedBlockOverwritten }
      pool.deallocate(inherited[i].pointer)
    }
    return finding
  }
}
