/// Where a ``SegregatedFit`` finds its blocks. A block has a number that is not 0; what it stands for is the owner's affair.
protocol FreeBlocks {
  /// Units of a block that the index holds, or is about to hold; 0 when there is no free block of this number, which somebody wrote
  /// into another one's links.
  func size(of block: UInt32) -> UInt
  /// The blocks before and behind it in its list, 0 for none: two words in the block itself. Nil when there is no such free block.
  func links(of block: UInt32) -> FreeBlockLinks?
  func setNext(of block: UInt32, to next: UInt32)
  func setPrevious(of block: UInt32, to previous: UInt32)
  /// Somebody wrote to a free block. Reports it, and ends the process.
  func damaged(at block: UInt32) -> Never
}

struct FreeBlockLinks: Equatable {
  var next: UInt32
  var previous: UInt32
}

/// Free blocks in lists by size, two levels of them: a good fit in a number of steps that depends on nothing.
///
/// Sizes below 128 units have a list each, from there on there are 64 lists for each power of two: two blocks of one list differ by
/// less than a 64th. A word a level says which lists hold something, one word above which levels do. Nodes live in the blocks, two
/// 32-bit numbers each; blocks may lie in any number of pages. A zeroed record is an empty index. Used by one thread at a time; never
/// allocates, waits or calls out.
///
/// A link is believed only if the block that it leads to leads back: what was written to a free block is noticed when it is
/// next linked or unlinked.
struct SegregatedFit {
  // levels >> n & 1 == (lists[n] != 0 ? 1 : 0)
  var levels: UInt = 0
  // lists[n] >> m & 1 == (heads[64 n + m] != 0 ? 1 : 0)
  var lists = InlineArray<10, UInt>(repeating: 0)
  // The first block of each list. Last in, first out.
  var heads = InlineArray<640, UInt32>(repeating: 0)

  /// Units of the largest block that there is a list for.
  static var largest: UInt { 1 << 15 - 1 }
  /// Blocks of a list that a search looks at, and takes the smallest of. Against taking the first one, eight save a twentieth of what
  /// best fit saves against it; more save nothing that could be measured.
  static var probes: Int { 8 }

  /// The list of blocks of `units` units; the lists above hold nothing smaller.
  static func list(_ units: UInt) -> Int {
    let shift = max(6, 63 - UInt((units | 1).leadingZeroBitCount)) - 6
    return Int(shift << 6 + units >> shift)
  }
}

typealias SegregatedFitPointer = UnsafeMutablePointer<SegregatedFit>

extension UnsafeMutablePointer where Pointee == SegregatedFit {
  var isEmpty: Bool { pointee.levels == 0 }

  /// No block has more units than this, one less than the list above the highest that holds something; 0: there is none.
  var largestBound: UInt {
    guard pointee.levels != 0 else { return 0 }
    let level = 63 - pointee.levels.leadingZeroBitCount
    let list = UInt(level << 6 + 63 - pointee.lists[level].leadingZeroBitCount) + 1
    return (list < 128 ? list : (list & 63 + 64) << (list >> 6 - 1)) - 1
  }

  /// Adds a block, whose size is written already.
  func insert<Blocks: FreeBlocks>(_ block: UInt32, in blocks: Blocks) {
    let list = SegregatedFit.list(blocks.size(of: block))
    let head = pointee.heads[list]
    blocks.setNext(of: block, to: head)
    blocks.setPrevious(of: block, to: 0)
    if head != 0 {
      guard blocks.links(of: head)?.previous == 0 else { blocks.damaged(at: head) }
      blocks.setPrevious(of: head, to: block)
    }
    pointee.heads[list] = block
    pointee.lists[list >> 6] |= 1 << UInt(list & 63)
    pointee.levels |= 1 << UInt(list >> 6)
  }

