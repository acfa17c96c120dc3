import Foundation
import MempoolCore

// The buffer pool, the region, and who else there is to be measured beside them.

struct PooledSubject: TimedSubject {
  let pool: BufferPoolPointer
  @inline(__always) func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? { try? pool.allocate(UInt(byteCount)) }
  @inline(__always) func deallocate(_ pointer: UnsafeMutableRawPointer) { try? pool.deallocate(pointer) }
}

struct RegionSubject: TimedSubject {
  let region: RegionPointer
  @inline(__always) func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? { region.allocate(UInt(byteCount)) }
  @inline(__always) func deallocate(_ pointer: UnsafeMutableRawPointer) {}
  @inline(__always) func batchIsOver() { _ = region.reset() }
}

struct SystemSubject: TimedSubject {
  @inline(__always) func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? { malloc(byteCount) }
  @inline(__always) func deallocate(_ pointer: UnsafeMutableRawPointer) { free(pointer) }
}

struct SharedSubject: TimedSubject {
  @inline(__always) func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    MemoryPoolPointer.shared.allocate(UInt(byteCount))
  }
  @inline(__always) func deallocate(_ pointer: UnsafeMutableRawPointer) { MemoryPoolPointer.shared.deallocate(pointer) }
}

/// A pool of talloc's, if Debian's libtalloc2 is installed: objects inside one block, as long as there is room.
struct TallocSubject: TimedSubject {
  private typealias Make = @convention(c) (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer?
  private typealias Named =
    @convention(c) (UnsafeMutableRawPointer?, Int, UnsafePointer<CChar>) -> UnsafeMutableRawPointer?
  private typealias Free = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>) -> CInt

  private let pool: UnsafeMutableRawPointer
  private let named: Named
  private let release: Free
  private let name: UnsafePointer<CChar>

  nonisolated(unsafe) static let shared = TallocSubject()

  private init?() {
    guard let library = dlopen("libtalloc.so.2", RTLD_NOW), let make = dlsym(library, "talloc_pool"),
      let named = dlsym(library, "talloc_named_const"), let release = dlsym(library, "_talloc_free"),
      let name = strdup("bench"), let pool = unsafeBitCast(make, to: Make.self)(nil, 1 << 20)
    else { return nil }
    self.pool = pool
    self.named = unsafeBitCast(named, to: Named.self)
    self.release = unsafeBitCast(release, to: Free.self)
    self.name = UnsafePointer(name)
  }

  @inline(__always) func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? { named(pool, byteCount, name) }
  @inline(__always) func deallocate(_ pointer: UnsafeMutableRawPointer) { _ = release(pointer, name) }
}

/// A pool of the Apache runtime's, if Debian's libapr1 is installed: a region, cleared after each batch.
struct AprSubject: TimedSubject {
  private typealias Initialize = @convention(c) () -> CInt
  private typealias Make =
    @convention(c) (
      UnsafeMutablePointer<UnsafeMutableRawPointer?>, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?,
      UnsafeMutableRawPointer?
    ) -> CInt
  private typealias Take = @convention(c) (UnsafeMutableRawPointer, Int) -> UnsafeMutableRawPointer?
  private typealias Clear = @convention(c) (UnsafeMutableRawPointer) -> Void

  private let pool: UnsafeMutableRawPointer
  private let take: Take
  private let clear: Clear

  nonisolated(unsafe) static let shared = AprSubject()

  private init?() {
    var made: UnsafeMutableRawPointer?
    guard let library = dlopen("libapr-1.so.0", RTLD_NOW), let initialize = dlsym(library, "apr_initialize"),
      let make = dlsym(library, "apr_pool_create_ex"), let take = dlsym(library, "apr_palloc"),
      let clear = dlsym(library, "apr_pool_clear"), unsafeBitCast(initialize, to: Initialize.self)() == 0,
      unsafeBitCast(make, to: Make.self)(&made, nil, nil, nil) == 0, let pool = made
    else { return nil }
    self.pool = pool
    self.take = unsafeBitCast(take, to: Take.self)
    self.clear = unsafeBitCast(clear, to: Clear.self)
  }

  @inline(__always) func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? { take(pool, byteCount) }
  @inline(__always) func deallocate(_ pointer: UnsafeMutableRawPointer) {}
  @inline(__always) func batchIsOver() { clear(pool) }
}
