/// What one scenario runs with. The same setting gives each thread the same numbers; how they interleave is up to the machine.
struct Setting: Sendable {
  var threads: Int
  var seconds: Double
  var seed: UInt64
  var pools: [PoolKind]

  /// Live bytes that all threads together may hold.
  var byteBudget = 192 << 20

  /// What runs `scenario` again.
  func replay(_ scenario: String) -> String {
    let seconds = seconds == seconds.rounded() ? "\(Int(seconds))" : "\(seconds)"
    let pools = pools.map(\.rawValue).joined(separator: ",")
    return "mempool-stress --scenario \(scenario) --threads \(threads) --seconds \(seconds)"
      + " --seed 0x\(String(seed, radix: 16)) --pool \(pools)"
  }
}
