import Testing

@testable import MempoolCore

@Suite struct BufferPoolPropertyTests {
  private let memory = TestMemory()

  private struct Object {
    var pointer: UnsafeMutableRawPointer
    var size: Int
    var tag: UInt64
    var isInFallback: Bool
  }

  /// Random calls against a map of the blocks that the test keeps itself: which must be free, where first fit must go, what must fail.
  @Test(
    "B1: random calls against a shadow map: no two live objects overlap, search is first fit",
    arguments: [(1, 40), (6, 64), (8, 130), (16, 200), (24, 33), (100, 65)], [false, true])
  func agreesWithAShadowMap(shape: (blockSize: Int, blocks: Int), hasFallback: Bool) throws {
    let (blockSize, blocks) = shape
    let seed = SplitMix64.seed("BufferPool.agreesWithAShadowMap(\(blockSize), \(blocks), \(hasFallback))")
    var random = SplitMix64(seed: seed)
    let (buffer, pool) = try memory.pool(blocks: blocks, blockSize: blockSize)
    let system = memory.allocator()
    system.limit = 20
    if hasFallback { try #require(try pool.setFallback(system.raw)) }
    let base = UnsafeMutableRawPointer(bitPattern: pool.pointee.blocks)!
    var map = [Int](repeating: 0, count: blocks)  // 0, or the number of the object
    var model: [Int: Object] = [:]
    var nextNumber = 1

    func blockCount(_ size: Int) -> Int { max(1, (size + blockSize - 1) / blockSize) }
    func firstFit(_ length: Int) -> Int? {
      (0...max(0, blocks - length)).first { start in
        start + length <= blocks && map[start..<start + length].allSatisfy { $0 == 0 }
      }
    }
    func enter(_ number: Int, _ pointer: UnsafeMutableRawPointer, _ size: Int) throws {
      let isInFallback = !pool.owns(pointer)
      model[number] = Object(pointer: pointer, size: size, tag: random.next(), isInFallback: isInFallback)
      if !isInFallback {
        let start = (pointer - base) / blockSize
        for index in start..<start + blockCount(size) {
          try demand(map[index] == 0, "seed \(seed): block \(index) was handed out twice")
          map[index] = number
        }
      }
      Pattern.fill(pointer, size, model[number]!.tag)
    }
    func leave(_ number: Int) { map = map.map { $0 == number ? 0 : $0 } }

    for step in 0..<6000 {
      let context = "seed \(seed), step \(step)"
      let isGrowing = step / 300 % 2 == 0
      let size = random.below(8) == 0 ? random.below(blockSize * blocks / 3 + 2) : random.below(4 * blockSize + 1)
      let expected = firstFit(blockCount(size)).map { base + $0 * blockSize }
      switch random.below(10) {
      case 0..<(isGrowing ? 6 : 3):
        guard let pointer = try? pool.allocate(UInt(size)) else {
          try demand(expected == nil && (!hasFallback || system.live == system.limit), "\(context): it had room")
          continue
        }
        try demand(pointer == expected || (expected == nil && hasFallback), "\(context): not the first fit")
        try enter(nextNumber, pointer, size)
        nextNumber += 1
      case 6, 7:
        guard let (number, object) = model.randomElement(using: &random), size > 0 else { continue }
        try demand(Pattern.isIntact(object.pointer, object.size, object.tag), "\(context): overwritten")
        let old = blockCount(object.size), new = blockCount(size)
        let start = object.isInFallback ? 0 : (object.pointer - base) / blockSize
        let staysInPlace =
          !object.isInFallback
          && (new <= old || start + new <= blocks && map[start + old..<start + new].allSatisfy { $0 == 0 })
        leave(number)
        let room = firstFit(new).map { base + $0 * blockSize }
        guard let pointer = try? pool.reallocate(object.pointer, UInt(size)) else {
          let mayFail = object.isInFallback ? system.live > system.limit : room == nil && !staysInPlace
          try demand(mayFail, "\(context): it had room to resize")
          try demand(Pattern.isIntact(object.pointer, object.size, object.tag), "\(context): a failure wrote")
          model[number] = nil
          try enter(number, object.pointer, object.size)
          continue
        }
        if staysInPlace { try demand(pointer == object.pointer, "\(context): moved without need") }
        if !object.isInFallback && !staysInPlace && room != nil {
          try demand(pointer == room, "\(context): not the first fit without itself")
        }
        try demand(
          Pattern.isIntact(pointer, min(size, object.size), filled: object.size, object.tag), "\(context): lost content"
        )
        model[number] = nil
        try enter(number, pointer, size)
      case 9 where random.below(100) == 0:
        try pool.drain()
        map = map.map { _ in 0 }
        model.removeAll()
        try demand(system.live == 0, "\(context): drain left something")
      default:
        guard let (number, object) = model.randomElement(using: &random) else { continue }
        try demand(Pattern.isIntact(object.pointer, object.size, object.tag), "\(context): overwritten")
        let usable = Int(try pool.usableSize(of: object.pointer))
        try demand(
          object.isInFallback ? usable == object.size : usable == blockCount(object.size) * blockSize,
          "\(context): a wrong size")
        if random.below(4) == 0, object.isInFallback || blockSize > 1 {
          try demand((try? pool.deallocate(object.pointer + 1)) == nil, "\(context): freed the middle")
        }
        try pool.deallocate(object.pointer)
        leave(number)
        model[number] = nil
        if !object.isInFallback {
          try demand((try? pool.deallocate(object.pointer)) == nil, "\(context): freed twice")
        }
      }
      if step % 16 == 0 {
        try demand(pool.checkInvariants() && buffer.isGuarded, context)
        let now = try pool.statistics()
        try demand(now.blocksUsed == UInt(map.count { $0 != 0 }), "\(context): a wrong count of blocks")
        try demand(now.objects == UInt(model.values.count { !$0.isInFallback }), "\(context): a wrong count")
        try demand(now.liveFallbacks == UInt(system.live), "\(context): a wrong count of the fallback's")
      }
    }
    try pool.drain()
    #expect(system.live == 0)
  }
}
