/// How the threads of a crew hand blocks to each other. The block must carry the sender's tag.
protocol Exchange: Sendable {
  /// From `worker` to some other; false when there was no room, and the block is still the sender's.
  func send(_ block: Block, from worker: Worker) -> Bool
  /// Something that was sent to thread `index`, or nil.
  func receive(_ index: Int, _ random: inout SplitMix64) -> Block?
}

/// One-way rings from each thread to a few others: the allocator's own ordering is all that brings memory back to its sender.
final class OneWayMesh: Exchange {
  // outgoing[i][k] and incoming[(i + step(k)) % n][k] are the same ring
  private let outgoing: [[OneWayRing]]
  private let incoming: [[OneWayRing]]

  init(threads: Int, capacity: Int) {
    // 1, 2, 4, 8 places further on; a thread alone sends to itself.
    let steps = threads == 1 ? [0] : [1, 2, 4, 8].filter { $0 < threads }
    let outgoing = (0..<threads).map { sender in steps.map { _ in OneWayRing(sender: sender, capacity: capacity) } }
    incoming = (0..<threads).map { receiver in
      steps.indices.map { outgoing[(receiver - steps[$0] + threads) % threads][$0] }
    }
    self.outgoing = outgoing
  }

  func send(_ block: Block, from worker: Worker) -> Bool {
    outgoing[worker.index].randomElement(using: &worker.random)!.send(block)
  }

  func receive(_ index: Int, _ random: inout SplitMix64) -> Block? {
    let rings = incoming[index]
    let first = random.below(rings.count)
    for i in rings.indices {
      if let block = rings[(first + i) % rings.count].receive() { return block }
    }
    return nil
  }
}

/// A locked mailbox a thread.
final class Mailboxes: Exchange {
  private let boxes: [Mailbox]

  init(threads: Int, capacity: Int) {
    boxes = (0..<threads).map { _ in Mailbox(capacity: capacity) }
  }

  func send(_ block: Block, from worker: Worker) -> Bool {
    boxes[worker.random.below(boxes.count)].send(block)
  }

  func receive(_ index: Int, _ random: inout SplitMix64) -> Block? { boxes[index].receive() }
}

/// The kinds take turns. `depth` bounds what is on its way: blocks in each ring.
func makeExchange(threads: Int, round: Int, depth: Int, _ run: Run) -> any Exchange {
  run.variant(round, of: 2) == 0
    ? OneWayMesh(threads: threads, capacity: depth) : Mailboxes(threads: threads, capacity: 4 * depth)
}

/// Between rounds: puts what is still on its way into its receivers' tables.
func bringHome(_ exchange: any Exchange, _ run: Run) {
  for worker in run.workers {
    while let block = exchange.receive(worker.index, &worker.random) { worker.shadow.add(block) }
  }
}
