// Handles of contexts that would outlive their trees: none of it compiles. A line that ends in `// error: TEXT` has an error that begins so, no
// other line has one, and those whose functions are named `allowed` have none.
import Mempool

func allowed(_ session: borrowing PoolContext) throws -> Int {
  let part = try PoolContext()
  try part.use { _ = try $0.makeChild() }
  session.adopt(part)
  return try withContext(pool: .kibibytes(1)) { request in
    let kept = try session.node.refer(to: request)
    return kept.statistics().blocks
  }
}

func byACapturedVariable(_ session: borrowing PoolContext) throws {
  var kept = try session.makeChild()  // error: lifetime-dependent variable 'kept' escapes its scope
  try withContext(pool: .kibibytes(1)) { request in
    kept = try request.makeChild()
  }
  _ = kept.name
}

func pastItsOwner() throws {
  let child: PoolContext.Node  // error: lifetime-dependent variable 'child' escapes its scope
  do {
    let tree = try PoolContext()
    child = try tree.makeChild()
  }
  _ = child.name
}

func aValuePastItsOwner() throws {
  let number: PoolContext.Value<[Int]>  // error: lifetime-dependent variable 'number' escapes its scope
  do {
    let tree = try PoolContext()
    number = try tree.node.allocate([5])
  }
  _ = number.value
}

func aBufferPastItsScope(_ session: PoolContext.Node) throws {
  var bytes = try session.allocate(repeating: 0, count: 1)  // error: lifetime-dependent variable
  try session.withChild { child in
    bytes = try child.allocate(repeating: 0, count: 10)
  }
  bytes[0] = 1
}

func byInout(_ kept: inout PoolContext.Node, _ tree: borrowing PoolContext) throws {  // error: lifetime-dependent
  kept = try tree.makeChild()
}

func stored(_ tree: borrowing PoolContext) throws {
  let child = try tree.makeChild()  // error: lifetime-dependent variable 'child' escapes its scope
  let action = { _ = child.name }
  keep(action)
}

func whileItIsHandedOn() throws {
  let tree = try PoolContext()
  let child = try tree.makeChild()
  _ = PoolContext.Parcel(tree)  // error: noncopyable 'tree' cannot be consumed when
  _ = child.name
}

func whileItsChildrenAreFreed() throws {
  var tree = try PoolContext()
  let child = try tree.makeChild()
  tree.freeChildren()  // error: overlapping accesses to 'tree'
  _ = child.name
}

func whatIsReferredTo() throws {
  let keeper = try PoolContext()
  var tree = try PoolContext()
  let kept = try keeper.node.refer(to: tree.node)
  let list = try kept.allocate([1])
  tree.freeChildren()  // error: overlapping accesses to 'tree'
  _ = list.value
}

func twice() throws {
  let tree = try PoolContext(), other = try PoolContext()  // error: 'tree' consumed more than once
  other.adopt(tree)
  other.adopt(tree)
}

final class Counter { var count = 0 }

func withWhatIsKept() throws {
  let tree = try PoolContext(), counter = Counter()
  try tree.use { _ = try $0.allocate(counter) }
  _ = PoolContext.Parcel(tree)  // error: sending
  counter.count += 1
}

func keep(_ action: @escaping () -> Void) { kept.append(action) }
nonisolated(unsafe) var kept: [() -> Void] = []
