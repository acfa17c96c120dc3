import Foundation
import Mempool
import Testing

@Suite struct BufferPoolFaceTests {
  @Test func inMemoryOfTheStack() throws {
    var memory = InlineArray<512, UInt64>(repeating: 0)
    try withUnsafeMutableBytes(of: &memory) { bytes in
      let pool = try BufferPool(in: bytes, blockSize: 16)
      let first = try pool.allocate(byteCount: 100)
      #expect(Int(bitPattern: first) % 16 == 0 && pool.owns(first) && pool.usableSize(of: first) == 112)
      memset(first, 7, 100)
      let grown = try pool.reallocate(first, byteCount: 1000)
      #expect(grown == first)
      #expect(try pool.reallocate(grown, byteCount: 50) == first)
      let zero = try pool.allocateZeroed(byteCount: 60)
      #expect(UnsafeRawBufferPointer(start: zero, count: 60).allSatisfy { $0 == 0 })
      let aligned = try pool.allocate(byteCount: 5, alignment: 64)
      #expect(Int(bitPattern: aligned) % 64 == 0)
      var now = try pool.statistics()
      #expect(now.objects == 3 && now.blocksUsed == 4 + 4 + 1 && now.blockSize == 16 && now.memorySize == 4096)
      #expect(now.overhead <= 208 + (now.blockCount + 3) / 4 && now.peakBlocksUsed == 63)
      #expect(now.requestedBytes == 100 + 1000 + 50 + 60 + 5 && now.misses == 0 && now.fallbacks == 0)
      #expect(try pool.map().contains("####") == false && pool.map().contains("#---"))
      #expect(throws: PoolError.outOfMemory) { try pool.allocate(byteCount: 5000) }
      #expect(throws: PoolError.outOfMemory) { try pool.reallocate(first, byteCount: 5000) }
      #expect(throws: PoolError.invalidArgument) { try pool.allocate(byteCount: -1) }
      #expect(throws: PoolError.invalidArgument) { try pool.allocate(byteCount: 1, alignment: 3) }
      #expect(throws: PoolError.invalidArgument) { try pool.reallocate(first, byteCount: 0) }
      pool.deallocate(first)
      pool.deallocate(nil)
      #expect(pool.usableSize(of: nil) == 0)
      pool.drain()
      now = try pool.statistics()
      #expect(now.objects == 0 && now.largestRun == now.blockCount && now.misses == 2)
      let same = pool
      #expect(same == pool)
    }
  }

