import MempoolCore

/// The pools that scenarios run on, one a round in turn.
enum PoolKind: String, CaseIterable, Sendable {
  /// The process's own: what malloc is.
  case shared
  /// A pool of the scenario's, growing as it needs.
  case own
  /// 128 MiB taken at the start; may be exhausted.
  case fixed
  /// A pool of the scenario's whose small objects are in a dense heap.
  case dense
  /// Hardened pools of the scenario's, a level each.
  case zeroing, canaries, guards

  /// Whether an allocation may fail.
  var mayExhaust: Bool { self == .fixed }

  func make() throws(PoolError) -> MemoryPoolPointer {
    var options = PoolOptions()
    switch self {
    case .shared: return .shared
    case .own: break
    case .fixed: options.backing = .fixed(size: 128 << 20, locked: false, prefault: false)
    case .dense: options.smallObjects = .dense
    case .zeroing: options.hardening = .zeroing
    case .canaries: options.hardening = .canaries
    case .guards: options.hardening = .guards
    }
    return try .create(options)
  }
}
