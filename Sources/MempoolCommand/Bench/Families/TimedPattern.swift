import CMempoolShims
import Foundation
import MempoolCore

/// An allocator to be measured that has a state.
protocol TimedSubject {
  func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer?
  func deallocate(_ pointer: UnsafeMutableRawPointer)
  /// After all that was allocated in a batch has been given back.
  func batchIsOver()
}

extension TimedSubject {
  @inline(__always) func batchIsOver() {}
}

/// In what order objects come and go.
enum TimedPattern: CaseIterable {
  case lastInFirstOut, batches, replacement

  var title: String {
    switch self {
    case .lastInFirstOut: "one at a time"
    case .batches: "batches of 100"
    case .replacement: "random replacement among 1000"
    }
  }

  /// Nanoseconds of one allocation and one free.
  func nanoseconds<Subject: TimedSubject>(_ subject: Subject, _ byteCount: Int) -> Double {
    let pairs = 20_000
    var live: [UnsafeMutableRawPointer] = []
    var random = SplitMix64(seed: 1)
    if self == .replacement { for _ in 0..<1000 { live.append(take(subject, byteCount)) } }
    live.reserveCapacity(1000)
    let start = mp_clock_nanoseconds()
    switch self {
    case .lastInFirstOut:
      for _ in 0..<pairs { subject.deallocate(take(subject, byteCount)) }
    case .batches:
      for _ in 0..<pairs / 100 {
        for _ in 0..<100 { live.append(take(subject, byteCount)) }
        for object in live { subject.deallocate(object) }
        live.removeAll(keepingCapacity: true)
        subject.batchIsOver()
      }
    case .replacement:
      for _ in 0..<pairs {
        let index = Int(truncatingIfNeeded: random.next() >> 32) % 1000
        subject.deallocate(live[index])
        live[index] = take(subject, byteCount)
      }
    }
    let nanoseconds = mp_clock_nanoseconds() - start
    for object in live { subject.deallocate(object) }
    subject.batchIsOver()
    return Double(nanoseconds) / Double(pairs)
  }

  @inline(__always)
  private func take<Subject: TimedSubject>(_ subject: Subject, _ byteCount: Int) -> UnsafeMutableRawPointer {
    guard let object = subject.allocate(byteCount) else {
      warn("bench: no memory for \(byteCount) bytes")
      exit(EX_OSERR)
    }
    object.storeBytes(of: 1, as: UInt8.self)
    return object
  }
}

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
