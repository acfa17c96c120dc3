/// Blocks that go from thread to thread, and change their size at every stop: across classes, into runs and spans, and back.
final class ReallocPingPong: Scenario {
  static let name = "realloc-ping-pong"
  static let summary = "blocks are resized by whoever receives them, from class to class to span and back"
  static let mustCount: [Counter] = [.reallocations, .moves, .handoffs]

  private let threads: Int
  private nonisolated(unsafe) var exchange: any Exchange

  init(_ setting: Setting) {
    threads = setting.threads
    exchange = OneWayMesh(threads: threads, capacity: 1)
  }

  func prepare(round: Int, _ run: Run) { exchange = makeExchange(threads: threads, round: round, depth: 16, run) }

  func work(_ worker: Worker) {
    while worker.step() {
      let received = exchange.receive(worker.index, &worker.random)
      if let block = received ?? worker.shadow.takeAny(&worker.random) {
        if worker.isFull || worker.random.oneIn(32) {
          worker.free(block)
        } else if let resized = worker.reallocate(block, newSize(of: block, &worker.random)) {
          worker.handOff(resized) { exchange.send($0, from: worker) }
        }
      }
      if received == nil, worker.shadow.count < 32, !worker.isFull,
        let block = worker.allocate(Sizes.any(&worker.random))
      {
        worker.shadow.add(block)
      }
    }
  }

  /// Often a little more or less, as a growing buffer; else anything. Never 0, which in C would be a free.
  private func newSize(of block: Block, _ random: inout SplitMix64) -> Int {
    if random.oneIn(3) { return max(1, Sizes.any(&random)) }
    if block.size >= 0x8000 {
      let units = block.size / Parcel.largeUnit
      return min(max(8, random.within(units / 2...units * 2)), 1024) * Parcel.largeUnit
    }
    return min(max(1, random.within(block.size / 2...block.size * 2)), 0x7fff)
  }

  func settle(_ run: Run) { bringHome(exchange, run) }
}
