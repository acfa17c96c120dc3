import Testing

@testable import MempoolCore

@Suite struct BufferPoolFallbackTests {
  private let memory = TestMemory()

  @Test func whatDoesNotFitComesFromTheFallbackAndIsCounted() throws {
    let system = memory.allocator()
    let (_, pool) = try memory.pool(blocks: 32, blockSize: 16)
    #expect(try pool.setFallback(system.raw))
    let inside = try pool.allocate(512)
    let outside = try (0..<50).map { number in
      let pointer = try pool.allocate(UInt(number))
      Pattern.fill(pointer, number, UInt64(number))
      return pointer
    }
    var now = try pool.statistics()
    #expect(now.objects == 1 && now.fallbacks == 50 && now.liveFallbacks == 50 && now.misses == 50 && system.live == 50)
    #expect(throws: Never.self) { try pool.setFallback(nil) }
    #expect(try pool.setFallback(nil) == false)
    for (number, pointer) in outside.enumerated() {
      #expect(!pool.owns(pointer) && UInt(bitPattern: pointer) % 16 == 0)
      #expect(try pool.usableSize(of: pointer) == UInt(number))
      #expect(Pattern.isIntact(pointer, number, UInt64(number)))
    }
    #expect(pool.checkInvariants())
    // Neither is an object, however near.
    for wrong in [outside[3] + 8, outside[3] - 32, outside[3] + 1] {
      #expect(throws: BufferPoolError.foreign) { try pool.deallocate(wrong) }
    }
    for pointer in outside.prefix(25) { try pool.deallocate(pointer) }
    #expect(throws: BufferPoolError.foreign) { try pool.deallocate(outside[0]) }
    now = try pool.statistics()
    #expect(now.fallbacks == 50 && now.liveFallbacks == 25 && system.live == 25)
    try pool.drain()
    #expect(system.live == 0 && pool.checkInvariants())
    #expect(try pool.setFallback(nil))
    #expect(throws: BufferPoolError.foreign) { try pool.deallocate(outside[30]) }
    _ = inside
  }

  @Test func objectsMoveToTheFallbackAndAreResizedThere() throws {
    let system = memory.allocator()
    let (buffer, pool) = try memory.pool(blocks: 32, blockSize: 16)
    #expect(try pool.setFallback(system.raw))
    var object = try pool.allocate(300)
    Pattern.fill(object, 300, 5)
    var filled = 300
    for size in [513, 5000, 100_000, 70, 70_000, 1] {
      object = try #require(try pool.reallocate(object, UInt(size)))
      #expect(!pool.owns(object) && UInt(bitPattern: object) % 16 == 0)
      #expect(Pattern.isIntact(object, min(filled, size), filled: filled, 5))
      Pattern.fill(object, size, 5)
      filled = size
    }
    // A refusal leaves the object, and the pool finds it still.
    system.limit = 0
    #expect(throws: BufferPoolError.outOfMemory) { try pool.reallocate(object, 1 << 20) }
    #expect(throws: BufferPoolError.outOfMemory) { try pool.reallocate(object, .max) }
    #expect(Pattern.isIntact(object, 1, 5))
    #expect(try pool.statistics().blocksUsed == 0)
    #expect(try pool.reallocate(object, 0) == nil)
    #expect(system.live == 0 && pool.checkInvariants() && buffer.isGuarded)
  }

  @Test func alignmentOfTheFallback() throws {
    let system = memory.allocator()
    let (_, pool) = try memory.pool(blocks: 1, blockSize: 16)
    #expect(try pool.setFallback(system.raw))
    _ = try pool.allocate(1)
    for alignment in [UInt(1), 8, 16, 64, 4096] {
      var object = try pool.allocate(100, alignment: alignment)
      #expect(UInt(bitPattern: object) % alignment == 0)
      Pattern.fill(object, 100, 3)
      for _ in 0..<5 {
        object = try #require(try pool.reallocate(object, 3000))
        #expect(UInt(bitPattern: object) % 16 == 0 && Pattern.isIntact(object, 100, 3))
        object = try #require(try pool.reallocate(object, 100))
        #expect(Pattern.isIntact(object, 100, 3))
      }
    }
    try pool.drain()
    #expect(system.live == 0)
  }

