import Foundation

extension SplitMix64 {
  /// A fresh seed, printed with the name of the test, or the one in the environment variable `MEMPOOL_TEST_SEED`.
  static func seed(_ test: String) -> UInt64 {
    let given = ProcessInfo.processInfo.environment["MEMPOOL_TEST_SEED"].flatMap { UInt64($0) }
    let seed = given ?? UInt64.random(in: 1...UInt64(UInt32.max))
    print("\(test): replay with MEMPOOL_TEST_SEED=\(seed)")
    return seed
  }
}
