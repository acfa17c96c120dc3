import Testing

@testable import MempoolCore

@Suite struct BufferPoolTests {
  private let memory = TestMemory()

  /// The bookkeeping is what it is said to be, for any block size and wherever the memory begins, and what is left over is less
  /// than a block with its bits.
  @Test(arguments: [1, 2, 4, 6, 8, 16, 24, 64, 100, 128, 1000])
  func bookkeeping(blockSize: Int) throws {
    #expect(MemoryLayout<BufferPool>.size <= Int(BlockLayout.recordBytes))
    #expect(MemoryLayout<FallbackTree.Header>.size == 32)
    for shift in 0..<16 {
      for byteCount in [200, 255, 256, 300, 1000, 1500, 4096, 8000, 70000] {
        let buffer = memory.buffer(byteCount, shift: shift)
        guard let pool = buffer.pool(blockSize: blockSize) else {
          #expect(byteCount < 208 + 16 + blockSize)
          continue
        }
        let now = try pool.statistics()
        #expect(now.blockSize == UInt(blockSize) && now.memorySize == UInt(byteCount) && now.blocksUsed == 0)
        // Two bits a block, in whole bytes.
        #expect(now.overhead <= 208 + (now.blockCount + 3) / 4, "\(byteCount) bytes, shifted by \(shift)")
        let left = now.memorySize - now.overhead - now.blockCount * now.blockSize
        #expect(left < UInt(blockSize) + 16)
        #expect(now.largestRun == now.blockCount)
        #expect(pool.checkInvariants())
      }
    }
  }

