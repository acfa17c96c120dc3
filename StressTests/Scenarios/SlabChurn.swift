/// Slabs that fill, empty and change hands: a few sizes, allocated and freed at random, a third of them by somebody else.
///
/// The number that each thread keeps changes now and then, so that slabs are taken, linked and given back all the time.
final class SlabChurn: Scenario {
  static let name = "slab-churn"
  static let summary = "slabs fill and empty while their items are handed between threads"
  static let mustCount: [Counter] = [.allocations, .handoffs, .remoteFrees]

  private let threads: Int
  private nonisolated(unsafe) var exchange: any Exchange
  private nonisolated(unsafe) var sizes: [Int] = []

  init(_ setting: Setting) {
    threads = setting.threads
    exchange = OneWayMesh(threads: threads, capacity: 1)
  }

  func prepare(round: Int, _ run: Run) {
    exchange = makeExchange(threads: threads, round: round, depth: 128, run)
    var random = SplitMix64(seed: run.setting.seed &+ UInt64(round))
    sizes = (0..<4).map { _ in Sizes.small(&random) } + [Sizes.medium(&random)]
  }

  func work(_ worker: Worker) {
    var goal = 0
    while worker.step() {
      if worker.random.oneIn(4096) { goal = worker.random.oneIn(2) ? 0 : worker.random.below(4000) }
      if worker.random.oneIn(2), let block = exchange.receive(worker.index, &worker.random) {
        worker.shadow.add(block)
      }
      let grows = worker.shadow.count < goal ? !worker.random.oneIn(4) : worker.random.oneIn(4)
      if grows && !worker.isFull {
        guard let block = worker.allocate(sizes.randomElement(using: &worker.random)!) else { continue }
        if worker.random.oneIn(3) {
          worker.handOff(block) { exchange.send($0, from: worker) }
        } else {
          worker.shadow.add(block)
        }
      } else if let block = worker.shadow.takeAny(&worker.random) {
        worker.free(block)
      }
    }
  }

  func settle(_ run: Run) { bringHome(exchange, run) }
}
