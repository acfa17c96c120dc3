import Foundation
import Mempool
import Testing

/// What was deinitialised, in order.
private final class Trace {
  var names: [String] = []
}

/// A value that says when it goes.
private struct Traced: ~Copyable {
  let name: String
  let trace: Trace
  var number = 0

  init(_ name: String, _ trace: Trace) {
    self.name = name
    self.trace = trace
  }

  deinit { trace.names.append(name) }
}

private struct Nothing: BitwiseCopyable {}

private struct Aligned: BitwiseCopyable {
  var wide: SIMD16<Float>
}

@Suite struct PoolContextTests {
  private func fill(_ tree: borrowing PoolContext, _ trace: Trace) throws {
    let one = try tree.makeChild(named: "one"), two = try tree.makeChild(named: "two")
    _ = try one.allocate(Traced("a", trace))
    _ = try two.allocate(Traced("b", trace))
    _ = try one.allocate(Traced("c", trace))
    _ = try tree.allocate(Traced("d", trace))
  }

  @Test func aTreeGoesWithItsOwnerNewestFirst() throws {
    let trace = Trace()
    do {
      let tree = try PoolContext(named: "tree")
      try fill(tree, trace)
      #expect(trace.names.isEmpty)
      #expect(tree.statistics().blocks == 7)
    }
    #expect(trace.names == ["d", "b", "c", "a"])
  }

  @Test func valuesAreReadAndChanged() throws {
    let tree = try PoolContext()
    let list = try tree.allocate([1, 2, 3])
    let same = list
    list.value.append(4)
    same.value[0] = 10
    #expect(list.value == [10, 2, 3, 4])
    let trace = Trace()
    let traced = try tree.allocate(Traced("x", trace))
    traced.value.number += 5
    traced.value.number += traced.value.number
    #expect(traced.value.number == 10 && traced.value.name == "x")
    let wide = try tree.allocate(Aligned(wide: SIMD16(repeating: 1.5)))
    #expect(wide.value.wide.sum() == 24)
    #expect(unsafe UInt(bitPattern: wide.pointer) % UInt(MemoryLayout<Aligned>.alignment) == 0)
  }

  @Test("X7: buffers, also of elements without bytes")
  func buffers() throws {
    let tree = try PoolContext()
    let node = tree.node
    let squares = try node.allocate(copying: (0..<100).lazy.map { $0 * $0 })
    #expect(squares.count == 100 && squares.indices.allSatisfy { squares[$0] == $0 * $0 })
    squares[7] = -1
    #expect(squares[7] == -1)
    #expect(try node.allocate(repeating: UInt8(3), count: 1 << 20)[1 << 19] == 3)
    #expect(try node.allocate(repeating: 0, count: 0).count == 0)
    #expect(try node.allocate(repeating: Nothing(), count: 1000).count == 1000)
    // No cap of 256 MiB.
    #expect(try node.allocate(repeating: UInt64(1), count: 40 << 20)[(40 << 20) - 1] == 1)
  }

  @Test("X12: what cannot be is told from having no memory, and nothing is lost by either")
  func errors() throws {
    let tree = try PoolContext()
    let node = tree.node
    let list = try node.allocate([1, 2, 3])
    try node.setLimit(.bytes(1))
    for count in [-1, .max] {
      #expect(throws: PoolError.invalidArgument) { try tree.use { _ = try $0.allocate(repeating: 0, count: count) } }
    }
    #expect(throws: PoolError.outOfMemory) { try tree.use { _ = try $0.allocate(repeating: 0, count: 1) } }
    #expect(throws: PoolError.outOfMemory) { try tree.use { _ = try $0.makeChild(copyingName: "child \(1)") } }
    #expect(list.value == [1, 2, 3] && tree.statistics().blocks == 2)
  }

  @Test func aScopeFreesWhatWasMadeInIt() throws {
    let trace = Trace()
    let sum = try withContext(pool: .kibibytes(64), named: "request") { request in
      let first = try request.allocate(Traced("first", trace))
      first.value.number = 5
      let inner = try request.withChild(named: "inner", pool: .bytes(1000)) { inner in
        let second = try inner.allocate(Traced("second", trace))
        second.value.number = first.value.number + 1
        return second.value.number
      }
      #expect(trace.names == ["second"])
      #expect(request.name == "request" && request.availableByteCount.map { $0 < 64 << 10 } == true)
      return inner + first.value.number
    }
    #expect(sum == 11 && trace.names == ["second", "first"])
  }

