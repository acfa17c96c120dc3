/// The free blocks of one page, ordered by size, then by how far from a 16-byte boundary they begin, then by position.
///
/// Nodes live inside the free blocks: a block of at least two units keeps its two children in the unit after its header.
/// A block is named by the unit of its header. At most 25 levels deep under any order of insertion, by construction.
/// Belongs to the page's heap and is used by its owner. Each operation takes at most 50 steps; a best fit at most ten of those.
struct FreeTree {
  let page: DensePagePointer

  /// Adds a free block; its header is written already.
  func insert(_ unit: UInt) { insertNode(unit) }

  /// Whether the tree holds the free block at `unit`.
  func contains(_ unit: UInt) -> Bool { containsNode(unit) }

  /// Takes out the free block at `unit`; false when the tree does not hold it.
  func remove(_ unit: UInt) -> Bool { removeNode(unit) }

  /// Takes out the smallest block that holds `units` units from a header whose payload is aligned to `alignmentUnits`
  /// (1, 2 or 4), however many units that skips; nil when none does.
  func takeBestFit(_ units: UInt, alignmentUnits: UInt = 1) -> UInt? {
    var unit = lowestNode(from: units << 12)
    while unit != 0 {
      if page.block(unit).size >= units + DenseRequest.skip(unit, alignmentUnits) { return remove(unit) ? unit : nil }
      // Whatever has the same size and the same distance does not fit either. Three units more fit anywhere.
      unit = lowestNode(from: (key(of: unit) | 0x3ff) + 1)
    }
    return nil
  }

  /// The size of the largest block in the tree, 0 when there is none.
  var largest: UInt {
    let unit = highestNode()
    return unit == 0 ? 0 : page.block(unit).size
  }

  /// Visits all blocks by rising size. `body` must not change the tree.
  func linearize(_ body: (_ unit: UInt, _ size: UInt) -> Void) { forEachNode { body($0, page.block($0).size) } }

  /// Whether the tree holds exactly the `count` blocks that its page has for it, each in its place.
  func checkInvariants(count: UInt) -> Bool { countOfWellPlacedNodes() == count }
}

extension FreeTree: DigitalTree {
  // key == size << 12 | distance << 10 | position / 4, where distance == units to the next 16-byte boundary. That one is
  // position's lowest two bits, inverted: no two blocks share a key.
  static var keyWidth: UInt { 24 }

  var root: UInt {
    get { UInt(page.pointee.freeRoot) }
    nonmutating set { page.pointee.freeRoot = UInt16(truncatingIfNeeded: newValue) }
  }

  func key(of node: UInt) -> UInt { page.block(node).size << 12 | DenseRequest.skip(node, 4) << 10 | node >> 2 }

  func children(of node: UInt) -> DigitalTreeChildren {
    guard let (zero, one) = page.links(node) else { damaged(at: node) }
    return DigitalTreeChildren(zero: zero, one: one)
  }

  func setChildren(of node: UInt, to children: DigitalTreeChildren) { page.setLinks(node, children.zero, children.one) }

  func damaged(at node: UInt) -> Never { page.damaged(at: node) }
}
