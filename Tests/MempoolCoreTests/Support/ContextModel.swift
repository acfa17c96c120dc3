import Testing

@testable import MempoolCore

/// Trees of contexts beside a plain model of them: objects that know their parent and their children, and free by recursion.
///
/// A block's first word is its node's number, the second the list that destructors write to.
final class ContextModel {
  final class Log {
    var ids: [Int] = []
    /// Nodes whose destructor refuses.
    var refusing: Set<Int> = []
  }

  final class Node {
    let id: Int
    var block: ContextPointer
    var size: Int
    var parent: Node?
    var children: [Node] = []  // newest first
    /// Newest first; nodes that have a target.
    var references: [Node] = []
    var target: Node?
    var hasDestructor = false
    var isPool = false
    var isFreeing = false
    var isGone = false

    init(id: Int, block: ContextPointer, size: Int) {
      self.id = id
      self.block = block
      self.size = size
    }

    func isAbove(_ other: Node) -> Bool { sequence(first: other) { $0.parent }.contains { $0 === self } }
  }

  var random: SplitMix64
  let isStrict: Bool
  let real = Log()
  let expected = Log()
  var roots: [Node] = []
  var nodes: [Node] = []
  private var lastID = 0

  init(seed: UInt64, isStrict: Bool) {
    random = SplitMix64(seed: seed)
    self.isStrict = isStrict
  }

  var live: [Node] { nodes.filter { $0.target == nil } }

  func any() -> Node? {
    guard !nodes.isEmpty else { return nil }
    let node = nodes[random.below(nodes.count)]
    return node.target == nil ? node : nil
  }

  // MARK: What is done to both

  func allocate(_ size: Int, under parent: Node?, pool capacity: Int? = nil) throws {
    let block =
      capacity.map {
        ContextPointer.allocatePool(UInt(size), capacity: UInt($0), under: parent?.block, isStrict: isStrict)
      } ?? ContextPointer.allocate(UInt(size), under: parent?.block, isStrict: isStrict)
    guard let block else {
      let isLimited = parent.map { sequence(first: $0) { $0.parent }.contains { $0.block.limit != nil } } ?? false
      return try demand(isLimited, "\(size) bytes refused without a limit")
    }
    lastID += 1
    let node = Node(id: lastID, block: block, size: size)
    node.isPool = capacity != nil
    block.payload.storeBytes(of: lastID, as: Int.self)
    block.payload.storeBytes(
      of: UInt(bitPattern: Unmanaged.passUnretained(real).toOpaque()), toByteOffset: 8, as: UInt.self)
    hang(node, below: parent)
    nodes.append(node)
  }

  func setDestructor(_ node: Node, refuses: Bool) {
    node.hasDestructor = true
    for log in [real, expected] {
      if refuses { log.refusing.insert(node.id) } else { log.refusing.remove(node.id) }
    }
    node.block.setDestructor { payload in
      let id = payload!.load(as: Int.self)
      let log = Unmanaged<Log>.fromOpaque(
        UnsafeRawPointer(bitPattern: payload!.load(fromByteOffset: 8, as: UInt.self))!
      ).takeUnretainedValue()
      log.ids.append(id)
      // Once: a tree must come to an end.
      return log.refusing.remove(id) == nil ? 0 : -1
    }
  }

  func free(_ node: Node) throws {
    let wasFreed = node.block.free(at: nil)
    try demand(wasFreed == modelFree(node), "free returned \(wasFreed)")
    nodes.removeAll { $0.isGone }
  }

  func freeChildren(_ node: Node) {
    node.block.freeChildren(at: nil)
    modelFreeChildren(node)
    nodes.removeAll { $0.isGone }
  }

  func move(_ node: Node, to parent: Node?) {
    node.block.move(to: parent?.block)
    modelMove(node, to: parent)
  }

  func refer(_ node: Node, from owner: Node) throws {
    guard node.block.addReference(from: owner.block, at: nil) else {
      return try demand(sequence(first: owner) { $0.parent }.contains { $0.block.limit != nil }, "no reference")
    }
    lastID += 1
    let reference = Node(id: lastID, block: node.block.newestReference!, size: 32)
    reference.target = node
    node.references.insert(reference, at: 0)
    hang(reference, below: owner)
    nodes.append(reference)
  }