  @Test func anErrorFreesTheScope() {
    struct Stop: Error {}
    let trace = Trace()
    #expect(throws: Stop.self) {
      try withContext(pool: .kibibytes(1)) { request in
        _ = try request.allocate(Traced("x", trace))
        throw Stop()
      }
    }
    #expect(trace.names == ["x"])
  }

  @Test func treesAreAdoptedAndDetached() throws {
    let trace = Trace()
    var tree = try PoolContext(named: "tree")
    try tree.use { node in
      let part = try PoolContext(named: "part")
      try fill(part, trace)
      let adopted = node.adopt(part)
      #expect(adopted.parentName == "tree" && adopted.isBelow(node) && !node.isBelow(adopted))
      let other = try PoolContext(named: "other")
      #expect(other.move(to: adopted).parentName == "part")
    }
    if tree.detach(named: "nobody") != nil { Issue.record("there is nobody") }
    if let part = tree.detach(named: "part") {
      #expect(part.statistics().blocks == 8 && tree.statistics().blocks == 1 && trace.names.isEmpty)
    }
    #expect(trace.names == ["d", "b", "c", "a"])
  }

  @Test func whatSharesAPoolOrAReferenceIsNotDetached() throws {
    var tree = try PoolContext(named: "tree", pool: .kibibytes(1))
    _ = try tree.makeChild(named: "in the pool")
    if tree.detach(named: "in the pool") != nil { Issue.record("two trees share a pool") }
    var other = try PoolContext()
    try other.use { node in
      _ = try node.makeChild(named: "keeper").refer(to: try node.makeChild(named: "kept"))
      _ = try node.pool(byteCount: .bytes(500), named: "pool").allocate(5)
    }
    for name in ["keeper", "kept"] where other.detach(named: name) != nil {
      Issue.record("a reference joins two trees")
    }
    #expect(other.statistics().blocks == 6 && tree.statistics().blocks == 2)
    guard let pool = other.detach(named: "pool") else {
      Issue.record("a pool of its own stands alone")
      return
    }
    #expect(pool.statistics().blocks == 2 && other.statistics().blocks == 4)
  }

  @Test func valuesThatAreBytesLeaveAPoolPlain() throws {
    let trace = Trace()
    let tree = try PoolContext()
    let number = try tree.allocate(5)
    let traced = try tree.allocate(Traced("x", trace))
    // The block is in front of the value: its last word is its destructor.
    func destructor(_ value: UnsafeMutableRawPointer) -> UInt {
      unsafe (value - 16).load(fromByteOffset: -8, as: UInt.self)
    }
    #expect(unsafe destructor(number.pointer) == 0 && destructor(traced.pointer) != 0)
  }

  @Test func childrenAreFreedAlone() throws {
    let trace = Trace()
    var tree = try PoolContext(named: "tree")
    try fill(tree, trace)
    tree.freeChildren()
    #expect(trace.names.count == 4 && tree.statistics().blocks == 1)
    try fill(tree, trace)
    #expect(tree.statistics().blocks == 7)
  }

  @Test func whatIsReferredToOutlivesItsParent() throws {
    let trace = Trace()
    do {
      let tree = try PoolContext(named: "tree")
      let keeper = try tree.makeChild(named: "keeper")
      let kept = try tree.node.withChild(named: "short") { short in
        let value = try short.allocate(Traced("kept", trace)), lost = try short.allocate(Traced("lost", trace))
        value.value.number = lost.value.number + 3
        let context = try short.makeChild(named: "shared")
        _ = try context.allocate(Traced("with it", trace))
        #expect(try keeper.refer(to: context) == context && context.referenceCount == 1)
        return try keeper.refer(to: value).value.number
      }
      #expect(kept == 3 && trace.names == ["lost"])
      #expect(tree.report().contains("shared") && !tree.report().contains("short"))
    }
    #expect(trace.names == ["lost", "kept", "with it"] || trace.names == ["lost", "with it", "kept"])
  }

  @Test func actionsAreDoneLikeDefer() throws {
    let trace = Trace()
    try withContext(pool: .kibibytes(4)) { context in
      try context.onFree { trace.names.append("first") }
      _ = try context.allocate(Traced("value", trace))
      try context.onFree { trace.names.append("last") }
    }
    #expect(trace.names == ["last", "value", "first"])
  }

  @Test func limits() throws {
    let trace = Trace()
    let tree = try PoolContext()
    let node = tree.node
    try node.setLimit(.kibibytes(4))
    #expect(node.chargedByteCount == PoolContext.Statistics.overhead)
    for _ in 0..<3 {
      try node.withChild { child in
        _ = try child.allocate(repeating: UInt8(0), count: 3000)
        #expect(throws: PoolError.outOfMemory) {
          try node.withChild { _ = try $0.allocate(repeating: UInt8(0), count: 3000) }
        }
        do {
          try child.onFree { trace.names.append("never") }
          try child.onFree { trace.names.append("never") }
          while true { _ = try child.makeChild() }
        } catch {}
      }
      #expect(node.chargedByteCount == PoolContext.Statistics.overhead)
    }
    try node.setLimit(nil)
    _ = try node.allocate(repeating: UInt8(0), count: 1 << 20)
  }

  @Test func anActionThatCouldNotBeNotedIsNotDone() throws {
    let trace = Trace()
    do {
      let tree = try PoolContext()
      try tree.setLimit(.bytes(100))
      #expect(throws: PoolError.outOfMemory) { try tree.use { try $0.onFree { trace.names.append("done") } } }
    }
    #expect(trace.names.isEmpty)
  }

  @Test func pools() throws {
    let tree = try PoolContext(named: "tree", pool: .bytes(10 * 1024))
    let node = tree.node
    #expect(node.availableByteCount == 10 * 1024 && node.usableByteCount(blocks: 9).map { $0 >= 9 * 1024 } == true)
    for count in 1...10 {
      _ = try node.allocate(repeating: UInt8(0), count: 1024)
      #expect(tree.statistics().pooledBlocks == min(count, 9))
    }
    #expect(tree.statistics().pools == 1 && node.usableByteCount(blocks: .max) == 0)
    #expect(try node.makeChild().availableByteCount == nil)
    for size in [-1, 1 << 40] {
      #expect(throws: PoolError.invalidArgument) { _ = try PoolContext(pool: .bytes(size)) }
    }
  }

  @Test func reports() throws {
    let tree = try PoolContext(named: "tree")
    let child = try tree.node.makeChild(copyingName: "child \(1)")
    _ = try child.allocate("text")
    _ = try child.allocate(repeating: 1.5, count: 2)
    _ = try tree.pool(byteCount: .bytes(100), named: "pool").refer(to: child)
    #expect(
      tree.report() == """
        tree 0
          pool 0 pool
            -> child 1
          child 1 0 references 1
            Double 16
            String 32
            UNNAMED 8
        """)
    #expect(tree.report(depth: 0) == "tree 0")
    let objects = try JSONSerialization.jsonObject(with: Data(tree.report(as: .json).utf8)) as? [[String: Any]]
    #expect(
      objects?.map { $0["name"] as? String } == [
        "tree", "pool", ".reference", "child 1", "Double", "String", "UNNAMED",
      ])
    let graph = tree.report(as: .graphviz)
    #expect(graph.hasPrefix("digraph context {\n") && graph.contains("style=dashed") && graph.hasSuffix("}"))
    #expect(child.name == "child 1" && child.parentName == "tree" && tree.node.parentName == nil)
  }

  @Test func deepTreesNeedNoStack() throws {
    let tree = try PoolContext(named: "top")
    var last = tree.node
    for _ in 0..<300_000 { last = try last.makeChild() }
    #expect(tree.statistics().blocks == 300_001 && last.isBelow(tree.node))
  }

  @Test func aTreeGoesToAnotherThread() throws {
    let tree = try PoolContext(named: "tree")
    try tree.use { _ = try $0.allocate([1, 2, 3]) }
    let parcel = PoolContext.Parcel(tree), done = Done()
    onAThreadThatExits {
      if let tree = parcel.take(), tree.statistics().blocks == 2 { done.set() }
    }
    #expect(done.isSet)
    if parcel.take() != nil { Issue.record("taken twice") }
  }

  @Test func aParcelThatNobodyOpensFreesItsTree() throws {
    let done = Done()
    do {
      let tree = try PoolContext()
      try tree.use { node in try node.onFree { done.set() } }
      _ = PoolContext.Parcel(tree)
    }
    #expect(done.isSet)
  }

  @Test func leaksAreReportedAtExit() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      try PoolContext.reportLeaksAtExit()
      try PoolContext.reportLeaksAtExit()
      do {
        let tree = try PoolContext(named: "freed")
        _ = try tree.makeChild()
      }
      let tree = try PoolContext(named: "left")
      try tree.use { _ = try $0.makeChild(named: "child").allocate(repeating: UInt8(0), count: 10) }
      Kept.tree = consume tree
      exit(0)
    }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(
      text.contains(
        """
        mempool: contexts left at exit: 3 blocks
        all contexts 0
          left 0
            child 0
              UInt8 10

        """), "\(text)")
  }

  @Test func twoChangesAtOnce() async {
    func expect(_ result: ExitTest.Result?) {
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      let lines = text.split(separator: "\n").filter { $0.hasPrefix("mempool: ") }
      let isIt =
        lines.count == 1 && lines[0].hasPrefix("mempool: PoolContext.Value.value(0x")
        && lines[0].hasSuffix("): read or changed while it is being changed")
      #expect(isIt, "\(text)")
    }
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let tree = try PoolContext()
        let list = try tree.allocate([1]), same = list
        func change(_ numbers: inout [Int]) { same.value.append(2) }
        change(&list.value)
      })
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let tree = try PoolContext()
        let list = try tree.allocate(5), same = list
        func change(_ number: inout Int) { number = same.value }
        change(&list.value)
      })
  }
}

/// What outlives its function.
private enum Kept {
  nonisolated(unsafe) static var tree: PoolContext?
}

/// Something that was done, on any thread.
private final class Done: @unchecked Sendable {
  private let lock = NSLock()
  private var flag = false
  func set() { lock.withLock { flag = true } }
  var isSet: Bool { lock.withLock { flag } }
}