  /// Takes out a block that is in the index, by the size that it has had since it was added.
  func remove<Blocks: FreeBlocks>(_ block: UInt32, in blocks: Blocks) {
    let list = SegregatedFit.list(blocks.size(of: block))
    guard let links = blocks.links(of: block) else { blocks.damaged(at: block) }
    if links.previous == 0 {
      guard pointee.heads[list] == block else { blocks.damaged(at: block) }
    } else {
      guard blocks.links(of: links.previous)?.next == block else { blocks.damaged(at: block) }
    }
    if links.next != 0 {
      guard blocks.links(of: links.next)?.previous == block else { blocks.damaged(at: block) }
      blocks.setPrevious(of: links.next, to: links.previous)
    }
    if links.previous != 0 { return blocks.setNext(of: links.previous, to: links.next) }
    pointee.heads[list] = links.next
    guard links.next == 0 else { return }
    pointee.lists[list >> 6] &= ~(1 << UInt(list & 63))
    if pointee.lists[list >> 6] == 0 { pointee.levels &= ~(1 << UInt(list >> 6)) }
  }

  /// A block of at least `units` units, still in the index; nil when no list that was looked at has one.
  ///
  /// The smallest of the first `probes` blocks of the list that `units` belongs to, or else of the next list that
  /// holds something: a good fit. `isUsable` may refuse blocks; then up to `listCount` lists are looked at.
  func fit<Blocks: FreeBlocks>(
    _ units: UInt, in blocks: Blocks, lists listCount: Int = 2, probes: Int = SegregatedFit.probes,
    where isUsable: (UInt32) -> Bool
  ) -> UInt32? {
    guard units <= SegregatedFit.largest else { return nil }
    var list = firstList(from: SegregatedFit.list(units))
    var left = listCount
    while list >= 0, left > 0 {
      if let block = best(list, units, blocks, probes, isUsable) { return block }
      list = firstList(from: list + 1)
      left -= 1
    }
    return nil
  }

  /// The same; any block will do.
  func fit<Blocks: FreeBlocks>(_ units: UInt, in blocks: Blocks) -> UInt32? {
    fit(units, in: blocks) { _ in true }
  }

  private func best<Blocks: FreeBlocks>(
    _ list: Int, _ units: UInt, _ blocks: Blocks, _ probes: Int, _ isUsable: (UInt32) -> Bool
  ) -> UInt32? {
    var block = pointee.heads[list], before = block, found: UInt32?, least = UInt.max
    var left = probes
    while block != 0, left > 0 {
      let size = blocks.size(of: block)
      guard size > 0, let links = blocks.links(of: block) else { blocks.damaged(at: before) }
      if size >= units, size < least, isUsable(block) {
        if size == units { return block }
        found = block
        least = size
      }
      before = block
      block = links.next
      left -= 1
    }
    return found
  }

  // The first list from `list` on that holds something; -1: there is none.
  private func firstList(from list: Int) -> Int {
    let level = list >> 6
    guard level < 10 else { return -1 }
    let here = pointee.lists[level] & (~0 << UInt(list & 63))
    if here != 0 { return level << 6 + here.trailingZeroBitCount }
    // Level 9 is the last: the shift is at most 10.
    let above = pointee.levels & (~0 << UInt(level + 1))
    guard above != 0 else { return -1 }
    let next = above.trailingZeroBitCount
    return next << 6 + pointee.lists[next].trailingZeroBitCount
  }

  /// Whether the words agree with the lists, each block is in the list of its size, and links lead back; the number of blocks then,
  /// else nil. Each block is shown to `visit`.
  func countOfWellPlacedBlocks<Blocks: FreeBlocks>(in blocks: Blocks, _ visit: (UInt32) -> Bool) -> UInt? {
    var count: UInt = 0
    for list in 0..<640 {
      let isMarked = pointee.lists[list >> 6] >> UInt(list & 63) & 1 != 0
      var block = pointee.heads[list], previous: UInt32 = 0
      guard isMarked == (block != 0) else { return nil }
      while block != 0 {
        guard let links = blocks.links(of: block), links.previous == previous,
          SegregatedFit.list(blocks.size(of: block)) == list, visit(block)
        else { return nil }
        count += 1
        previous = block
        block = links.next
      }
    }
    for level in 0..<10 where (pointee.levels >> UInt(level) & 1 != 0) != (pointee.lists[level] != 0) { return nil }
    return count
  }
}
