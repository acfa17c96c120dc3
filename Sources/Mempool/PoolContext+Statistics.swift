internal import MempoolCore

extension PoolContext {
  /// What ``Node/report(as:depth:)`` makes.
  public enum ReportFormat: Sendable {
    /// A line a block, two spaces further in for each step down: name, bytes, whether it is a pool, how many references there are to it.
    case text
    /// An array of objects with `id`, `parent`, `name`, `size`, and, where it is so, `pool` and `reference`; parents come first.
    case json
    /// A directed graph for Graphviz: an arrow to each child, a dashed one along each reference.
    case graphviz
  }

  /// What a context and all below it hold.
  public struct Statistics: Sendable, Equatable {
    /// Blocks: contexts, values, buffers, references and copied names.
    public let blocks: Int
    /// References among them.
    public let references: Int
    /// Contexts with a pool among them.
    public let pools: Int
    /// Blocks that lie in a pool.
    public let pooledBlocks: Int
    /// Bytes that were asked for.
    public let requestedBytes: Int
    /// Bytes of pools, and of blocks outside of them, headers included.
    public let systemBytes: Int

    init(_ core: ContextStatistics) {
      blocks = Int(bitPattern: core.blocks)
      references = Int(bitPattern: core.references)
      pools = Int(bitPattern: core.pools)
      pooledBlocks = Int(bitPattern: core.pooledBlocks)
      requestedBytes = Int(bitPattern: core.requestedBytes)
      systemBytes = Int(bitPattern: core.systemBytes)
    }

    /// Bytes in front of each block.
    public static var overhead: Int { Int(bitPattern: ContextStatistics.overhead) }
  }
}
