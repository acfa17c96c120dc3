/// The free blocks of one page, ordered by size, then by how far from a 16-byte boundary they begin, then by position.
///
/// Nodes live inside the free blocks: a block of at least two units keeps its two children in the unit after its header.
/// A block is named by the unit of its header. At most 25 levels deep under any order of insertion, by construction.
/// Belongs to the page's heap and is used under its mutex. Each operation takes at most 50 steps; a best fit at most ten of
/// those. A free block that somebody wrote to is noticed when its links are next followed: one line, abort.
struct FreeTree {
  let page: DensePagePointer

  /// A free block smaller than this has no room for links, and waits outside the tree for a neighbour to take it in.
  static var minUnits: UInt { 2 }

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
      if page.header(unit).size >= units + Self.skip(unit, alignmentUnits) { return remove(unit) ? unit : nil }
      // Whatever has the same size and the same distance does not fit either. Three units more fit anywhere.
      unit = lowestNode(from: (key(of: unit) | 0x3ff) + 1)
    }
    return nil
  }

  /// Units to skip from `unit` to a header whose payload is aligned to `alignmentUnits`, a power of two.
  static func skip(_ unit: UInt, _ alignmentUnits: UInt) -> UInt { ~unit & (alignmentUnits - 1) }

  /// The size of the largest block in the tree, 0 when there is none.
  var largest: UInt {
    let unit = highestNode()
    return unit == 0 ? 0 : page.header(unit).size
  }

  /// Visits all blocks by rising size. `body` must not change the tree.
  func linearize(_ body: (_ unit: UInt, _ size: UInt) -> Void) { forEachNode { body($0, page.header($0).size) } }

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

  func key(of node: UInt) -> UInt { page.header(node).size << 12 | Self.skip(node, 4) << 10 | node >> 2 }

  // The word after a free block's header == zero | one << 12 | check << 24
  func children(of node: UInt) -> DigitalTreeChildren {
    let place = page.address(node)
    let header = page.header(node)
    guard header.isValid(at: place), !header.isAllocated else { damaged(at: node) }
    let word = page.units[Int(node) + 1]
    guard word >> 24 == Self.check(of: word & 0xff_ffff, place) else { damaged(at: node) }
    return DigitalTreeChildren(zero: UInt(word & 0xfff), one: UInt(word >> 12 & 0xfff))
  }

  func setChildren(of node: UInt, to children: DigitalTreeChildren) {
    let word = UInt32(truncatingIfNeeded: children.zero | children.one << 12)
    page.units[Int(node) + 1] = word | Self.check(of: word, page.address(node)) << 24
  }

  func damaged(at node: UInt) -> Never { misuse("dense heap", page.payload(node), "free block overwritten") }

  private static func check(of links: UInt32, _ place: UInt) -> UInt32 {
    let mixed = (links &+ 1) &* 0x9e37_79b1 ^ UInt32(truncatingIfNeeded: place >> 2) &* 0x85eb_ca6b
    return ((mixed ^ mixed >> 15) &* 0xc2b2_ae35) >> 24
  }
}
