/// A digital search tree: a node's place is spelled by the leading bits of its key, one bit a level.
///
/// No rotations and no balance to keep: whatever the order of insertion, a tree over keys of `keyWidth` bits is at most
/// `keyWidth + 1` nodes deep, because nodes below one another at depth *d* agree in *d* bits, and no two agree in all. It is
/// not in order from left to right: left of a node are keys whose next bit is 0, and the node itself may be anywhere among them.
///
/// A conformer says where a node keeps its two children and what its key is; nodes live wherever it likes. The owner
/// serialises all calls. Insertion, removal and each search take at most 2 × `keyWidth` steps.
protocol DigitalTree {
  /// Keys are below 2^keyWidth, and no two nodes of a tree have the same.
  static var keyWidth: UInt { get }
  // root == 0: the tree is empty. No node is 0.
  var root: UInt { get nonmutating set }
  func key(of node: UInt) -> UInt
  func children(of node: UInt) -> DigitalTreeChildren
  func setChildren(of node: UInt, to children: DigitalTreeChildren)
  /// The links lead to where no node can be: somebody wrote to them.
  func damaged(at node: UInt) -> Never
}

/// The nodes below a node; 0 for none.
struct DigitalTreeChildren: Equatable {
  var zero: UInt = 0
  var one: UInt = 0

  subscript(side: UInt) -> UInt {
    get { side == 0 ? zero : one }
    set { if side == 0 { zero = newValue } else { one = newValue } }
  }

  /// Some child, if there is one.
  var any: UInt { zero != 0 ? zero : one }
}

extension DigitalTree {
  func insertNode(_ node: UInt) {
    setChildren(of: node, to: DigitalTreeChildren())
    guard root != 0 else { return root = node }
    let key = key(of: node)
    var at = root
    var level = Self.keyWidth
    while true {
      if level == 0 || at == node { damaged(at: at) }
      level -= 1
      var children = children(of: at)
      let side = key >> level & 1
      if children[side] == 0 {
        children[side] = node
        return setChildren(of: at, to: children)
      }
      at = children[side]
    }
  }

  /// Whether the tree holds a node. The key must be what it was when the node was inserted.
  func containsNode(_ node: UInt) -> Bool { locate(node) != nil }

  /// Takes a node out; false when the tree does not hold it. The key must be what it was when the node was inserted.
  func removeNode(_ node: UInt) -> Bool {
    guard let (parent, side, level) = locate(node) else { return false }
    // Any leaf below may take the place: it agrees in the bits that lead here.
    let leaf = takeLeaf(below: node, level: level)
    if leaf != 0 { setChildren(of: leaf, to: children(of: node)) }
    if parent == 0 {
      root = leaf
    } else {
      var children = children(of: parent)
      children[side] = leaf
      setChildren(of: parent, to: children)
    }
    return true
  }

  /// Where a node hangs: below which parent, 0 for none, on which side of it, with how many bits of the key left.
  private func locate(_ node: UInt) -> (parent: UInt, side: UInt, level: UInt)? {
    let key = key(of: node)
    var (parent, side, level): (UInt, UInt, UInt) = (0, 0, Self.keyWidth)
    var at = root
    while at != node {
      if at == 0 || level == 0 { return nil }
      level -= 1
      parent = at
      side = key >> level & 1
      at = children(of: at)[side]
    }
    return (parent, side, level)
  }

  /// Unlinks a node without children from the tree below `node`; 0 when `node` has none itself.
  private func takeLeaf(below node: UInt, level: UInt) -> UInt {
    var parent: UInt = 0
    var leaf = node
    var left = level
    while true {
      let next = children(of: leaf).any
      if next == 0 { break }
      if left == 0 { damaged(at: leaf) }
      left -= 1
      parent = leaf
      leaf = next
    }
    guard leaf != node else { return 0 }
    var siblings = children(of: parent)
    siblings[siblings.zero == leaf ? 0 : 1] = 0
    setChildren(of: parent, to: siblings)
    return leaf
  }

  /// The node with the least key that is not below `bound`; 0 when there is none.
  func lowestNode(from bound: UInt) -> UInt {
    guard bound >> Self.keyWidth == 0 else { return 0 }
    var best: UInt = 0
    var bestKey = UInt.max
    var at = root
    var level = Self.keyWidth
    // The deepest subtree passed by on the right: its keys are above the bound and below those of the others passed by.
    var later: UInt = 0
    var laterLevel: UInt = 0
    while at != 0 {
      let key = key(of: at)
      if key >= bound && key < bestKey { (best, bestKey) = (at, key) }
      let children = children(of: at)
      if children.any == 0 { break }
      if level == 0 { damaged(at: at) }
      level -= 1
      if bound >> level & 1 == 1 {
        at = children.one
      } else {
        if children.one != 0 { (later, laterLevel) = (children.one, level) }
        at = children.zero
      }
    }
    at = later
    level = laterLevel
    while at != 0 {
      let key = key(of: at)
      if key < bestKey { (best, bestKey) = (at, key) }
      let next = children(of: at).any
      if next != 0 && level == 0 { damaged(at: at) }
      level &-= 1
      at = next
    }
    return best
  }

  /// The node with the greatest key; 0 when the tree is empty.
  func highestNode() -> UInt {
    var best: UInt = 0
    var bestKey: UInt = 0
    var at = root
    var level = Self.keyWidth
    while at != 0 {
      let key = key(of: at)
      if best == 0 || key > bestKey { (best, bestKey) = (at, key) }
      let children = children(of: at)
      let next = children.one != 0 ? children.one : children.zero
      if next != 0 && level == 0 { damaged(at: at) }
      level &-= 1
      at = next
    }
    return best
  }

  /// Visits the nodes by rising key. `body` must not change the tree.
  func forEachNode(_ body: (UInt) -> Void) {
    var node = lowestNode(from: 0)
    while node != 0 {
      body(node)
      node = lowestNode(from: key(of: node) + 1)
    }
  }

  /// Levels of the tree: 0 when it is empty, at most `keyWidth + 1`.
  func depth() -> UInt { depth(below: root) }

  private func depth(below node: UInt) -> UInt {
    guard node != 0 else { return 0 }
    let children = children(of: node)
    return 1 + max(depth(below: children.zero), depth(below: children.one))
  }

  /// The number of nodes if each stands where its key says, else nil.
  func countOfWellPlacedNodes() -> UInt? { countWellPlaced(below: root, prefix: 0, level: Self.keyWidth) }

  private func countWellPlaced(below node: UInt, prefix: UInt, level: UInt) -> UInt? {
    guard node != 0 else { return 0 }
    guard key(of: node) >> level == prefix else { return nil }
    let children = children(of: node)
    if level == 0 { return children.any == 0 ? 1 : nil }
    guard let zeros = countWellPlaced(below: children.zero, prefix: prefix << 1, level: level - 1),
      let ones = countWellPlaced(below: children.one, prefix: prefix << 1 | 1, level: level - 1)
    else { return nil }
    return zeros + ones + 1
  }
}
