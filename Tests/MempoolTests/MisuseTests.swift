import Foundation
import Mempool
import Testing

/// Misuse of the Swift face: the exact line, in a process of its own, and SIGABRT. The engine's own tests and `CrashTests` go through
/// all kinds of it; here each call that takes a pointer says its own name, also on a thread that is not the owner's.
@Suite struct MisuseTests {
  private func expect(_ result: ExitTest.Result?, _ call: String, _ what: String) {
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    let lines = text.split(separator: "\n").filter { $0.hasPrefix("mempool: ") }
    let isIt = lines.count == 1 && lines[0].hasPrefix("mempool: \(call)(0x") && lines[0].hasSuffix("): \(what)")
    #expect(isIt, "\(call): \(what)\n\(text)")
  }

  @Test("T24: a second deallocation, by the owner, by another thread, and when the owner has exited")
  func doubleFrees() async {
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let bytes = try MemoryPool.shared.allocate(byteCount: 100)
        MemoryPool.shared.deallocate(bytes)
        MemoryPool.shared.deallocate(bytes)
      }, "deallocate", "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        nonisolated(unsafe) let bytes = try MemoryPool.shared.allocate(byteCount: 100)
        MemoryPool.shared.deallocate(bytes)
        onAThreadThatExits { MemoryPool.shared.deallocate(bytes) }
      }, "deallocate", "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try MemoryPool()
        nonisolated(unsafe) var bytes: [UnsafeMutableRawPointer] = []
        onAThreadThatExits { bytes = (0..<2).map { _ in try! pool.allocate(byteCount: 100) } }
        pool.deallocate(bytes[0])
        pool.deallocate(bytes[0])
      }, "deallocate", "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let elements = try MemoryPool.shared.allocate(Int.self, count: 10_000)
        MemoryPool.shared.deallocate(elements.baseAddress)
        MemoryPool.shared.deallocate(elements.baseAddress)
      }, "deallocate", "double free, or never allocated")
  }

  @Test func useAfterFree() async {
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let bytes = try MemoryPool.shared.allocate(byteCount: 100)
        MemoryPool.shared.deallocate(bytes)
        _ = try MemoryPool.shared.reallocate(bytes, byteCount: 200)
      }, "reallocate", "use after free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        nonisolated(unsafe) let bytes = try MemoryPool.shared.allocate(byteCount: 100)
        MemoryPool.shared.deallocate(bytes)
        onAThreadThatExits { _ = MemoryPool.shared.usableSize(of: bytes) }
      }, "usableSize", "use after free")
  }

  @Test("T13: interior and foreign pointers, and memory of another pool, of one that is gone too")
  func pointersThatAreNoObjects() async {
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        MemoryPool.shared.deallocate(try MemoryPool.shared.allocate(byteCount: 100) + 16)
      }, "deallocate", "not the start of an object")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        MemoryPool.shared.deallocate(UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 16))
      }, "deallocate", "not memory of this allocator")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try MemoryPool()
        let bytes = try pool.allocate(byteCount: 100)
        _ = try MemoryPool.shared.reallocate(bytes, byteCount: 200)
      }, "reallocate", "memory of another pool")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        func bytesOfAPoolThatGoes() throws -> UnsafeMutableRawPointer {
          try MemoryPool(PoolOptions(backing: .fixed(byteCount: 4 << 20))).allocate(byteCount: 100)
        }
        MemoryPool.shared.deallocate(try bytesOfAPoolThatGoes())
      }, "deallocate", "not memory of this allocator")
  }

  @Test("T14, T24: pieces of a raw cache, and the place of a typed one's item")
  func caches() async {
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let cache = try RawSlabCache(itemSize: 40)
        let piece = try cache.allocate()
        cache.deallocate(piece)
        cache.deallocate(piece)
      }, "RawSlabCache.deallocate", "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let cache = try RawSlabCache(itemSize: 40)
        nonisolated(unsafe) let piece = try cache.allocate()
        onAThreadThatExits { cache.deallocate(piece) }
        cache.deallocate(piece)
      }, "RawSlabCache.deallocate", "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let cache = try RawSlabCache(itemSize: 40)
        nonisolated(unsafe) let pieces = try cache.allocateArray(5)
        cache.deallocateArray(pieces, 5)
        onAThreadThatExits { cache.deallocateArray(pieces, 5) }
      }, "RawSlabCache.deallocateArray", "double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let cache = try RawSlabCache(itemSize: 40)
        cache.deallocateArray(try cache.allocate(), cache.arrayCapacity + 1)
      }, "RawSlabCache.deallocateArray", "not so many items")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let cache = try RawSlabCache(itemSize: 40)
        cache.deallocate(try cache.allocate() + 8)
      }, "RawSlabCache.deallocate", "not the start of an item")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let (cache, other) = (try RawSlabCache(itemSize: 40), try RawSlabCache(itemSize: 40))
        cache.deallocate(try other.allocate())
      }, "RawSlabCache.deallocate", "an item of another cache")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        try RawSlabCache(itemSize: 40).deallocate(try MemoryPool.shared.allocate(byteCount: 40))
      }, "RawSlabCache.deallocate", "not an item of a slab cache")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        _ = try RawSlabCache(itemSize: 40).allocate()
      }, "RawSlabCache.deinit", "1 item is still out")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        var item = try SlabCache<Int>().make(1)
        withUnsafeMutablePointer(to: &item.value) { MemoryPool.shared.deallocate($0) }
      }, "deallocate", "an item of a slab cache: only the cache takes it back")
  }
}
