/// What one thread holds: its own record of every live object, apart from the allocator's.
struct ShadowTable {
  private(set) var blocks: [Block] = []
  // byteCount == sum of the blocks' sizes
  private(set) var byteCount = 0

  var count: Int { blocks.count }

  mutating func add(_ block: Block) {
    blocks.append(block)
    byteCount += block.size
  }

  /// Takes out a block at random; nil when there is none.
  mutating func takeAny(_ random: inout SplitMix64) -> Block? {
    blocks.isEmpty ? nil : take(at: random.below(blocks.count))
  }

  /// Takes out the block that came last; nil when there is none.
  mutating func takeLast() -> Block? {
    blocks.isEmpty ? nil : take(at: blocks.count - 1)
  }

  mutating func take(at index: Int) -> Block {
    blocks.swapAt(index, blocks.count - 1)
    let block = blocks.removeLast()
    byteCount -= block.size
    return block
  }

  /// Forgets everything, when the pool went with all that was in it.
  mutating func forgetAll() {
    blocks.removeAll(keepingCapacity: true)
    byteCount = 0
  }
}