  /// A pool of 16-byte blocks, which falls back on one of 8-byte blocks, which falls back on a region; and on the shared pool.
  @Test func poolsStackOnPools() throws {
    let (lowBuffer, midBuffer, highBuffer) = (
      memory.buffer(8000, shift: 3), memory.buffer(2000), memory.buffer(1000, shift: 8)
    )
    let region = try #require(RegionPointer.make(in: lowBuffer.start, 8000))
    let middle = try #require(midBuffer.pool(blockSize: 8, fallback: region.allocator))
    let high = try #require(highBuffer.pool(blockSize: 16, fallback: middle.allocator))
    var random = SplitMix64(seed: 11)
    var live: [(UnsafeMutableRawPointer, Int, UInt64)] = []
    while let pointer = try? high.allocate(40) {
      #expect(UInt(bitPattern: pointer) % 16 == 0)
      live.append((pointer, 40, random.next()))
      Pattern.fill(pointer, 40, live.last!.2)
    }
    #expect(try high.statistics().liveFallbacks > 0 && middle.statistics().liveFallbacks > 0 && region.mark > 7000)
    for _ in 0..<500 {
      let index = random.below(live.count), size = 1 + random.below(80)
      guard let moved = try? high.reallocate(live[index].0, UInt(size)) else { continue }
      #expect(UInt(bitPattern: moved) % 16 == 0)
      #expect(Pattern.isIntact(moved, min(size, live[index].1), filled: live[index].1, live[index].2))
      live[index] = (moved, size, random.next())
      Pattern.fill(moved, size, live[index].2)
    }
    for (pointer, size, tag) in live { #expect(Pattern.isIntact(pointer, size, tag)) }
    try high.drain()
    #expect(try middle.statistics().objects == 0 && middle.statistics().liveFallbacks == 0)
    #expect(high.checkInvariants() && middle.checkInvariants())

    let shared = MemoryPoolPointer.shared
    #expect(try high.setFallback(shared.allocator))
    let large = try high.allocate(100_000)
    Pattern.fill(large, 100_000, 1)
    let larger = try #require(try high.reallocate(large, 1 << 20))
    #expect(Pattern.isIntact(larger, 100_000, 1))
    try high.drain()
    #expect(lowBuffer.isGuarded && midBuffer.isGuarded && highBuffer.isGuarded)
  }

  @Test func anAllocatorAlignsToEightWhateverTheBlocks() throws {
    for blockSize in [1, 3, 6, 12, 20, 24] {
      let (buffer, pool) = try memory.pool(blocks: 3000, blockSize: blockSize)
      let allocator = pool.allocator
      var random = SplitMix64(seed: UInt64(blockSize))
      var live: [(UnsafeMutableRawPointer, Int, UInt64)] = []
      for step in 0..<2000 {
        let size = 1 + random.below(60)
        if live.count < 30, let pointer = allocator.allocate(UInt(size)) {
          live.append((pointer, size, random.next()))
        } else {
          let index = random.below(live.count), (pointer, old, tag) = live[index]
          guard step % 3 > 0 else {
            allocator.deallocate(pointer)
            live.remove(at: index)
            continue
          }
          guard let moved = allocator.reallocate(pointer, UInt(size)) else { continue }
          #expect(Pattern.isIntact(moved, min(old, size), filled: old, tag))
          live[index] = (moved, size, tag)
          live.swapAt(index, live.count - 1)
        }
        let (pointer, count, tag) = live[live.count - 1]
        #expect(UInt(bitPattern: pointer) % 8 == 0, "blocks of \(blockSize)")
        Pattern.fill(pointer, count, tag)
      }
      #expect(pool.checkInvariants() && buffer.isGuarded)
    }
  }

  /// The fallback's memory may be an object of the pool itself: then its objects lie in the pool's blocks, and are told from them.
  @Test func aFallbackInsideOfThePool() throws {
    let (buffer, pool) = try memory.pool(blocks: 200, blockSize: 16)
    let inner = try #require(
      BufferPoolPointer.make(in: try pool.allocate(2000), 2000, blockSize: 16))
    #expect(try pool.setFallback(inner.allocator))
    while try !pool.isFull() { _ = try pool.allocate(16) }
    let object = try pool.allocate(100)
    #expect(pool.owns(object) && inner.owns(object))
    #expect(try pool.usableSize(of: object) == 100)
    let moved = try #require(try pool.reallocate(object, 300))
    #expect(try inner.owns(moved) && pool.statistics().liveFallbacks == 1)
    try pool.deallocate(moved)
    #expect(throws: BufferPoolError.interior) { try pool.deallocate(moved) }
    #expect(try inner.statistics().objects == 0 && pool.checkInvariants() && inner.checkInvariants())
    #expect(buffer.isGuarded)
  }

