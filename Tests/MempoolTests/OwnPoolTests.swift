import Foundation
import Mempool
import Testing

@Suite struct OwnPoolTests {
  @Test func whatAPoolOwnsNoOtherDoes() throws {
    let (first, second) = (try MemoryPool(), try MemoryPool())
    for byteCount in [1, 100, 4096, 100_000, 2 << 20, 33 << 20] {
      let mine = try first.allocate(byteCount: byteCount)
      #expect(first.owns(mine) && !second.owns(mine) && !MemoryPool.shared.owns(mine), "\(byteCount) bytes")
      first.deallocate(mine)
    }
    var local = 0
    #expect(!withUnsafePointer(to: &local) { first.owns($0) || MemoryPool.shared.owns($0) })
  }

  /// More address space than a process can have, if the pools kept theirs.
  @Test func aPoolGivesEverythingBackAtItsEnd() throws {
    func mappedBytes() throws -> Int {
      let pool = try MemoryPool(PoolOptions(backing: .elastic(reserve: 1 << 40)))
      for byteCount in [8, 10_000, 3 << 20] { memset(try pool.allocate(byteCount: byteCount), 1, byteCount) }
      return pool.statistics().mappedBytes
    }
    let first = try mappedBytes()
    let count = (1 << 47) / first + 16
    for _ in 0..<min(count, 1000) { #expect(try mappedBytes() >= first / 2) }
  }

  @Test(arguments: [1 << 20, 8 << 20])
  func aFixedPoolEndsWithAnErrorAndGoesOn(byteCount: Int) throws {
    let pool = try MemoryPool(PoolOptions(backing: .fixed(byteCount: byteCount), maxRetries: 0))
    let mapCalls = pool.statistics().mapCalls
    for size in [64, 1000, 20_000] {
      var taken: [UnsafeMutableRawPointer] = []
      #expect(throws: PoolError.outOfMemory) {
        while taken.count <= byteCount / size { taken.append(try pool.allocate(byteCount: size)) }
      }
      #expect(taken.count * size > byteCount / 4, "\(taken.count) objects of \(size) bytes")
      #expect(pool.statistics().exhaustions > 0)
      for pointer in taken { pool.deallocate(pointer) }
      pool.deallocate(try pool.allocate(byteCount: size))
      pool.purge()
    }
    // Other tests of this process may map; this pool alone must not, which MEMPOOL_FIXED under strace shows. Here: no span.
    #expect(pool.statistics().spanCount == 0 && pool.statistics().mapCalls >= mapCalls)
  }

  @Test func aPoolInABufferStaysInIt() throws {
    let byteCount = 4 << 20
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 64)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 0xa5)
    let range = UInt(bitPattern: buffer.baseAddress)..<(UInt(bitPattern: buffer.baseAddress) + UInt(byteCount))
    let pool = try MemoryPool(in: buffer)
    for size in [1, 64, 1000, 50_000, 1 << 20] {
      let pointer = try pool.allocate(byteCount: size)
      #expect(range.contains(UInt(bitPattern: pointer)) && range.contains(UInt(bitPattern: pointer) + UInt(size) - 1))
      memset(pointer, 1, size)
      let zeroed = try pool.allocateZeroed(byteCount: size)
      #expect(UnsafeRawBufferPointer(start: zeroed, count: size).allSatisfy { $0 == 0 })
      pool.deallocate(zeroed)
      pool.deallocate(pointer)
    }
    #expect(throws: PoolError.outOfMemory) { try pool.allocate(byteCount: byteCount) }
    #expect(throws: PoolError.self) { try MemoryPool(in: UnsafeMutableRawBufferPointer(rebasing: buffer[..<100])) }
  }

  @Test func aPassThroughPoolAsksTheSystem() throws {
    let pool = try MemoryPool(PoolOptions(backing: .passThrough))
    var pointer = try pool.allocate(byteCount: 100)
    #expect(pool.usableSize(of: pointer) >= 100)
    pointer = try pool.reallocate(pointer, byteCount: 10_000)
    #expect(!MemoryPool.shared.owns(pointer))
    pointer = try pool.reallocate(pointer, byteCount: 0)
    pool.deallocate(pointer)
    let aligned = try pool.allocate(byteCount: 100, alignment: 256)
    #expect(UInt(bitPattern: aligned) % 256 == 0)
    pool.deallocate(aligned)
  }

  @Test func theStatisticsFollow() throws {
    let pool = try MemoryPool()
    let before = pool.statistics()
    let pointers = try (0..<1000).map { _ in try pool.allocate(byteCount: 100) }
    let large = try pool.allocate(byteCount: 40 << 20)
    let full = pool.statistics()
    #expect(full.generation > before.generation)
    #expect(full.requestedBytes - before.requestedBytes == 100 * 1000 + 40 << 20)
    #expect(full.allocatedBytes >= full.spanBytes + 100 * 1000 && full.spanBytes >= 40 << 20 && full.spanCount == 1)
    #expect(full.classes.first { $0.itemSize >= 100 }?.liveItems == 1000)
    #expect(full.brokenInvariant(isQuiescent: true) == nil)
    for pointer in pointers { pool.deallocate(pointer) }
    pool.deallocate(large)
    let empty = pool.statistics()
    #expect(empty.allocatedBytes == before.allocatedBytes && empty.spanCount == 0)
    #expect(empty.requestedBytes == full.requestedBytes)
    #expect(empty.peakActiveBytes >= full.activeBytes)
    #expect(empty.brokenInvariant(isQuiescent: true) == nil)
  }

  @Test func threadsShareAPool() throws {
    let pool = try MemoryPool()
    DispatchQueue.concurrentPerform(iterations: 16) { number in
      var mine: [UnsafeMutableRawPointer] = []
      for round in 0..<2000 {
        let byteCount = 1 + (round &* 31 &+ number) % 2000
        guard let pointer = try? pool.allocate(byteCount: byteCount) else { continue }
        memset(pointer, Int32(number), byteCount)
        mine.append(pointer)
        if round % 3 == 0 { pool.deallocate(mine.remove(at: round % mine.count)) }
      }
      for pointer in mine { pool.deallocate(pointer) }
    }
    let statistics = pool.statistics()
    #expect(statistics.allocatedBytes == 0)
    #expect(statistics.brokenInvariant(isQuiescent: true) == nil)
    pool.purge()
    #expect(pool.statistics().committedBytes <= statistics.committedBytes)
  }

  @Test func aPoolLivesWhileSomebodyRefersToIt() throws {
    final class Holder: Sendable {
      let pool: MemoryPool
      init(_ pool: MemoryPool) { self.pool = pool }
    }
    let holder = Holder(try MemoryPool())
    nonisolated(unsafe) var pointer: UnsafeMutableRawPointer?
    onAThreadThatExits { [pool = holder.pool] in pointer = try? pool.allocate(byteCount: 100) }
    let bytes = try #require(pointer)
    memset(bytes, 1, 100)
    #expect(holder.pool.owns(bytes))
    holder.pool.deallocate(bytes)
  }
}
