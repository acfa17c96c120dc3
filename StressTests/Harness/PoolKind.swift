import MempoolCore

/// The pools that scenarios run on, one a round in turn.
enum PoolKind: String, CaseIterable, Sendable {
  /// The process's own: what malloc is.
  case shared
  /// A pool of the scenario's, growing as it needs.
  case own
  /// 128 MiB taken at the start; may be exhausted.
  case fixed
  /// 2 MiB taken at the start: full most of the time, so that what happens then happens all the time.
  case cramped
  /// A pool of the scenario's whose small objects are in a dense heap.
  case dense
  /// Hardened pools of the scenario's, a level each.
  case zeroing, canaries, guards

  static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

  /// Whether an allocation may fail.
  var mayExhaust: Bool { self == .fixed || self == .cramped }

  /// Whether a block takes what its usable size says, no more and no less: no size is kept beside it, nor a header.
  var isExact: Bool { self == .own || self == .fixed || self == .cramped }

  /// Of the shared pool the environment says.
  var options: PoolOptions {
    var options = PoolOptions()
    switch self {
    case .shared, .own: break
    case .fixed: options.backing = .fixed(size: 128 << 20, locked: false, prefault: false)
    case .cramped: options.backing = .fixed(size: 2 << 20, locked: false, prefault: false)
    case .dense: options.smallObjects = .dense
    case .zeroing: options.hardening = .zeroing
    case .canaries: options.hardening = .canaries
    case .guards: options.hardening = .guards
    }
    return options
  }

  func make() throws(PoolError) -> MemoryPoolPointer { self == .shared ? .shared : try .create(options) }
}
