import Foundation
import Mempool
import Testing

@Suite struct CompactPoolFaceTests {
  private static let kinds: [CompactPoolOptions] = [
    CompactPoolOptions(),
    CompactPoolOptions(alignment: .eight, shardCount: 1),
    CompactPoolOptions(alignment: .sixteen, isMovable: true),
    CompactPoolOptions(backing: .file(window: 1 << 16), reservePages: 0),
  ]

  @Test(arguments: kinds)
  func objectsKeepTheirBytes(options: CompactPoolOptions) throws {
    let pool = try CompactPool(options)
    var handles: [CompactPool.Handle: Int] = [:]
    for size in stride(from: 1, to: 100_000, by: 977) {
      let handle = try pool.allocate(byteCount: size)
      #expect(pool.byteCount(of: handle) == size)
      try pool.withMapped(handle) { bytes in
        #expect(bytes.count == size)
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: size + index) }
      }
      #expect(handles.updateValue(size, forKey: handle) == nil, "two objects of one name")
    }
    let statistics = pool.statistics()
    #expect(statistics.liveObjects == handles.count && statistics.liveBytes == handles.values.reduce(0, +))
    #expect(statistics.utilisation > 0.8 && statistics.utilisation <= 1 && statistics.totalBytes == pool.totalBytes)
    for (handle, size) in handles where size % 2 == 0 { pool.free(handle) }
    let before = pool.totalBytes, returned = pool.compact()
    #expect(pool.totalBytes == before - returned && (returned == 0 || options.isMovable))
    for (handle, size) in handles where size % 2 == 1 {
      let isIntact = try pool.withMapped(handle) { bytes in
        bytes.indices.allSatisfy { bytes[$0] == UInt8(truncatingIfNeeded: size + $0) }
      }
      #expect(isIntact, "\(size) bytes")
      pool.free(handle)
    }
    pool.trim()
    #expect(pool.totalBytes == 0 && pool.statistics().utilisation == 1)
  }

  @Test func pointersStayWhileTheyAreMapped() throws {
    let pool = try CompactPool(CompactPoolOptions(isMovable: true))
    let handles = try (0..<100).map { _ in try pool.allocate(byteCount: 1000) }
    let bytes = try pool.map(handles[51])
    bytes[999] = 7
    for index in 0..<50 { pool.free(handles[index]) }
    pool.compact()
    #expect(try pool.map(handles[51]).baseAddress == bytes.baseAddress && bytes[999] == 7)
    pool.unmap(handles[51])
    pool.unmap(handles[51])
    pool.compact()
    #expect(try pool.withMapped(handles[51]) { $0[999] } == 7)
  }

  @Test func anErrorInTheBodyEndsTheMapping() throws {
    struct Stop: Error {}
    let pool = try CompactPool(CompactPoolOptions(isMovable: true))
    let handles = try (0..<20).map { _ in try pool.allocate(byteCount: 4000) }
    #expect(throws: Stop.self) { try pool.withMapped(handles[10]) { _ in throw Stop() } }
    for index in 0..<10 { pool.free(handles[index]) }
    #expect(pool.compact() > 0, "still mapped")
  }

  @Test func another() throws {
    let pool = try CompactPool(CompactPoolOptions(backing: .file()))
    let handle = try pool.allocate(byteCount: 100)
    try pool.withMapped(handle) { $0[99] = 42 }
    let attached = try CompactPool(attachedTo: #require(pool.descriptor))
    let same = CompactPool.Handle(page: handle.page, offset: handle.offset)
    #expect(attached.byteCount(of: same) == 100)
    try attached.withMapped(same) { bytes in
      #expect(bytes[99] == 42)
      bytes[0] = 1
    }
    #expect(try pool.withMapped(handle) { $0[0] } == 1)
    #expect(throws: PoolError.invalidArgument) { try attached.allocate(byteCount: 1) }
    #expect(try CompactPool().descriptor == nil)
    #expect(throws: PoolError.invalidArgument) { try CompactPool(attachedTo: 0) }
  }

  @Test func whatNoPoolCanHaveIsAnError() throws {
    for options in [
      CompactPoolOptions(backing: .file(window: -1)), CompactPoolOptions(reservePages: -1),
      CompactPoolOptions(shardCount: 0), CompactPoolOptions(shardCount: 65), CompactPoolOptions(byteLimit: 0),
      CompactPoolOptions(byteLimit: 17 << 30),
    ] {
      #expect(throws: PoolError.invalidArgument) { try CompactPool(options) }
    }
    #expect(throws: PoolError.invalidArgument) {
      try CompactPool(in: MemoryPool(PoolOptions(backing: .passThrough)))
    }
    let pool = try CompactPool(CompactPoolOptions(byteLimit: 1 << 20))
    for size in [0, -1, Int.max, 2 << 20] {
      #expect(throws: PoolError.invalidArgument) { try pool.allocate(byteCount: size) }
    }
    #expect(throws: PoolError.outOfMemory) { while true { _ = try pool.allocate(byteCount: 4000) } }
    #expect(throws: PoolError.outOfMemory) { try pool.allocate(byteCount: 4000, grows: false) }
  }

  @Test func itsMemoryIsThatOfItsPool() throws {
    let memory = try MemoryPool(PoolOptions(backing: .fixed(byteCount: 8 << 20)))
    var pool: CompactPool? = try CompactPool(in: memory)
    var count = 0
    #expect(throws: PoolError.outOfMemory) {
      while true {
        _ = try pool?.allocate(byteCount: 4000)
        count += 1
      }
    }
    #expect(count > 1500 && memory.statistics().runBytes > 6 << 20)
    pool = nil
    #expect(memory.statistics().runBytes == 0)
  }

  @Test func misuse() async {
    func expect(_ result: ExitTest.Result?, _ line: String) {
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.split(separator: "\n").filter { $0.hasPrefix("mempool: ") } == ["mempool: \(line)"])
    }
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try CompactPool()
        let handles = try (0..<3).map { _ in try pool.allocate(byteCount: 100) }
        pool.free(handles[1])
        pool.free(handles[1])
      }, "CompactPool.free(16, 108): double free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try CompactPool()
        let handles = try (0..<3).map { _ in try pool.allocate(byteCount: 100) }
        pool.free(handles[1])
        try pool.withMapped(handles[1]) { _ in }
      }, "CompactPool.withMapped(16, 108): use after free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try CompactPool()
        pool.unmap(try pool.allocate(byteCount: 100))
      }, "CompactPool.unmap(16, 4): not mapped")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try CompactPool()
        let handles = try (0..<3).map { _ in try pool.allocate(byteCount: 100) }
        _ = unsafe try pool.map(handles[0])
        pool.free(handles[1])
        unsafe pool.unmap(handles[1])
      }, "CompactPool.unmap(16, 108): use after free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try CompactPool(CompactPoolOptions(backing: .file()))
        let handle = try pool.allocate(byteCount: 100)
        let attached = try CompactPool(attachedTo: #require(pool.descriptor))
        attached.free(.init(page: handle.page, offset: handle.offset))
      }, "CompactPool.free(16, 4): of another process's pool")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try CompactPool()
        let handles = try (0..<3).map { _ in try pool.allocate(byteCount: 100) }
        pool.free(handles[1])
        onAThreadThatExits { _ = pool.byteCount(of: handles[1]) }
      }, "CompactPool.byteCount(16, 108): use after free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = try CompactPool()
        let handles = try (0..<3).map { _ in try pool.allocate(byteCount: 100) }
        pool.free(handles[1])
        onAThreadThatExits { _ = unsafe try? pool.map(handles[1]) }
      }, "CompactPool.map(16, 108): use after free")
  }
}
