import Foundation
import MempoolCore

/// An allocator to be measured. Its calls are inlined into the measured loop as they would be into a C program's: a call of the
/// C library for one, the engine's own fast path for the other.
protocol BenchmarkAllocator {
  static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer?
  static func deallocate(_ pointer: UnsafeMutableRawPointer?)
}

/// The C library's malloc.
enum SystemAllocator: BenchmarkAllocator {
  @inline(__always) static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? { malloc(byteCount) }
  @inline(__always) static func deallocate(_ pointer: UnsafeMutableRawPointer?) { free(pointer) }
}

/// The shared pool, as `mp_malloc` and `mp_free` reach it.
enum PoolAllocator: BenchmarkAllocator {
  @inline(__always) static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    MemoryPoolPointer.shared.allocate(UInt(bitPattern: byteCount))
  }
  @inline(__always) static func deallocate(_ pointer: UnsafeMutableRawPointer?) {
    MemoryPoolPointer.shared.deallocate(pointer)
  }
}
