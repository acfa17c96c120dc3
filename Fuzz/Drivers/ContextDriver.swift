import MempoolCore

/// Sequences of calls on trees of contexts, beside objects that know their parent and their children: trees, sizes, contents, charges, and in which order
/// destructors run. The first word of a block is its node's number.
struct ContextDriver {
  private final class Node {
    let id: Int
    var block: ContextPointer
    var size: Int
    var parent: Node?
    var children: [Node] = []  // newest first
    var references: [Node] = []  // newest first
    // Of a reference.
    var target: Node?
    var hasDestructor = false
    var isPool = false
    var isGone = false

    init(_ id: Int, _ block: ContextPointer, _ size: Int) { (self.id, self.block, self.size) = (id, block, size) }

    var line: some Sequence<Node> { sequence(first: self) { $0.parent } }
    func isAbove(_ other: Node) -> Bool { other.line.contains { $0 === self } }
    var isLimited: Bool { line.contains { $0.block.limit != nil } }
  }

  private static nonisolated(unsafe) var destroyed: [Int] = []

  private let isStrict: Bool
  private var input: Input
  private var nodes: [Node] = []
  private var roots: [Node] = []
  private var expected: [Int] = []
  private var lastID = 0

  static func run(_ input: Input) throws {
    var input = input
    destroyed = []
    let isStrict = input.below(2) == 1
    var driver = ContextDriver(isStrict: isStrict, input: input)
    var steps = 0
    while !driver.input.isEmpty, driver.nodes.count < 100 {
      try driver.one()
      steps += 1
      if steps % 4 == 0 { try driver.compare() }
    }
    try driver.compare()
    while let root = driver.roots.first {
      // A reference from elsewhere may keep it for now.
      try driver.free(root)
      try driver.compare()
    }
    try demand(driver.nodes.isEmpty, "\(driver.nodes.count) blocks stayed")
  }

  private init(isStrict: Bool, input: Input) { (self.isStrict, self.input) = (isStrict, input) }

  private mutating func any() -> Node? {
    if nodes.isEmpty { return nil }
    let node = nodes[input.below(nodes.count)]
    return node.target == nil ? node : nil
  }

  private mutating func size() -> Int {
    switch input.below(8) {
    case 0: 16 + input.byte() << 6
    case 1: 16 + input.byte() << 2
    default: 16 + input.below(80)
    }
  }

  private mutating func one() throws {
    switch input.below(16) {
    case 0...4: try allocate(size(), below: input.below(8) == 0 ? nil : any(), pool: nil)
    case 5: try allocate(16 + input.below(48), below: input.below(4) == 0 ? nil : any(), pool: input.byte() << 4)
    case 6, 7:
      guard let node = any() else { return }
      let parent = input.below(8) == 0 ? nil : any()
      if let parent, node.isAbove(parent) { return }
      node.block.move(to: parent?.block)
      move(node, to: parent)
    case 8, 9: if let node = any() { try reallocate(node, size()) }
    case 10: if let node = any(), let owner = any() { try refer(node, from: owner) }
    case 11:
      guard let node = any() else { return }
      let owner = input.below(2) == 0 ? node.references.last?.parent ?? node.parent : any()
      let isDone = node.block.unlink(from: owner?.block, at: nil)
      try demand(isDone == unlink(node, from: owner), "unlink of \(node.id) returned \(isDone)")
    case 12:
      guard let node = any() else { return }
      node.hasDestructor = true
      node.block.setDestructor { payload in
        ContextDriver.destroyed.append(payload?.load(as: Int.self) ?? 0)
        return 0
      }
    case 13:
      guard let node = any() else { return }
      try demand(node.block.setLimit(UInt(input.byte()) << UInt(input.below(8))), "no limit")
    case 14 where input.below(4) == 0:
      guard let node = any() else { return }
      node.block.freeChildren(at: nil)
      freeChildren(node)
    default: if let node = any() { try free(node) }
    }
    nodes.removeAll { $0.isGone }
  }

  // MARK: What is done to both

  private mutating func allocate(_ size: Int, below parent: Node?, pool capacity: Int?) throws {
    let block =
      if let capacity {
        ContextPointer.allocatePool(UInt(size), capacity: UInt(capacity), under: parent?.block, isStrict: isStrict)
      } else {
        ContextPointer.allocate(UInt(size), under: parent?.block, isStrict: isStrict)
      }
    guard let block else { return try demand(parent?.isLimited ?? false, "\(size) bytes refused without a limit") }
    lastID += 1
    let node = Node(lastID, block, size)
    node.isPool = capacity != nil
    fill(node, from: 8)
    block.payload.storeBytes(of: lastID, as: Int.self)
    hang(node, below: parent)
    nodes.append(node)
  }

