import MempoolCore

/// Sizes where something begins or ends: at, just below and just above each size class, power of two, number of fragments and of pages.
///
/// Blocks shrink and grow over the edge and back, and are used to the last byte that the allocator says may be used. One byte more must not
/// cost much more than one byte more.
final class Thresholds: Scenario {
  static let name = "thresholds"
  static let summary = "sizes just above and below classes, powers of two, fragments, pages and spans"
  static let mustCount: [Counter] = [.allocations, .reallocations, .remoteFrees]

  private static let edges: [Int] =
    (0..<SizeClass.count).map { Int(SizeClass.itemSize($0)) } + (0...18).map { 1 << $0 }
    + (15...70).map { $0 * 256 } + (1...16).map { $0 * 16384 }
  private static let spanEdge = 32 << 20

  private nonisolated(unsafe) var boxes: Mailboxes

  init(_ setting: Setting) { boxes = Mailboxes(threads: setting.threads, capacity: 32) }

  func work(_ worker: Worker) {
    var goal = 0
    while worker.step() && !worker.run.hasFailed {
      if worker.random.oneIn(2048) { goal = worker.random.below(300) }
      if worker.random.oneIn(8), let block = boxes.receive(worker.index, &worker.random) { worker.shadow.add(block) }
      if worker.index == 0 && worker.random.oneIn(20_000) { stepOverSpanEdge(worker) }
      if worker.shadow.count > 0 && worker.random.oneIn(4) {
        stepOver(worker)
      } else if worker.shadow.count < goal && !worker.isFull {
        guard let block = allocate(nearEdge(&worker.random), worker) else { continue }
        if worker.random.oneIn(4) {
          worker.handOff(block) { boxes.send($0, from: worker) }
        } else {
          worker.shadow.add(block)
        }
      } else if let block = worker.shadow.takeAny(&worker.random) {
        worker.free(block)
      }
    }
  }

  private func nearEdge(_ random: inout SplitMix64) -> Int {
    // The small ones more often: there are as many of the others.
    let edge = Self.edges[random.oneIn(2) ? random.below(70) : random.below(Self.edges.count)]
    return max(1, edge + [-1, 0, 1, 1, 1, 8].randomElement(using: &random)!)
  }

  /// Resizes a block to the other side of an edge that is near to its size, or a little further.
  private func stepOver(_ worker: Worker) {
    guard let block = worker.shadow.takeAny(&worker.random) else { return }
    let size = max(1, block.size + worker.random.within(-2...2))
    if let resized = worker.reallocate(block, size) { worker.shadow.add(resized) }
  }

  /// From the largest run to the smallest span and back.
  private func stepOverSpanEdge(_ worker: Worker) {
    guard !worker.poolMayExhaust, let block = allocate(Self.spanEdge, worker),
      let span = worker.reallocate(block, Self.spanEdge + 1), let run = worker.reallocate(span, Self.spanEdge - 1)
    else { return }
    worker.free(run)
  }

  private func allocate(_ size: Int, _ worker: Worker) -> Block? {
    worker.counters[.allocations] += 1
    guard let pointer = worker.pool.allocate(UInt(size)) else {
      worker.counters[.exhausted] += 1
      if !worker.poolMayExhaust { worker.run.fail("no memory for \(size) bytes", in: worker) }
      return nil
    }
    let usable = Int(worker.pool.usableSize(of: pointer))
    if usable < size || usable > size + size / 4 + 512 {
      worker.run.fail("\(size) bytes at \(pointer) take \(usable)", in: worker)
      return nil
    }
    return worker.fill(pointer, usable)
  }

  func settle(_ run: Run) {
    bringHome(boxes, run)
    run.checkActiveBytes(run.workers[0], live: run.workers.reduce(0) { $0 + $1.shadow.byteCount })
  }
}
