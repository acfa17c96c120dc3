/// Traces that no program made: what allocators are usually compared by, in small.
package enum Workload: String, CaseIterable, Sendable {
  case replacement = "random replacement"
  case batches = "batches"
  case producers = "producer, consumer"
  case handover = "half freed by others"

  package var name: String {
    switch self {
    case .replacement: "replacement"
    case .batches: "batches"
    case .producers: "producers"
    case .handover: "handover"
    }
  }

  package static func named(_ name: String) -> Workload? { allCases.first { $0.name == name } }

  /// - Parameter threads: Of producers and consumers an even number.
  package func trace(threads: Int, seed: UInt64) -> Trace {
    var maker = Maker(seed: seed)
    let rounds = 4000
    switch self {
    case .replacement:
      for thread in 0..<threads { for _ in 0..<500 { maker.allocate(thread) } }
      for _ in 0..<rounds {
        for thread in 0..<threads {
          maker.freeAny(of: thread, by: thread)
          maker.allocate(thread)
        }
      }
    case .batches:
      for _ in 0..<rounds / 100 {
        for thread in 0..<threads { for _ in 0..<100 { maker.allocate(thread) } }
        for thread in 0..<threads { while maker.freeLast(of: thread, by: thread) {} }
      }
    case .producers:
      for _ in 0..<rounds {
        for thread in stride(from: 0, to: threads, by: 2) {
          maker.allocate(thread)
          if maker.live(thread) > 200 { maker.freeFirst(of: thread, by: (thread + 1) % threads) }
        }
      }
    case .handover:
      for _ in 0..<rounds {
        for thread in 0..<threads {
          maker.allocate(thread)
          if maker.live(thread) > 200 { maker.freeAny(of: thread, by: maker.coin() ? thread : (thread + 1) % threads) }
        }
      }
    }
    return Trace(events: maker.events)
  }

  /// Puts events together, with an address for each object and a nanosecond for each event.
  private struct Maker {
    var random: SplitMix64
    var events: [Trace.Event] = []
    private var objects: [Int: [UInt64]] = [:]
    private var address: UInt64 = 0

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    mutating func coin() -> Bool { random.next() >> 63 == 0 }
    func live(_ thread: Int) -> Int { objects[thread]?.count ?? 0 }

    /// Sizes from 8 bytes to 8 KiB, each doubling half as often.
    mutating func allocate(_ thread: Int) {
      let doubling = min(9, random.next().trailingZeroBitCount)
      let byteCount = UInt64(8) << UInt64(doubling) + random.below(8 << UInt64(doubling))
      address += 16
      events.append(
        .init(
          thread: UInt32(thread), time: UInt64(events.count), kind: .allocate, address: address, byteCount: byteCount))
      objects[thread, default: []].append(address)
    }

    private mutating func free(_ place: Int, of owner: Int, by thread: Int) {
      let address = objects[owner, default: []].remove(at: place)
      events.append(.init(thread: UInt32(thread), time: UInt64(events.count), kind: .free, address: address))
    }

    mutating func freeAny(of owner: Int, by thread: Int) {
      free(Int(random.below(UInt64(live(owner)))), of: owner, by: thread)
    }

    mutating func freeFirst(of owner: Int, by thread: Int) { free(0, of: owner, by: thread) }

    mutating func freeLast(of owner: Int, by thread: Int) -> Bool {
      guard live(owner) > 0 else { return false }
      free(live(owner) - 1, of: owner, by: thread)
      return live(owner) > 0
    }
  }
}