  private mutating func free(_ node: Node) throws {
    let isFreed = node.block.free(at: nil)
    try demand(isFreed == modelFree(node), "free of \(node.id) returned \(isFreed)")
    nodes.removeAll { $0.isGone }
  }

  private mutating func reallocate(_ node: Node, _ size: Int) throws {
    let mustStay = node.isPool || !node.references.isEmpty
    guard let moved = node.block.reallocate(UInt(size), name: nil) else {
      return try demand(mustStay || node.isLimited, "\(node.id) refused to have \(size) bytes")
    }
    try demand(!mustStay, "\(node.id) has another size, and must stay")
    node.block = moved
    try demand(isIntact(node, min(size, node.size)), "\(node.id) lost content")
    node.size = size
    fill(node, from: 8)
  }

  private mutating func refer(_ node: Node, from owner: Node) throws {
    guard node.block.addReference(from: owner.block, at: nil), let block = node.block.newestReference else {
      return try demand(owner.isLimited, "no reference")
    }
    lastID += 1
    let reference = Node(lastID, block, 32)
    reference.target = node
    node.references.insert(reference, at: 0)
    hang(reference, below: owner)
    nodes.append(reference)
  }

  private func fill(_ node: Node, from start: Int) {
    for offset in start..<node.size {
      node.block.payload.storeBytes(
        of: UInt8(truncatingIfNeeded: node.id &+ offset), toByteOffset: offset, as: UInt8.self)
    }
  }

  private func isIntact(_ node: Node, _ count: Int) -> Bool {
    let payload = node.block.payload
    return payload.load(as: Int.self) == node.id
      && (8..<count).allSatisfy {
        payload.load(fromByteOffset: $0, as: UInt8.self) == UInt8(truncatingIfNeeded: node.id &+ $0)
      }
  }

  // MARK: The model

  private mutating func hang(_ node: Node, below parent: Node?) {
    node.parent = parent
    if let parent { parent.children.insert(node, at: 0) } else { roots.append(node) }
  }

  private mutating func unhang(_ node: Node) {
    if let parent = node.parent { parent.children.removeAll { $0 === node } } else { roots.removeAll { $0 === node } }
  }

  private mutating func move(_ node: Node, to parent: Node?) {
    if node === parent { return }
    unhang(node)
    hang(node, below: parent)
  }

  private mutating func modelFree(_ node: Node, isTop: Bool = true) -> Bool {
    while let reference = node.references.first {
      let isFromBelow = node.isAbove(reference)
      _ = modelFree(reference)
      if !isFromBelow { return false }
    }
    if let target = node.target { target.references.removeAll { $0 === node } }
    if node.hasDestructor { expected.append(node.id) }
    let isNewest = node.parent?.children.first === node
    unhang(node)
    // As in the original, which does not know the parent of a block that was not its newest.
    if isTop, isStrict, !isNewest { node.parent = nil }
    freeChildren(node)
    node.isGone = true
    return true
  }

  private mutating func freeChildren(_ node: Node) {
    while let child = node.children.first {
      // Who keeps it: the newest reference that is not from below.
      let heir = child.references.first { !child.isAbove($0) }?.parent
      if !modelFree(child, isTop: false), child.parent === node {
        move(child, to: heir ?? node.parent)
      }
    }
  }

  private mutating func unlink(_ node: Node, from owner: Node?) -> Bool {
    if let reference = node.references.first(where: { $0.parent === owner }) { return modelFree(reference) }
    if node.parent !== owner { return false }
    while let newest = node.references.first {
      let heir = newest.parent
      _ = modelFree(newest)
      if let heir, node.isAbove(heir) { continue }
      move(node, to: heir)
      return true
    }
    return modelFree(node)
  }

  // MARK: The comparison

  private mutating func compare() throws {
    try demand(Self.destroyed == expected, "destructors ran in the order \(Self.destroyed), not \(expected)")
    Self.destroyed = []
    expected = []
    for root in roots {
      try demand(root.block.parent == nil, "root \(root.id) has a parent")
      var found: [[Int]] = [], wanted: [[Int]] = []
      root.block.visit(to: nil) { found.append([$0.payload.load(as: Int.self), $1, $2 ? 1 : 0]) }
      list(root, 0, &wanted)
      try demand(found == wanted, "another tree below \(root.id)")
      try demand(root.block.checkInvariants(), "an invariant is broken below \(root.id)")
    }
    for node in nodes where node.target == nil {
      try demand(isIntact(node, node.size) && node.block.size == UInt(node.size), "\(node.id) was written to")
    }
  }

  private func list(_ node: Node, _ depth: Int, _ result: inout [[Int]]) {
    result.append([(node.target ?? node).id, depth, node.target == nil ? 0 : 1])
    if node.target == nil { for child in node.children { list(child, depth + 1, &result) } }
  }
}
