import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct ContextTests {
  private func make(_ size: UInt, _ parent: ContextPointer? = nil, isStrict: Bool = false) -> ContextPointer {
    ContextPointer.allocate(size, under: parent, isStrict: isStrict)!
  }

  private func makePool(_ capacity: UInt, _ parent: ContextPointer? = nil, isStrict: Bool = false) -> ContextPointer {
    ContextPointer.allocatePool(0, capacity: capacity, under: parent, isStrict: isStrict)!
  }

  @Test("X1: what a pool has left is told to the byte")
  func available() {
    let pool = makePool(1024)
    #expect(pool.available == 1024 && pool.usable(blocks: 1) == 1024 - 79)
    let first = make(512, pool)
    #expect(first.home != nil && pool.available == 1024 - 512 - 64)
    let most = pool.available! - 64
    let large = make(most + 1, pool)
    #expect(large.home == nil)
    let exact = make(most, pool)
    #expect(exact.home != nil && pool.available == 0)
    pool.free(at: nil)
  }

  @Test("X2: a pool under a limit gives its charge back, as does everything else")
  func poolsGiveTheirChargeBack() {
    for isStrict in [false, true] {
      let top = make(0, isStrict: isStrict)
      #expect(top.setLimit(100_000))
      let before = top.limit!.charged
      for _ in 0..<50 {
        let pool = makePool(10_000, top)
        #expect(top.limit!.charged > before + 10_000)
        let inside = make(100, pool)
        let kept = make(10, inside)
        kept.move(to: top)
        pool.free(at: nil)
        #expect(top.limit!.charged == before)
        kept.free(at: nil)
        #expect(top.limit!.charged == before)
      }
      #expect(ContextPointer.allocate(100_000, under: top, isStrict: isStrict) == nil)
      top.free(at: nil)
    }
  }

  @Test("X3: an object that grows out of its pool is charged as what it is then")
  func growingOutOfAPool() {
    let top = make(0, isStrict: true)
    #expect(top.setLimit(100_000))
    let pool = makePool(1000, top)
    let before = top.limit!.charged
    let others = make(500, pool)
    let object = make(100, pool)
    let grown = object.reallocate(3000, name: nil)!
    #expect(grown.home == nil && top.limit!.charged == before + 3000 + 96)
    let smaller = grown.reallocate(1000, name: nil)!
    #expect(top.limit!.charged == before + 1000 + 96)
    smaller.free(at: nil)
    others.free(at: nil)
    #expect(top.limit!.charged == before && top.checkInvariants())
    top.free(at: nil)
  }

  @Test("X4: a subtree that moves out of a limit leaves all of it behind")
  func movingOutOfALimit() {
    let old = make(0), new = make(0)
    #expect(old.setLimit(2000))
    let child = make(10, old)
    let grandchild = make(10, child)
    child.move(to: new)
    #expect(old.limit!.charged == ContextBlock.byteCount)
    old.free(at: nil)
    #expect(make(100_000, grandchild).parent == grandchild)
    child.free(at: nil)
    new.free(at: nil)
  }

  @Test("X5: a limit set again takes the place of the first, wherever its block has moved")
  func settingALimitAgain() {
    let pool = makePool(4000)
    for parent in [nil, pool] {
      var block = make(100, parent)
      #expect(block.setLimit(1000))
      block = block.reallocate(10_000, name: nil) ?? block
      #expect(ContextPointer.allocate(10_000, under: block, isStrict: false) == nil || block.home != nil)
      #expect(block.setLimit(0))
      _ = make(1_000_000, block)
      #expect(block.setLimit(500))
      #expect(ContextPointer.allocate(1_000_000, under: block, isStrict: false) == nil)
      block.free(at: nil)
    }
    pool.free(at: nil)
  }

  @Test("X6: ten million nested contexts are measured, visited, reported and freed without recursion")
  func deepTrees() {
    let top = make(0)
    var last = top
    for _ in 1..<10_000_000 { last = make(1, last) }
    #expect(top.totalBlocks == 10_000_000 && top.totalSize == 9_999_999)
    var deepest = 0
    top.visit(to: nil) { _, depth, _ in deepest = max(deepest, depth) }
    #expect(deepest == 9_999_999)
    var lines = LineCount()
    top.writeJSON(to: &lines)
    #expect(lines.count == 10_000_002)
    #expect(top.isAbove(last, depth: ~0) && !top.isAbove(last, depth: 10_000))
    #expect(top.free(at: nil))
  }

  @Test("X8: an array of a gibibyte; what nobody has is refused")
  func largeBlocks() {
    let block = make(1 << 30)
    #expect(block.size == 1 << 30)
    block.free(at: nil)
    #expect(ContextPointer.allocate(ContextBlock.largest, under: nil, isStrict: false) == nil)
    #expect(ContextPointer.allocate(~0, under: nil, isStrict: false) == nil)
    #expect(mp_errno_get() == Int32(MP_ENOMEM))
    #expect(ContextPointer.allocatePool(~0, capacity: 10, under: nil, isStrict: false) == nil)
    #expect(ContextPointer.allocatePool(10, capacity: ~0, under: nil, isStrict: false) == nil)
  }

  @Test("X9: freed neighbours in a pool are one hole, and the end goes back over all that is free before it")
  func reclaiming() {
    let pool = makePool(1024)
    let blocks = (0..<8).map { _ in make(64, pool) }
    #expect(pool.available == 0)
    blocks[6].free(at: nil)
    blocks[5].free(at: nil)
    #expect(pool.available == 0 && pool.checkInvariants())
    blocks[7].free(at: nil)
    #expect(pool.available == 3 * 128 && pool.checkInvariants())
    _ = (0..<3).map { _ in make(64, pool) }
    blocks[2].free(at: nil)
    blocks[4].free(at: nil)
    blocks[3].free(at: nil)
    #expect(pool.checkInvariants())
    let inHole = make(3 * 128 - 64, pool)
    #expect(inHole == blocks[2] && pool.available == 0 && pool.checkInvariants())
    pool.free(at: nil)
  }

  @Test("X10: the parent is in the block itself, however many siblings it has")
  func parents() {
    let top = make(0)
    let oldest = make(0, top)
    for _ in 0..<1000 { _ = make(0, top) }
    let (next, previous) = (oldest.pointee.next, oldest.pointee.previous)
    oldest.pointee.next = nil
    oldest.pointee.previous = nil
    #expect(oldest.parent == top)
    oldest.pointee.next = next
    oldest.pointee.previous = previous
    #expect(top.checkInvariants())
    top.free(at: nil)
  }

  @Test("X11: 64 bytes in front of a block, aligned to 16")
  func overhead() {
    #expect(MemoryLayout<ContextBlock>.size == 64 && ContextStatistics.overhead == 64)
    #expect(UInt(MemoryLayout<ContextPool>.stride) == ContextPool.recordBytes)
    let top = make(5)
    let pool = makePool(10 * 1024, top, isStrict: true)
    var previous: ContextPointer?
    for count in 1...10 {
      let block = make(1024, pool)
      #expect(UInt(bitPattern: block.payload) % 16 == 0)
      #expect((block.home != nil) == (count <= 9))
      if let previous, count <= 9 { #expect(block.address - previous.address == 1024 + 64) }
      previous = block
    }
    let now = top.statistics()
    #expect(now.blocks == 12 && now.pools == 1 && now.pooledBlocks == 9 && now.requestedBytes == 5 + 10 * 1024)
    top.free(at: nil)
  }

  @Test("X13: a freed block in a pool says so, an overwritten one does not look like one")
  func identities() {
    let pool = makePool(1024)
    let first = make(16, pool), second = make(16, pool), third = make(16, pool)
    second.free(at: nil)
    #expect(second.isFreed && first.pointee.identity == first.mark)
    first.payload.initializeMemory(as: UInt8.self, repeating: 0, count: 32)
    #expect(!second.isFreed && second.pointee.identity != second.mark)
    second.pointee.identity = ~second.mark
    #expect(third.parent == pool)
    // A copy of a live block elsewhere is none.
    let copy = UnsafeMutableRawPointer.allocate(byteCount: 80, alignment: 16)
    copy.copyMemory(from: third, byteCount: 80)
    let forged = copy.assumingMemoryBound(to: ContextBlock.self)
    #expect(forged.pointee.identity != forged.mark)
    copy.deallocate()
    pool.free(at: nil)
  }

  @Test("a plain pool goes at once; a destructor, a reference or a stranger in it is seen to")
  func plainPools() {
    for isStrict in [false, true] {
      let top = make(0, isStrict: isStrict)
      let pool = makePool(4096, top)
      let blocks = (0..<10).map { _ in make(32, pool) }
      #expect(pool.pool.pointee.isPlain)
      let outside = make(100_000, blocks[3])
      #expect(!pool.pool.pointee.isPlain && outside.parent == blocks[3])
      let kept = blocks[5]
      kept.move(to: top)
      #expect(top.checkInvariants())
      pool.free(at: nil)
      // The memory stays, with the only object in it, which may take all of it.
      #expect(kept.parent == top && kept.home != nil)
      let grown = kept.reallocate(4096 - 64, name: nil)!
      #expect(grown.address == grown.home!.first && top.totalBlocks == 2)
      #expect(grown.reallocate(4096, name: nil)!.home == nil)
      top.free(at: nil)
    }
  }

  @Test("a plain pool's blocks are not looked at when it goes: O(1), however many")
  func plainPoolsInOneStep() {
    let top = make(0)
    let pool = makePool(64 << 10, top)
    let blocks = (0..<500).map { _ in make(32, pool) }
    // Who looked at one would find that it is none.
    for block in blocks { UnsafeMutableRawPointer(block).initializeMemory(as: UInt8.self, repeating: 0, count: 96) }
    #expect(pool.free(at: nil))
    #expect(top.totalBlocks == 1 && top.checkInvariants())
    top.free(at: nil)
  }

  @Test("statistics are of a subtree")
  func subtrees() {
    let top = make(5), left = make(7, top), right = makePool(1000, top)
    _ = (make(1, left), make(2, right), make(3, right))
    let (whole, of, pooled) = (top.statistics(), left.statistics(), right.statistics())
    #expect(whole.blocks == 6 && whole.requestedBytes == 18 && whole.pools == 1 && whole.pooledBlocks == 2)
    #expect(of.blocks == 2 && of.requestedBytes == 8 && of.systemBytes == 8 + 2 * 64 && of.pools == 0)
    #expect(pooled.blocks == 3 && pooled.requestedBytes == 5 && pooled.systemBytes == 64 + 80 + 1000)
    #expect(whole.systemBytes == 5 + 64 + of.systemBytes + pooled.systemBytes)
    top.free(at: nil)
  }

  @Test("an empty pool is all free again, and plain")
  func emptyPools() {
    let pool = makePool(1024)
    for _ in 0..<3 {
      let stranger = make(0)
      let block = make(100, pool)
      stranger.move(to: block)
      #expect(!pool.pool.pointee.isPlain)
      block.free(at: nil)
      #expect(pool.available == 1024 && pool.pool.pointee.isPlain && pool.checkInvariants())
    }
    let nested = makePool(100, pool)
    _ = make(16, nested)
    #expect(nested.home == pool.pool && pool.checkInvariants())
    pool.free(at: nil)
  }

  @Test("a nested pool that outlives its block is no hole in the outer one")
  func nestedPools() {
    let pool = makePool(4096)
    let before = make(64, pool)
    let nested = makePool(500, pool)
    let kept = make(64, nested), behind = make(64, pool)
    kept.move(to: pool)
    nested.free(at: nil)
    before.free(at: nil)
    #expect(kept.home != nil && pool.checkInvariants())
    let large = make(600, pool)
    #expect(large.address > behind.address)
    kept.free(at: nil)
    #expect(pool.checkInvariants())
    pool.free(at: nil)
  }

  @Test("a name outside of its pool goes with it, also after all in the pool has gone alone")
  func namesOutsideOfTheirPool() {
    let pool = makePool(256)
    let inside = make(100, pool), name = make(300, pool)
    #expect(inside.home != nil && name.home == nil)
    pool.name = UnsafePointer(name.payload.bindMemory(to: CChar.self, capacity: 300))
    pool.freeChildren(at: nil)
    #expect(pool.totalBlocks == 2 && pool.checkInvariants())
    pool.free(at: nil)
    #expect(name.isFreed)
  }

  @Test("a reference from below does not stand before an older one from elsewhere")
  func olderReferences() {
    for isStrict in [false, true] {
      let top = make(0, isStrict: isStrict), keeper = make(0, top)
      let parent = make(0, top), child = make(0, parent), grandchild = make(0, child)
      #expect(child.addReference(from: keeper, at: nil) && child.addReference(from: grandchild, at: nil))
      #expect(parent.free(at: nil) && child.parent == keeper && grandchild.parent == child)
      #expect(top.checkInvariants() && top.free(at: nil))
    }
  }

  @Test("a reference from far below is from below")
  func deepReferences() {
    for leaves in [false, true] {
      let top = make(0)
      var last = top
      for _ in 0..<10_001 { last = make(0, last) }
      #expect(top.addReference(from: last, at: nil))
      #expect(leaves ? top.leaveParent(at: nil) : top.free(at: nil))
      #expect(top.isFreed && last.isFreed)
    }
  }

  @Test("a child that its destructor moves below a limit, and that goes all the same, is charged off there")
  func movedByItsDestructor() {
    for isStrict in [false, true] {
      let limited = make(16, isStrict: isStrict)
      #expect(limited.setLimit(100_000))
      let parent = make(0, limited), child = make(8, parent)
      _ = make(1000, child)
      child.payload.storeBytes(of: UInt(bitPattern: limited), as: UInt.self)
      child.setDestructor { payload in
        let limited = ContextPointer(bitPattern: payload!.load(as: UInt.self))!
        ContextPointer(payload: payload!).move(to: limited)
        return 0
      }
      #expect(parent.free(at: nil) && limited.totalBlocks == 1 && limited.checkInvariants())
      #expect(limited.limit!.charged == limited.subtreeCharge)
      limited.free(at: nil)
    }
  }

  @Test("what a block leaves behind when it moves is none")
  func movedBlocks() {
    let block = make(100)
    let moved = block.reallocate(100_000, name: nil)!
    #expect(moved != block && block.isFreed && moved.checkInvariants())
    let top = make(0), pool = makePool(1024, top)
    let first = make(256, pool), second = make(16, pool)
    second.move(to: top)
    first.free(at: nil)
    let last = second.reallocate(900, name: nil)!
    #expect(last == first && second.isFreed && top.checkInvariants())
    moved.free(at: nil)
    top.free(at: nil)
  }

  @Test("a block that could not move is what it was")
  func refusedMoves() {
    let name: StaticString = "name"
    let block = make(100)
    block.name = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    #expect(block.reallocate(ContextBlock.largest - 1, name: nil) == nil)
    #expect(block.pointee.identity == block.mark && block.name != nil && block.size == 100)
    block.free(at: nil)
  }

  @Test("what shares a pool or a reference with what is elsewhere does not stand alone")
  func standingAlone() {
    let top = make(0), left = make(0, top), right = make(0, top), below = make(0, left)
    #expect(left.standsAlone && right.standsAlone)
    #expect(below.addReference(from: right, at: nil) && !left.standsAlone && !right.standsAlone)
    #expect(below.unlink(from: right, at: nil) && left.standsAlone)
    // A reference within it joins it to nothing else.
    #expect(below.addReference(from: left, at: nil) && left.standsAlone)
    let pool = makePool(1024, left)
    let inside = make(16, pool)
    #expect(inside.home != nil && left.standsAlone && pool.standsAlone && !inside.standsAlone)
    inside.move(to: right)
    #expect(!left.standsAlone && !right.standsAlone)
    pool.free(at: nil)
    #expect(left.standsAlone && !right.standsAlone)
    inside.free(at: nil)
    #expect(right.standsAlone && top.checkInvariants())
    top.free(at: nil)
  }

  @Test("reports: text, JSON, a graph")
  func reports() {
    let top = make(4), other = make(0, top)
    let pool = makePool(100, top)
    #expect(top.addReference(from: other, at: nil) == true)
    "a \"name\"".withCString { name in
      top.name = name
      var sink = BytesSink()
      top.writeText(to: &sink)
      #expect(
        String(decoding: sink.bytes, as: UTF8.self)
          == "a ?name? 4 references 1\n  UNNAMED 0 pool\n  UNNAMED 0\n    -> a ?name?\n")
      sink = BytesSink()
      top.writeJSON(to: &sink)
      let json = String(decoding: sink.bytes, as: UTF8.self)
      #expect(
        json.contains(
          "\"id\": \(pool.address), \"parent\": \(top.address), \"name\": \"UNNAMED\", \"size\": 0, \"pool\": true}"))
      #expect(json.contains("\"reference\": \(top.address)}"))
      sink = BytesSink()
      top.writeGraph(to: &sink)
      let graph = String(decoding: sink.bytes, as: UTF8.self)
      #expect(graph.contains("n\(other.address) -> n\(top.address) [style=dashed];"))
    }
    top.free(at: nil)
  }
}
