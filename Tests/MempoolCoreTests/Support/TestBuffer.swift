import Testing

@testable import MempoolCore

/// Memory as a caller brings it, with guard bytes around it, and a pool in it. Each test that is done with it finds them intact.
final class TestBuffer: @unchecked Sendable {
  private static let guardBytes = 256
  private static let guardByte: UInt8 = 0xa5

  let byteCount: Int
  let shift: Int
  private let whole: UnsafeMutableRawPointer

  /// `byteCount` bytes that begin `shift` bytes behind a multiple of 64, full of garbage.
  init(_ byteCount: Int, shift: Int = 0) {
    (self.byteCount, self.shift) = (byteCount, shift)
    whole = .allocate(byteCount: byteCount + shift + 2 * Self.guardBytes, alignment: 64)
    whole.initializeMemory(as: UInt8.self, repeating: Self.guardByte, count: byteCount + shift + 2 * Self.guardBytes)
    var random = SplitMix64(seed: UInt64(byteCount))
    for offset in 0..<byteCount { start.storeBytes(of: UInt8(random.below(256)), toByteOffset: offset, as: UInt8.self) }
  }

  deinit {
    if !isGuarded { Issue.record("bytes beside the memory of \(byteCount) bytes were written to") }
    whole.deallocate()
  }

  var start: UnsafeMutableRawPointer { whole + Self.guardBytes + shift }

  /// Whether nothing was written beside the memory.
  var isGuarded: Bool {
    let before = UnsafeRawBufferPointer(start: whole, count: Self.guardBytes + shift)
    let after = UnsafeRawBufferPointer(start: start + byteCount, count: Self.guardBytes)
    return before.allSatisfy { $0 == Self.guardByte } && after.allSatisfy { $0 == Self.guardByte }
  }

  func pool(
    blockSize: Int = 8, fallback: RawAllocator? = nil, lock: LockHook? = nil
  ) -> BufferPoolPointer? {
    BufferPoolPointer.make(in: start, UInt(byteCount), blockSize: UInt(blockSize), fallback: fallback, lock: lock)
  }
}

/// Keeps what pools are made in and of until the test is over: pointers do not.
final class TestMemory {
  private var kept: [AnyObject] = []

  private func keep<Kept: AnyObject>(_ object: Kept) -> Kept {
    kept.append(object)
    return object
  }

  func buffer(_ byteCount: Int, shift: Int = 0) -> TestBuffer { keep(TestBuffer(byteCount, shift: shift)) }

  func allocator() -> TestAllocator { keep(TestAllocator()) }

  /// A buffer of just the size for a pool of so many blocks.
  func pool(blocks: Int, blockSize: Int = 8) throws -> (TestBuffer, BufferPoolPointer) {
    let most = try #require(BufferPoolPointer.byteCount(blockCount: UInt(blocks), blockSize: UInt(blockSize)))
    let buffer = buffer(Int(most) - 15)
    let pool = try #require(buffer.pool(blockSize: blockSize))
    try #require(pool.unlockedStatistics().blockCount == UInt(blocks))
    return (buffer, pool)
  }
}

/// An allocator for tests: the system's, which counts, and refuses as it is told.
final class TestAllocator: @unchecked Sendable {
  private(set) var live = 0
  private(set) var calls = 0
  /// Refuses once so many are live.
  var limit = Int.max

  var raw: RawAllocator {
    RawAllocator(
      resize: { state, pointer, byteCount in
        let this = Unmanaged<TestAllocator>.fromOpaque(state!).takeUnretainedValue()
        this.calls += 1
        if byteCount == 0 {
          this.live -= 1
        } else if pointer == nil {
          if this.live >= this.limit { return nil }
          this.live += 1
        } else if this.live > this.limit {
          return nil
        }
        return RawAllocator.system.resize(nil, pointer, byteCount)
      }, state: Unmanaged.passUnretained(self).toOpaque())
  }
}
