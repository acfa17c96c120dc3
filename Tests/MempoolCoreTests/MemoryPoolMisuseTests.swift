import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// What ends the process: misuse of a pool, by the line that it prints, and exhaustion where that was asked for.
@Suite struct MemoryPoolMisuseTests {
  @Test("T15: a pool may be told to abort when it is exhausted")
  func exhaustionAborts() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      var options = PoolOptions()
      options.backing = .fixed(size: 1 << 20, locked: false, prefault: false)
      options.exhaustion = .abort
      let pool = try MemoryPoolPointer.create(options)
      while true { _ = pool.allocate(1000) }
    }
    #expect(lines(result).contains("mempool: allocate(1000): out of memory"))
  }

  @Test func destroyingTheSharedPoolAborts() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      MemoryPoolPointer.shared.destroy()
    }
    let isSaid = lines(result).contains {
      $0.hasPrefix("mempool: mp_pool_destroy(0x") && $0.hasSuffix("): the shared pool cannot be destroyed")
    }
    #expect(isSaid, "\(lines(result))")
  }

  /// Each kind of misuse of a pool, by the line that it prints.
  @Test("T13, T24: double frees, interior and foreign pointers are reported by what is wrong")
  func misuse() async {
    func line(_ result: ExitTest.Result?, _ end: String) {
      let found = lines(result).contains { $0.hasPrefix("mempool: deallocate(0x") && $0.hasSuffix("): " + end) }
      #expect(found, "\(end): \(lines(result))")
    }
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let pointer = pool.allocate(100)
        pool.deallocate(pointer)
        pool.deallocate(pointer)
      }, "double free")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let pointer = pool.allocate(9_000)
        pool.deallocate(pointer)
        pool.deallocate(pointer)
      }, "double free")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let pointer = pool.allocate(40_000)
        pool.deallocate(pointer)
        pool.deallocate(pointer)
      }, "double free, or never allocated")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let pointer = pool.allocate(34 << 20)
        pool.deallocate(pointer)
        pool.deallocate(pointer)
      }, "double free")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        // Something is in the way of one of them, or it has grown in place.
        let spans = (0..<8).map { _ in pool.allocate(34 << 20)! }
        let moved = spans.first { pool.reallocate($0, 400 << 20) != $0 }
        pool.deallocate(moved)
      }, "double free")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        // So long ago that it is forgotten; its place is not the later ones'.
        let pointer = pool.allocate(64 << 20)
        pool.deallocate(pointer)
        for _ in 0..<40 { pool.deallocate(pool.allocateAligned(34 << 20, alignment: 128 << 20)) }
        pool.deallocate(pointer)
      }, "not memory of this allocator")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        pool.deallocate(pool.allocate(100)! + 16)
      }, "not the start of an object")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        pool.deallocate(pool.allocate(50_000)! + 20_000)
      }, "not the start of an object")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        pool.deallocate(pool.allocate(34 << 20)! + 2 << 20)
      }, "not the start of an object")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        pool.deallocate(try TestPool(.elastic).keptPool.allocate(100))
      }, "memory of another pool")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        pool.deallocate(UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 16))
      }, "not memory of this allocator")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let pointer = Shared(pool.allocate(100)), shared = Shared(pool)
        TestThread.run { shared.value.deallocate(pointer.value) }
        pool.deallocate(pointer.value)
      }, "double free")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let pointer = Shared(pool.allocate(100)), shared = Shared(pool)
        TestThread.run { shared.value.deallocate(pointer.value) }
        TestThread.run { shared.value.deallocate(pointer.value) }
      }, "double free")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let pointer = Shared(pool.allocate(100)), shared = Shared(pool)
        pool.deallocate(pointer.value)
        TestThread.run { shared.value.deallocate(pointer.value) }
      }, "double free")
  }

  @Test("T14: the wrong way to give memory back is told by what the memory is")
  func wrongDeallocator() async {
    func line(_ result: ExitTest.Result?, _ call: String, _ end: String) {
      let found = lines(result).contains { $0.hasPrefix("mempool: \(call)(0x") && $0.hasSuffix("): " + end) }
      #expect(found, "\(end): \(lines(result))")
    }
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        pool.deallocate(try pool.makeCache(itemSize: 24).take())
      }, "deallocate", "an item of a slab cache: only the cache takes it back")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        try pool.makeCache(itemSize: 24).put(pool.allocate(24))
      }, "put", "not an item of a slab cache")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        try pool.makeCache(itemSize: 24).put(pool.allocate(10_000))
      }, "put", "not an item of a slab cache")
    line(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try TestPool(.elastic).keptPool
        let item = try pool.makeCache(itemSize: 24).take()
        try pool.makeCache(itemSize: 24).put(item)
      }, "put", "an item of another cache")
  }
}

extension TestPool {
  /// The pool, kept for the rest of the process.
  var keptPool: MemoryPoolPointer {
    _ = Unmanaged.passRetained(self)
    return pool
  }
}
