import CMempoolShims
import Foundation
import MempoolCore

/// The tree that contexts are measured by, on one of those that can make it.
struct ContextWorkload {
  enum Subject: String, CaseIterable {
    case mempool
    /// As the drop-in library makes them: each block of a pool is looked at when it is freed.
    case strict = "mempool, strict"
    /// By way of libtalloc's own functions.
    case dropIn = "mempool, as libtalloc"
    case libtalloc
    /// malloc and free of as many objects.
    case libc
  }

  static let count = 2000
  private static let sizes: [Int] = (0..<count).map { 16 + ($0 &* 2_654_435_761) >> 8 & 63 }
  // Of each object but the first, the one that it hangs below.
  private static let parents: [Int] = (0..<count).map { $0 == 0 ? 0 : (($0 &* 40503) >> 4 & 0xffff) % $0 }

  private let subject: Subject
  private let talloc: Talloc?

  /// Nil where the subject is not installed.
  init?(_ subject: Subject) {
    self.subject = subject
    switch subject {
    case .libtalloc: talloc = .installed
    case .dropIn: talloc = .dropIn
    case .mempool, .strict, .libc:
      talloc = nil
      return
    }
    if talloc == nil { return nil }
  }

  static func nanoseconds(_ body: () -> Void) -> Double {
    let start = mp_clock_nanoseconds()
    body()
    return Double(mp_clock_nanoseconds() - start)
  }

  /// Nanoseconds an object.
  func tree() -> Double {
    switch subject {
    case .mempool, .strict: contexts { ContextPointer.allocate(0, under: nil, isStrict: $0) }
    case .libtalloc, .dropIn: talloc.map { talloc in with(talloc) { talloc.named(nil, 0, talloc.name) } } ?? 0
    case .libc: system()
    }
  }

  /// The same, all objects in one pool.
  func pool() -> Double {
    let capacity = Self.count * (96 + 80)
    return switch subject {
    case .mempool, .strict:
      contexts { ContextPointer.allocatePool(0, capacity: UInt(capacity), under: nil, isStrict: $0) }
    case .libtalloc, .dropIn: talloc.map { talloc in with(talloc) { talloc.pool(nil, capacity) } } ?? 0
    case .libc: system()
    }
  }

  private func contexts(_ top: (Bool) -> ContextPointer?) -> Double {
    let isStrict = subject == .strict
    return withUnsafeTemporaryAllocation(of: ContextPointer.self, capacity: Self.count) { objects in
      Self.nanoseconds {
        guard let top = top(isStrict) else { return }
        for index in 0..<Self.count {
          let parent = index == 0 ? top : objects[Self.parents[index]]
          guard let object = ContextPointer.allocate(UInt(Self.sizes[index]), under: parent, isStrict: isStrict) else {
            return
          }
          objects[index] = object
        }
        top.free(at: nil)
      } / Double(Self.count)
    }
  }

  private func with(_ talloc: Talloc, _ top: () -> UnsafeMutableRawPointer?) -> Double {
    withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: Self.count) { objects in
      Self.nanoseconds {
        let top = top()
        for index in 0..<Self.count {
          let parent = index == 0 ? top : objects[Self.parents[index]]
          objects[index] = talloc.named(parent, Self.sizes[index], talloc.name)
        }
        _ = talloc.release(top, talloc.name)
      } / Double(Self.count)
    }
  }

  private func system() -> Double {
    withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: Self.count) { objects in
      Self.nanoseconds {
        for index in 0..<Self.count {
          objects[index] = malloc(Self.sizes[index])
          objects[index]?.storeBytes(of: 1, as: UInt8.self)
        }
        for index in 0..<Self.count { free(objects[index]) }
      } / Double(Self.count)
    }
  }

  /// A library with libtalloc's functions.
  private struct Talloc {
    typealias Make = @convention(c) (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer?
    typealias Named =
      @convention(c) (UnsafeMutableRawPointer?, Int, UnsafePointer<CChar>) -> UnsafeMutableRawPointer?
    typealias Free = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>) -> CInt

    let pool: Make
    let named: Named
    let release: Free
    let name: UnsafePointer<CChar>

    nonisolated(unsafe) static let installed = Talloc("libtalloc.so.2")
    nonisolated(unsafe) static let dropIn: Talloc? = {
      let executable = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      let places = LibraryLocation.candidates(executable: executable, name: "libmempool-talloc.so")
      return places.first { access($0.path, R_OK) == 0 }.flatMap { Talloc($0.path) }
    }()

    private init?(_ path: String) {
      guard let library = dlopen(path, RTLD_NOW | RTLD_LOCAL), let pool = dlsym(library, "talloc_pool"),
        let named = dlsym(library, "talloc_named_const"), let release = dlsym(library, "_talloc_free"),
        let name = strdup("bench")
      else { return nil }
      self.pool = unsafeBitCast(pool, to: Make.self)
      self.named = unsafeBitCast(named, to: Named.self)
      self.release = unsafeBitCast(release, to: Free.self)
      self.name = UnsafePointer(name)
    }
  }
}