  @Test func whatNoPoolCanHaveIsRefused() {
    let buffer = memory.buffer(4096)
    #expect(BufferPoolPointer.make(in: nil, 4096) == nil)
    #expect(BufferPoolPointer.make(in: buffer.start, 0) == nil)
    #expect(BufferPoolPointer.make(in: buffer.start, 4096, blockSize: 0) == nil)
    #expect(BufferPoolPointer.make(in: buffer.start, 4096, blockSize: 4096) == nil)
    #expect(BufferPoolPointer.make(in: buffer.start, .max) == nil)
    #expect(BufferPoolPointer.make(in: buffer.start, .max, blockSize: .max) == nil)
    #expect(BufferPoolPointer.make(in: UnsafeMutableRawPointer(bitPattern: UInt.max - 7), 4096) == nil)
    for byteCount in 0..<UInt(176 + 16 + 8) { #expect(BufferPoolPointer.make(in: buffer.start, byteCount) == nil) }
    #expect(BufferPoolPointer.make(in: buffer.start, 176 + 16 + 8)?.pointee.blockCount == 1)
  }

  @Test func theBytesForSoManyBlocksSuffice() throws {
    for blockSize in [UInt(1), 6, 8, 64, 100] {
      for blockCount in Array(UInt(1)...200) + [1000, 4096] {
        let byteCount = try #require(BufferPoolPointer.byteCount(blockCount: blockCount, blockSize: blockSize))
        for start in UInt(4096)...4111 {
          let layout = try #require(BlockLayout(start: start, byteCount: byteCount, blockSize: blockSize))
          #expect(layout.blockCount >= blockCount)
          #expect(layout.blocks + layout.blockCount * blockSize <= start + byteCount)
        }
      }
    }
    #expect(BufferPoolPointer.byteCount(blockCount: 0) == nil)
    #expect(BufferPoolPointer.byteCount(blockCount: .max) == nil)
    #expect(BufferPoolPointer.byteCount(blockCount: 2, blockSize: .max) == nil)
  }

  @Test("B2: growth next to a live object moves, growth into free blocks does not")
  func growthNextToALiveObject() throws {
    for more in 1...20 {
      let (buffer, pool) = try memory.pool(blocks: 200)
      let first = try pool.allocate(40)
      let second = try pool.allocate(8)
      Pattern.fill(first, 40, 1)
      Pattern.fill(second, 8, 2)
      let grown = try #require(try pool.reallocate(first, UInt(40 + 8 * more)))
      #expect(grown != first)
      #expect(Pattern.isIntact(grown, 40, 1) && Pattern.isIntact(second, 8, 2))
      let again = try #require(try pool.reallocate(grown, UInt(80 + 8 * more)))
      #expect(again == grown)
      #expect(pool.checkInvariants() && buffer.isGuarded)
    }
  }

  @Test("B3: holes that fit exactly are reused, and single blocks come and go without end")
  func exactHoles() throws {
    for length in 1...70 {
      let (_, pool) = try memory.pool(blocks: 220)
      let first = try pool.allocate(UInt(8 * length))
      _ = try pool.allocate(8)
      try pool.deallocate(first)
      #expect(try pool.allocate(UInt(8 * length)) == first)
    }
    let (_, pool) = try memory.pool(blocks: 100)
    var live = try (0..<100).map { _ in try pool.allocate(8) }
    #expect(throws: BufferPoolError.outOfMemory) { try pool.allocate(1) }
    var random = SplitMix64(seed: 3)
    for _ in 0..<10_000 {
      let index = random.below(100)
      try pool.deallocate(live[index])
      live[index] = try pool.allocate(8)
    }
    #expect(Set(live).count == 100 && pool.checkInvariants())
  }

  @Test("B5: what starts no live object is refused, and nothing changes")
  func pointersThatAreNoObjects() throws {
    let (buffer, pool) = try memory.pool(blocks: 64, blockSize: 16)
    let object = try pool.allocate(100), freed = try pool.allocate(50), last = try pool.allocate(16)
    try pool.deallocate(freed)
    let before = UnsafeRawBufferPointer(start: buffer.start, count: buffer.byteCount).map { $0 }
    let wrong: [(UnsafeMutableRawPointer, BufferPoolError)] = [
      (freed, .free), (freed + 16, .free), (freed + 1, .free), (last + 16, .free), (object + 16, .interior),
      (object + 96, .interior), (object + 1, .interior), (object + 15, .interior), (object - 1, .foreign),
      (buffer.start, .foreign), (UnsafeMutableRawPointer(pool), .foreign),
      (object + 64 * 16, .foreign), (UnsafeMutableRawPointer(bitPattern: 8)!, .foreign),
      (UnsafeMutableRawPointer(bitPattern: UInt.max)!, .foreign),
    ]
    for (pointer, error) in wrong {
      #expect(throws: error) { try pool.deallocate(pointer) }
      #expect(throws: error) { try pool.reallocate(pointer, 8) }
      #expect(throws: error) { try pool.reallocate(pointer, 1000) }
      #expect(throws: error) { try pool.reallocate(pointer, 0) }
      #expect(throws: error) { try pool.usableSize(of: pointer) }
    }
    let after = UnsafeRawBufferPointer(start: buffer.start, count: buffer.byteCount).map { $0 }
    #expect(before == after)
    try pool.deallocate(object)
    #expect(throws: BufferPoolError.free) { try pool.deallocate(object) }
    try pool.deallocate(nil)
    #expect(try pool.usableSize(of: nil) == 0)
  }

  @Test("B9: ownership ends where the blocks end")
  func ownershipIsHalfOpen() throws {
    let (buffer, pool) = try memory.pool(blocks: 10, blockSize: 24)
    let first = try pool.allocate(1)
    #expect(pool.owns(first) && pool.owns(first + 1) && pool.owns(first + 239))
    #expect(!pool.owns(first - 1) && !pool.owns(first + 240) && !pool.owns(nil) && !pool.owns(buffer.start))
    #expect(throws: BufferPoolError.foreign) { try pool.deallocate(first + 240) }
    // Never handed out, and inside of what was: the count stays what it is.
    #expect(throws: BufferPoolError.free) { try pool.deallocate(first + 24) }
    #expect(throws: BufferPoolError.interior) { try pool.deallocate(first + 8) }
    #expect(try pool.statistics().objects == 1)
    try pool.deallocate(first)
    #expect(throws: BufferPoolError.free) { try pool.deallocate(first) }
    #expect(try pool.statistics().objects == 0)
  }

  @Test("B11: blocks used and bytes asked for are told apart, and an object grows with room for one copy only")
  func oneCopySuffices() throws {
    let (_, pool) = try memory.pool(blocks: 100, blockSize: 16)
    let small = try pool.allocate(1)
    var now = try pool.statistics()
    #expect(now.blocksUsed == 1 && now.requestedBytes == 1 && now.grantedBytes == 16)
    // Ten free blocks before it, sixty of its own, thirty behind a live one: it must move down by ten, onto itself.
    let before = try pool.allocate(9 * 16)
    let object = try pool.allocate(60 * 16)
    let behind = try pool.allocate(30 * 16)
    #expect(throws: BufferPoolError.outOfMemory) { try pool.allocate(1) }
    Pattern.fill(object, 960, 7)
    try pool.deallocate(small)
    try pool.deallocate(before)
    #expect(throws: BufferPoolError.outOfMemory) { try pool.reallocate(object, 71 * 16) }
    #expect(Pattern.isIntact(object, 960, 7) && pool.checkInvariants())
    let moved = try #require(try pool.reallocate(object, 70 * 16))
    #expect(moved == small && Pattern.isIntact(moved, 960, 7))
    now = try pool.statistics()
    #expect(now.blocksUsed == 100 && now.objects == 2 && now.misses == 2 && now.peakBlocksUsed == 100)
    try pool.deallocate(behind)
    #expect(try pool.reallocate(moved, 1600) == moved)
    // In place down as well, and what is cut off is free.
    #expect(try pool.reallocate(moved, 17) == moved)
    now = try pool.statistics()
    #expect(now.blocksUsed == 2 && now.largestRun == 98)
    #expect(pool.checkInvariants())
  }

  @Test("B7: blocks of a hundred bytes, a thousand of them, and more than 65535 bytes of others")
  func manyBytes() throws {
    for (blocks, blockSize) in [(1000, 100), (65536, 1), (70_000, 8), (3, 40_000)] {
      let (buffer, pool) = try memory.pool(blocks: blocks, blockSize: blockSize)
      let all = try (0..<blocks).map { _ in try pool.allocate(UInt(blockSize)) }
      #expect(throws: BufferPoolError.outOfMemory) { try pool.allocate(1) }
      for (number, object) in all.enumerated() {
        if number > 0, object < all[number - 1] + blockSize { Issue.record("\(object) overlaps the one before it") }
        object.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: number), count: blockSize)
      }
      #expect(try pool.isFull() && buffer.isGuarded && pool.checkInvariants())
      for object in all { try pool.deallocate(object) }
      #expect(try pool.statistics().blocksUsed == 0 && !pool.isFull())
    }
  }

  @Test("B4: neither making nor filling nor draining a pool writes beside its memory")
  func nothingBesideTheMemory() throws {
    for byteCount in 193..<600 {
      for blockSize in [1, 3, 8, 16] {
        let buffer = memory.buffer(byteCount, shift: byteCount % 17)
        guard let pool = buffer.pool(blockSize: blockSize) else { continue }
        #expect(buffer.isGuarded)
        var random = SplitMix64(seed: UInt64(byteCount))
        while let object = try? pool.allocate(UInt(random.below(3 * blockSize + 1))) {
          let size = try pool.usableSize(of: object)
          object.initializeMemory(as: UInt8.self, repeating: 0xff, count: Int(size))
        }
        #expect(buffer.isGuarded && pool.checkInvariants())
        try pool.drain()
        let now = try pool.statistics()
        #expect(now.objects == 0 && now.blocksUsed == 0 && now.largestRun == now.blockCount)
        let blocks = UnsafeRawPointer(bitPattern: pool.pointee.blocks)!
        #expect(Pattern.isZero(blocks, Int(now.blockCount * now.blockSize)))
        #expect(buffer.isGuarded && pool.checkInvariants())
      }
    }
  }

  @Test func alignment() throws {
    for (blockSize, natural) in [(1, 1), (6, 2), (8, 8), (12, 4), (16, 16), (24, 8), (48, 16), (64, 16)] {
      for shift in 0..<16 {
        let buffer = memory.buffer(6000, shift: shift)
        let pool = try #require(buffer.pool(blockSize: blockSize))
        for round in 0..<8 {
          let object = try pool.allocate(UInt(round * 3))
          #expect(UInt(bitPattern: object) % UInt(natural) == 0)
          for alignment in [UInt(1), 2, 4, 8, 16] {
            let aligned = try pool.allocate(UInt(round), alignment: alignment)
            #expect(UInt(bitPattern: aligned) % alignment == 0)
          }
        }
        #expect(pool.checkInvariants())
      }
    }
    let buffer = memory.buffer(40_000)
    let pool = try #require(buffer.pool(blockSize: 16))
    for alignment in [UInt(32), 64, 256, 4096] {
      let object = try pool.allocate(100, alignment: alignment)
      #expect(UInt(bitPattern: object) % alignment == 0)
      Pattern.fill(object, 100, 1)
      try pool.deallocate(object)
    }
    // At most one of these begins in the memory.
    #expect(throws: BufferPoolError.outOfMemory) {
      _ = try pool.allocate(16, alignment: 1 << 20)
      _ = try pool.allocate(16, alignment: 1 << 20)
    }
  }

  @Test func zeroBytesAndZeroedOnes() throws {
    let (_, pool) = try memory.pool(blocks: 100)
    let first = try pool.allocate(0), second = try pool.allocate(0)
    #expect(first != second)
    Pattern.fill(first, 8, 9)
    try pool.deallocate(first)
    let zero = try pool.allocateZeroed(count: 4, byteCount: 20)
    #expect(Pattern.isZero(zero, 80))
    #expect(throws: BufferPoolError.outOfMemory) { try pool.allocateZeroed(count: .max, byteCount: 2) }
    #expect(throws: BufferPoolError.outOfMemory) { try pool.allocate(.max) }
    #expect(throws: BufferPoolError.outOfMemory) { try pool.allocate(UInt(Int.max) + 1) }
    #expect(throws: BufferPoolError.outOfMemory) { try pool.reallocate(zero, .max) }
    #expect(try pool.reallocate(zero, 0) == nil)
    #expect(try pool.reallocate(nil, 5) != nil)
    #expect(try pool.reallocate(nil, 0) != nil)
    #expect(try pool.statistics().objects == 3)
  }

  @Test func aPoolIsWhereItWasMade() throws {
    let (_, pool) = try memory.pool(blocks: 10)
    #expect(pool.isSealed)
    let copy = UnsafeMutablePointer<BufferPool>.allocate(capacity: 1)
    defer { copy.deallocate() }
    copy.initialize(to: pool.pointee)
    #expect(!copy.isSealed)
  }

  @Test func theMapShowsTheBlocks() throws {
    let (_, pool) = try memory.pool(blocks: 70, blockSize: 16)
    let first = try pool.allocate(40)
    _ = try pool.allocate(1)
    try pool.deallocate(first)
    _ = try pool.allocate(17)
    var sink = BytesSink()
    try pool.write(to: &sink)
    let lines = sink.text.split(separator: "\n").map(String.init)
    #expect(lines.suffix(2) == ["#-.#" + String(repeating: ".", count: 60), "......"])
    #expect(lines.contains("blocks used             3"))
    #expect(lines.contains("longest free run       66"))
  }
}