  /// What C programs may pass to the function of an allocator: nothing to give back, and sizes that no Int holds.
  @Test func theFunctionOfAnAllocator() throws {
    let (_, pool) = try memory.pool(blocks: 20, blockSize: 16)
    let region = try #require(RegionPointer.make(in: memory.buffer(500).start, 500))
    for allocator in [RawAllocator.system, MemoryPoolPointer.shared.allocator, pool.allocator, region.allocator] {
      #expect(allocator.resize(allocator.state, nil, 0) == nil)
      #expect(allocator.resize(allocator.state, nil, -1) == nil)
      #expect(allocator.allocate(.max) == nil && allocator.allocate(UInt(Int.max)) == nil)
      let object = try #require(allocator.allocate(0))
      Pattern.fill(object, 1, 6)
      #expect(allocator.resize(allocator.state, object, -1) == nil)
      #expect(allocator.reallocate(object, .max) == nil && allocator.reallocate(object, 1 << 62) == nil)
      #expect(Pattern.isIntact(object, 1, 6))
      let larger = try #require(allocator.reallocate(object, 100))
      #expect(Pattern.isIntact(larger, 1, 6))
      allocator.deallocate(larger)
    }
    #expect(try pool.statistics().objects == 0)
  }

  @Test("B6: where the lock is refused, every call fails, changes nothing and does not ask the fallback")
  func aRefusedLock() throws {
    final class State: @unchecked Sendable {
      var held = 0
      var taken = 0
      var refuses = false
    }
    let state = State(), system = memory.allocator()
    let hook = LockHook(
      lock: { state in
        let state = Unmanaged<State>.fromOpaque(state!).takeUnretainedValue()
        if state.refuses { return 1 }
        state.held += 1
        state.taken += 1
        return 0
      },
      unlock: { state in Unmanaged<State>.fromOpaque(state!).takeUnretainedValue().held -= 1 },
      state: Unmanaged.passUnretained(state).toOpaque())
    let buffer = memory.buffer(1000)
    let pool = try #require(buffer.pool(fallback: system.raw, lock: hook))
    #expect(state.taken == 0)
    let object = try pool.allocate(100)
    let large = try pool.allocate(1 << 20)
    try pool.deallocate(large)
    #expect(throws: BufferPoolError.free) { try pool.deallocate(object + 104) }
    #expect(throws: BufferPoolError.foreign) { try pool.reallocate(large, 5) }
    _ = try pool.reallocate(object, 200)
    #expect(state.held == 0 && state.taken == 6)

    let calls = system.calls
    state.refuses = true
    #expect(throws: BufferPoolError.lockRefused) { try pool.allocate(1) }
    #expect(throws: BufferPoolError.lockRefused) { try pool.allocate(1 << 20) }
    #expect(throws: BufferPoolError.lockRefused) { try pool.allocateZeroed(count: 1, byteCount: 1) }
    #expect(throws: BufferPoolError.lockRefused) { try pool.reallocate(object, 300) }
    #expect(throws: BufferPoolError.lockRefused) { try pool.reallocate(object, 0) }
    #expect(throws: BufferPoolError.lockRefused) { try pool.deallocate(object) }
    #expect(throws: BufferPoolError.lockRefused) { try pool.usableSize(of: object) }
    #expect(throws: BufferPoolError.lockRefused) { try pool.drain() }
    #expect(throws: BufferPoolError.lockRefused) { try pool.statistics() }
    #expect(throws: BufferPoolError.lockRefused) { try pool.isFull() }
    #expect(throws: BufferPoolError.lockRefused) { try pool.setFallback(nil) }
    #expect(pool.owns(object) && pool.allocator.allocate(1) == nil)
    #expect(state.held == 0 && system.calls == calls)

    state.refuses = false
    let now = try pool.statistics()
    #expect(now.objects == 1 && now.blocksUsed == 25)
    try pool.deallocate(object)
    #expect(pool.checkInvariants() && buffer.isGuarded && state.held == 0)
  }
}