  @Test func whatNoPoolCanHaveIsAnError() throws {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16)
    defer { bytes.deallocate() }
    for blockSize in [0, -1, 1000, Int.max] {
      #expect(throws: PoolError.invalidArgument) { try BufferPool(in: bytes, blockSize: blockSize) }
    }
    #expect(throws: PoolError.invalidArgument) {
      try BufferPool(in: UnsafeMutableRawBufferPointer(rebasing: bytes[..<100]))
    }
    #expect(throws: PoolError.invalidArgument) {
      try BufferPool(in: UnsafeMutableRawBufferPointer(start: nil, count: 0))
    }
    let byteCount = try #require(BufferPool.byteCount(forBlocks: 30, blockSize: 16))
    let pool = try BufferPool(in: UnsafeMutableRawBufferPointer(rebasing: bytes[..<byteCount]), blockSize: 16)
    #expect(try pool.statistics().blockCount >= 30)
    #expect(BufferPool.byteCount(forBlocks: 0) == nil && BufferPool.byteCount(forBlocks: .max) == nil)
  }

  @Test func fallbacksAndStacks() throws {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
    defer { bytes.deallocate() }
    let region = try Region(in: UnsafeMutableRawBufferPointer(rebasing: bytes[2048...]))
    let own = try MemoryPool()
    for fallback in [.system, region.allocator, own.allocator, MemoryPool.shared.allocator] {
      let pool = try BufferPool(
        in: UnsafeMutableRawBufferPointer(rebasing: bytes[..<1024]), blockSize: 16, fallback: fallback)
      let small = try pool.allocate(byteCount: 10)
      let large = try pool.allocate(byteCount: 1500)
      #expect(pool.owns(small) && !pool.owns(large))
      memset(large, 1, 1500)
      #expect(try pool.statistics().liveFallbacks == 1 && pool.statistics().fallbacks == 1)
      pool.drain()
      #expect(try pool.statistics().liveFallbacks == 0)
    }
    #expect(region.mark >= 1500)
    let lower = try BufferPool(in: UnsafeMutableRawBufferPointer(rebasing: bytes[1024..<2048]))
    let upper = try BufferPool(
      in: UnsafeMutableRawBufferPointer(rebasing: bytes[..<1024]), fallback: lower.allocator)
    var count = 0
    while (try? upper.allocate(byteCount: 100)) != nil { count += 1 }
    #expect(try count > 10 && lower.statistics().objects == upper.statistics().liveFallbacks)
    upper.drain()
    #expect(try lower.statistics().objects == 0)
    withExtendedLifetime(own) {}
  }

  @Test func anAllocatorAndALockOfOnesOwn() throws {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 16)
    defer { bytes.deallocate() }
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    defer { mutex.deallocate() }
    pthread_mutex_init(mutex, nil)
    let lock = LockHook(
      state: mutex,
      lock: { pthread_mutex_trylock($0!.assumingMemoryBound(to: pthread_mutex_t.self)) },
      unlock: { pthread_mutex_unlock($0!.assumingMemoryBound(to: pthread_mutex_t.self)) })
    let refusing = RawAllocator(state: nil) { _, _, _ in nil }
    let pool = try BufferPool(in: bytes, fallback: refusing, lock: lock)
    let object = try pool.allocate(byteCount: 10)
    #expect(throws: PoolError.outOfMemory) { try pool.allocate(byteCount: 10_000) }
    pthread_mutex_lock(mutex)
    #expect(throws: PoolError.lockRefused) { try pool.allocate(byteCount: 10) }
    #expect(throws: PoolError.lockRefused) { try pool.reallocate(object, byteCount: 10) }
    #expect(throws: PoolError.lockRefused) { try pool.statistics() }
    #expect(throws: PoolError.lockRefused) { try pool.map() }
    #expect("\(PoolError.lockRefused)" == "the pool's lock was refused")
    pthread_mutex_unlock(mutex)
    pool.deallocate(object)
  }

  @Test func regions() throws {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16)
    defer { bytes.deallocate() }
    let region = try Region(in: bytes)
    #expect(region.capacity == 1000 - 48)
    let first = try region.allocate(byteCount: 3, alignment: 1)
    #expect(try region.allocate(byteCount: 3, alignment: 1) == first + 3)
    let mark = region.mark
    let zero = try region.allocateZeroed(byteCount: 100)
    #expect(UnsafeRawBufferPointer(start: zero, count: 100).allSatisfy { $0 == 0 } && Int(bitPattern: zero) % 16 == 0)
    #expect(region.owns(zero) && region.mark == 116 && region.peak == 116)
    region.reset(to: mark)
    #expect(!region.owns(zero) && region.mark == 6)
    #expect(throws: PoolError.outOfMemory) { try region.allocate(byteCount: 1000) }
    #expect(throws: PoolError.invalidArgument) { try region.allocate(byteCount: -1) }
    #expect(throws: PoolError.invalidArgument) { try region.allocate(byteCount: 1, alignment: 0) }
    #expect(throws: PoolError.invalidArgument) { try Region(in: UnsafeMutableRawBufferPointer(rebasing: bytes[..<48])) }
    region.reset()
    #expect(region.mark == 0 && region.peak == 116)
  }

  @Test func books() throws {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
    defer { bytes.deallocate() }
    let pool = try BufferPool(in: bytes, blockSize: 16)
    do {
      let book = try Book(pieceSize: 6, piecesPerPage: 20, from: pool.allocator)
      var pieces = try (0..<100).map { _ in try book.allocate() }
      #expect(try book.count().pieces == 100 && book.count().pages >= 4 && book.owns(pieces[7]) && !book.owns(nil))
      book.isVacuumedAlways = true
      for piece in pieces.dropFirst() { book.deallocate(piece) }
      #expect(try book.isVacuumedAlways && book.count() == (1, 1))
      book.isVacuumedAlways = false
      try book.addPage()
      #expect(try book.vacuum() == 1 && book.count() == (1, 1))
      pieces = []
      while (try? book.allocate()) != nil {}
      #expect(throws: PoolError.outOfMemory) { try book.addPage() }
    }
    #expect(try pool.statistics().objects == 0)
    for (size, count) in [(0, 1), (1, 0), (-1, 5), (Int.max, 2)] {
      #expect(throws: PoolError.invalidArgument) { try Book(pieceSize: size, piecesPerPage: count) }
    }
  }

  private func expect(_ result: ExitTest.Result?, _ call: String, _ what: String) {
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    let lines = text.split(separator: "\n").filter { $0.hasPrefix("mempool: ") }
    let isIt = lines.count == 1 && lines[0].hasPrefix("mempool: \(call)(0x") && lines[0].hasSuffix("): \(what)")
    #expect(isIt, "\(call): \(what)\n\(text)")
  }

  @Test("B5, B9: misuse ends the process with a line that says why")
  func misuse() async {
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16)
        let pool = try BufferPool(in: bytes)
        let object = try pool.allocate(byteCount: 100)
        pool.deallocate(object)
        pool.deallocate(object)
      }, "BufferPool.deallocate", "double free, or never allocated")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16)
        let pool = try BufferPool(in: bytes)
        pool.deallocate(try pool.allocate(byteCount: 100) + 8)
      }, "BufferPool.deallocate", "not the start of an object")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16)
        let pool = try BufferPool(in: bytes, fallback: .system)
        _ = try pool.reallocate(try MemoryPool.shared.allocate(byteCount: 100), byteCount: 200)
      }, "BufferPool.reallocate", "not memory of this pool")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16)
        let pool = try BufferPool(in: bytes)
        let object = try pool.allocate(byteCount: 100)
        pool.drain()
        _ = pool.usableSize(of: object)
      }, "BufferPool.usableSize", "use after free, or never allocated")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16)
        let lock = LockHook(state: nil, lock: { _ in 1 }, unlock: { _ in })
        try BufferPool(in: bytes, lock: lock).drain()
      }, "BufferPool.drain", "the lock was refused")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let region = try Region(in: UnsafeMutableRawBufferPointer.allocate(byteCount: 1000, alignment: 16))
        region.reset(to: 1)
      }, "Region.reset", "a mark ahead of now")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let book = try Book(pieceSize: 24, piecesPerPage: 10)
        let piece = try book.allocate()
        book.deallocate(piece)
        book.deallocate(piece)
      }, "Book.deallocate", "double free, or never allocated")
  }
}
