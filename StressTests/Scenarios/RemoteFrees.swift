/// Neighbours in one cell, allocated by one thread and freed by several others at the same time, while the owner collects.
///
/// Teams of four: an owner, who deals out 64 blocks of a size one by one, and three who only free. Who owns changes by round.
final class RemoteFrees: Scenario {
  static let name = "remote-frees"
  static let summary = "one thread's cells, freed by three others at once while it allocates from them"
  static let mustCount: [Counter] = [.allocations, .handoffs, .remoteFrees]

  private static let teamSize = 4
  private let threads: Int
  // rings[i]: what thread i gets from its team's owner; empty for owners.
  private nonisolated(unsafe) var rings: [OneWayRing] = []
  private nonisolated(unsafe) var round = 0

  init(_ setting: Setting) { threads = setting.threads }

  func prepare(round: Int, _ run: Run) {
    self.round = round
    rings = (0..<threads).map { OneWayRing(sender: owner(ofTeamOf: $0), capacity: 32) }
  }

  private func team(of index: Int) -> Range<Int> {
    let first = index / Self.teamSize * Self.teamSize
    return first..<min(first + Self.teamSize, threads)
  }

  private func owner(ofTeamOf index: Int) -> Int {
    let team = team(of: index)
    return team.lowerBound + round % team.count
  }

  func work(_ worker: Worker) {
    if owner(ofTeamOf: worker.index) == worker.index { own(worker) } else { freeOnly(worker) }
  }

  private func own(_ worker: Worker) {
    let receivers = team(of: worker.index).filter { $0 != worker.index }
    while worker.step() {
      let size = Sizes.small(&worker.random)
      for _ in 0..<64 {
        guard let block = worker.allocate(size) else { break }
        guard let receiver = receivers.randomElement(using: &worker.random) else {
          worker.shadow.add(block)
          continue
        }
        worker.handOff(block) { rings[receiver].send($0) }
      }
      if worker.shadow.count > 32 { worker.idle() }
      // What found no room: frees of its own, in the same cells.
      while let block = worker.shadow.takeAny(&worker.random) { worker.free(block) }
    }
  }

  private func freeOnly(_ worker: Worker) {
    while worker.step() {
      if let block = rings[worker.index].receive() { worker.free(block) } else { worker.idle() }
    }
  }

  func settle(_ run: Run) {
    for worker in run.workers {
      while let block = rings[worker.index].receive() { worker.shadow.add(block) }
    }
  }
}
