import Foundation
import Mempool
import Testing

@Suite struct MemoryPoolTests {
  static let sizes = [0, 1, 8, 15, 16, 17, 100, 255, 256, 512, 3200, 4096, 5000, 65_536, 1 << 20, 3 << 20]

  @Test(arguments: sizes)
  func everyByteIsTheCallers(byteCount: Int) throws {
    let pool = MemoryPool.shared
    var pointers: [UnsafeMutableRawPointer] = []
    for round in 0..<8 {
      let pointer = try pool.allocate(byteCount: byteCount)
      let usable = pool.usableSize(of: pointer)
      #expect(usable >= byteCount)
      memset(pointer, Int32(round + 1), usable)
      pointers.append(pointer)
    }
    #expect(Set(pointers).count == pointers.count)
    for (round, pointer) in pointers.enumerated() {
      let bytes = UnsafeRawBufferPointer(start: pointer, count: pool.usableSize(of: pointer))
      #expect(bytes.allSatisfy { $0 == UInt8(round + 1) })
      pool.deallocate(pointer)
    }
    pool.deallocate(nil)
  }

  @Test(arguments: [1, 2, 4, 8, 16, 32, 64, 256, 4096, 16_384, 65_536])
  func alignmentIsKept(alignment: Int) throws {
    let pool = MemoryPool.shared
    for byteCount in Self.sizes {
      let pointer = try pool.allocate(byteCount: byteCount, alignment: alignment)
      let real = byteCount >= 16 ? max(alignment, 16) : alignment
      #expect(UInt(bitPattern: pointer) % UInt(real) == 0, "\(byteCount) bytes")
      pool.deallocate(pointer)
    }
  }

  @Test func aDensePoolKeepsAlignmentOfAFewBytes() throws {
    let pool = try MemoryPool(PoolOptions(smallObjects: .dense))
    for byteCount in 0..<20 {
      for alignment in [1, 2, 4, 8, 16] {
        let pointers = try (0..<5).map { _ in try pool.allocate(byteCount: byteCount, alignment: alignment) }
        for pointer in pointers {
          #expect(UInt(bitPattern: pointer) % UInt(alignment) == 0, "\(byteCount) bytes, \(alignment)")
          pool.deallocate(pointer)
        }
      }
    }
  }

  @Test func zeroedMemoryIsZero() throws {
    let pool = MemoryPool.shared
    for byteCount in Self.sizes {
      for _ in 0..<4 {
        let pointer = try pool.allocateZeroed(byteCount: byteCount)
        #expect(UnsafeRawBufferPointer(start: pointer, count: byteCount).allSatisfy { $0 == 0 })
        memset(pointer, 0xff, byteCount)
        pool.deallocate(pointer)
      }
    }
  }

  @Test func reallocationKeepsTheBeginning() throws {
    let pool = MemoryPool.shared
    for old in Self.sizes {
      for new in Self.sizes {
        var pointer = try pool.allocate(byteCount: old)
        for index in 0..<old {
          pointer.storeBytes(of: UInt8(truncatingIfNeeded: index &* 7), toByteOffset: index, as: UInt8.self)
        }
        pointer = try pool.reallocate(pointer, byteCount: new)
        let kept = UnsafeRawBufferPointer(start: pointer, count: min(old, new))
        #expect(kept.indices.allSatisfy { kept[$0] == UInt8(truncatingIfNeeded: $0 &* 7) }, "\(old) to \(new)")
        #expect(pool.usableSize(of: pointer) >= new)
        pool.deallocate(pointer)
      }
    }
  }

  @Test func whatNoPoolCanHaveIsAnError() throws {
    let pool = MemoryPool.shared
    #expect(throws: PoolError.invalidArgument) { try pool.allocate(byteCount: -1) }
    #expect(throws: PoolError.invalidArgument) { try pool.allocateZeroed(byteCount: -1) }
    for alignment in [0, -8, 3, 24, Int.min] {
      #expect(throws: PoolError.invalidArgument) { try pool.allocate(byteCount: 8, alignment: alignment) }
    }
    #expect(throws: PoolError.invalidArgument) { try pool.allocate(Int.self, count: -1) }
    #expect(throws: PoolError.invalidArgument) { try pool.allocate(Int.self, count: .max / 2) }
    #expect(throws: PoolError.outOfMemory) { try pool.allocate(byteCount: .max - 64) }
    let pointer = try pool.allocate(byteCount: 100)
    memset(pointer, 42, 100)
    #expect(throws: PoolError.invalidArgument) { try pool.reallocate(pointer, byteCount: -1) }
    #expect(throws: PoolError.outOfMemory) { try pool.reallocate(pointer, byteCount: .max - 64) }
    #expect(UnsafeRawBufferPointer(start: pointer, count: 100).allSatisfy { $0 == 42 })
    pool.deallocate(pointer)
  }

  @Test func typedRoomIsAligned() throws {
    let room = try MemoryPool.shared.allocate(SIMD16<Float>.self, count: 10)
    #expect(room.count == 10)
    #expect(Int(bitPattern: room.baseAddress) % MemoryLayout<SIMD16<Float>>.alignment == 0)
    room.initialize(repeating: SIMD16(repeating: 1))
    MemoryPool.shared.deallocate(room.baseAddress)
  }

  @Test func badOptionsAreErrors() {
    #expect(throws: PoolError.invalidArgument) { try MemoryPool(PoolOptions(backing: .fixed(byteCount: 0))) }
    #expect(throws: PoolError.invalidArgument) { try MemoryPool(PoolOptions(backing: .elastic(reserve: -1))) }
    #expect(throws: PoolError.invalidArgument) { try MemoryPool(PoolOptions(maxRetries: -1)) }
    #expect(throws: PoolError.invalidArgument) { try MemoryPool(PoolOptions(waitTime: .nanoseconds(-1))) }
    #expect(throws: PoolError.invalidArgument) { try MemoryPool(PoolOptions(purgeDelay: .seconds(Int64.max))) }
  }

  @Test func threadsHandMemoryToEachOther() throws {
    let pool = MemoryPool.shared
    final class Box: @unchecked Sendable {
      var pointers: [UnsafeMutableRawPointer] = []
      var isIntact = true
    }
    let box = Box()
    for round in 0..<8 {
      onAThreadThatExits {
        for pointer in box.pointers {
          let bytes = UnsafeRawBufferPointer(start: pointer, count: 100)
          if !bytes.allSatisfy({ $0 == UInt8(round) }) { box.isIntact = false }
          pool.deallocate(pointer)
        }
        box.pointers = (0..<1000).compactMap { _ in try? pool.allocate(byteCount: 100) }
        for pointer in box.pointers { memset(pointer, Int32(round + 1), 100) }
      }
      #expect(box.pointers.count == 1000)
    }
    for pointer in box.pointers { pool.deallocate(pointer) }
    #expect(box.isIntact)
  }
}
