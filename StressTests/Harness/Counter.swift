/// What is counted while a scenario runs, one number a thread, added up when all are done.
enum Counter: Int, CaseIterable {
  case allocations, zeroed, aligned, frees, remoteFrees, reallocations, moves
  case handoffs, refused, exhausted
  case claims, failedClaims
  case takes, arrays, puts, caches
  case threads, lateFrees, forks, pools, purges
  case processes, signals, servedSignals, passedSignals, refusedCalls

  /// Its name in the result.
  var name: String { "\(self)" }
}

struct Counters {
  private var values = [UInt64](repeating: 0, count: Counter.allCases.count)

  subscript(counter: Counter) -> UInt64 {
    get { values[counter.rawValue] }
    set { values[counter.rawValue] = newValue }
  }

  mutating func add(_ other: Counters) {
    for i in values.indices { values[i] += other.values[i] }
  }

  /// Those that are not zero, by name.
  var nonZero: [(name: String, value: UInt64)] {
    Counter.allCases.filter { self[$0] != 0 }.map { ($0.name, self[$0]) }
  }
}