  func unlink(_ node: Node, from owner: Node?) throws {
    let isDone = node.block.unlink(from: owner?.block, at: nil)
    try demand(isDone == modelUnlink(node, from: owner), "unlink returned \(isDone)")
    nodes.removeAll { $0.isGone }
  }

  func reallocate(_ node: Node, _ size: Int) throws {
    guard let moved = node.block.reallocate(UInt(size), name: nil) else {
      let mayFail =
        node.isPool || !node.references.isEmpty
        || sequence(first: node) { $0.parent }.contains { $0.block.limit != nil }
      return try demand(mayFail, "realloc to \(size) refused")
    }
    try demand(!node.isPool && node.references.isEmpty, "realloc of what must stay")
    node.block = moved
    node.size = size
    try demand(moved.payload.load(as: Int.self) == node.id, "realloc lost content")
  }

  // MARK: The model

  private func hang(_ node: Node, below parent: Node?) {
    node.parent = parent
    if let parent { parent.children.insert(node, at: 0) } else { roots.append(node) }
  }

  private func unhang(_ node: Node) {
    if let parent = node.parent { parent.children.removeAll { $0 === node } } else { roots.removeAll { $0 === node } }
  }

  private func modelMove(_ node: Node, to parent: Node?) {
    if node === parent { return }
    unhang(node)
    hang(node, below: parent)
  }

  private func modelFree(_ node: Node, isTop: Bool = true) -> Bool {
    while let reference = node.references.first {
      let isFromBelow = node.isAbove(reference)
      _ = modelFree(reference)
      if !isFromBelow { return false }
    }
    if let target = node.target { target.references.removeAll { $0 === node } }
    if node.hasDestructor {
      expected.ids.append(node.id)
      if expected.refusing.remove(node.id) != nil { return false }
    }
    let isNewest = node.parent?.children.first === node
    unhang(node)
    // As in the original, which does not know the parent of a block that was not its newest.
    if isTop, isStrict, !isNewest { node.parent = nil }
    modelFreeChildren(node)
    node.isGone = true
    return true
  }

  private func modelFreeChildren(_ node: Node) {
    while let child = node.children.first {
      // Who keeps it: the newest reference that is not from below.
      let heir = child.references.first { !child.isAbove($0) }?.parent
      if !modelFree(child, isTop: false), child.parent === node {
        modelMove(child, to: heir ?? node.parent)
      }
    }
  }

  private func modelUnlink(_ node: Node, from owner: Node?) -> Bool {
    if let reference = node.references.first(where: { $0.parent === owner }) { return modelFree(reference) }
    if node.parent !== owner { return false }
    while let newest = node.references.first {
      let heir = newest.parent
      _ = modelFree(newest)
      if let heir, node.isAbove(heir) { continue }
      modelMove(node, to: heir)
      return true
    }
    return modelFree(node)
  }

  // MARK: The comparison

  func compare() throws {
    try demand(real.ids == expected.ids, "destructors ran in another order")
    real.ids.removeAll()
    expected.ids.removeAll()
    for root in roots {
      try demand(root.block.parent == nil, "a root has a parent")
      var found: [(Int, Int, Bool)] = []
      root.block.visit(to: nil) { found.append(($0.payload.load(as: Int.self), $1, $2)) }
      var wanted: [(Int, Int, Bool)] = []
      list(root, 0, &wanted)
      try demand(found.elementsEqual(wanted, by: ==), "another tree below \(root.id)")
      let all = self.all(root)
      try demand(root.block.totalBlocks == UInt(all.count), "another number of blocks")
      let sum = all.reduce(0) { $0 + ($1.target == nil ? $1.size : 0) }
      try demand(root.block.totalSize == UInt(sum), "another total size")
      try demand(root.block.checkInvariants(), "an invariant is broken")
    }
  }

  private func list(_ node: Node, _ depth: Int, _ result: inout [(Int, Int, Bool)]) {
    result.append(((node.target ?? node).id, depth, node.target != nil))
    if node.target == nil { for child in node.children { list(child, depth + 1, &result) } }
  }

  private func all(_ node: Node) -> [Node] { [node] + node.children.flatMap { all($0) } }
}
