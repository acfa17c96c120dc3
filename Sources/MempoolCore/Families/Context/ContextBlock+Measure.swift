// What a tree holds. All walks are in constant memory, whatever the depth.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// Bytes that were asked for, of this block and all below it; references do not count.
  public var totalSize: UInt {
    var sum: UInt = 0
    forEach { if !$0.isReference { sum &+= $0.size } }
    return sum
  }

  /// This block and all below it, references and formatted names among them.
  public var totalBlocks: UInt {
    var count: UInt = 0
    forEach { _ in count &+= 1 }
    return count
  }

  /// Visits the block and what hangs below it, down to `depths` steps below it (nil: all), newest children first. For a reference the block that
  /// it stands for, which is not gone into.
  public func visit(to depths: Int?, _ body: (_ block: ContextPointer, _ depth: Int, _ isReference: Bool) -> Void) {
    var depth = 0
    var next: ContextPointer? = self
    while let here = next {
      here.check()
      let isLeft = here.isReference && here != self
      if isLeft {
        if let target = here.target { body(target, depth, true) }
      } else {
        body(here, depth, false)
      }
      let goesOn = !isLeft && depths.map { depth < $0 } ?? true
      next =
        goesOn ? here.following(below: self, depth: &depth) : here.followingBeside(below: self, depth: &depth)
    }
  }

  /// Statistics of the block and all below it.
  public func statistics() -> ContextStatistics {
    var now = ContextStatistics()
    forEach { block in
      now.blocks += 1
      if block.isReference { now.references += 1 } else { now.requestedBytes += block.size }
      if block.isPool { now.pools += 1 }
      if block.pointee.poolOffset != 0 {
        now.pooledBlocks += 1
      } else {
        now.systemBytes += Self.memory(of: block)
      }
    }
    return now
  }

  private static func memory(of block: ContextPointer) -> UInt {
    guard block.isPool else { return ContextBlock.byteCount + block.size }
    return block.pool.pointee.limit - block.address
  }
}

/// What a block and all below it hold.
public struct ContextStatistics: Equatable {
  public var blocks: UInt = 0
  public var references: UInt = 0
  public var pools: UInt = 0
  /// Blocks that lie in a pool.
  public var pooledBlocks: UInt = 0
  /// Bytes that were asked for.
  public var requestedBytes: UInt = 0
  /// Bytes of pools, and of blocks outside of them, headers included.
  public var systemBytes: UInt = 0

  public init() {}

  /// Bytes in front of each block.
  public static var overhead: UInt { ContextBlock.byteCount }
}
