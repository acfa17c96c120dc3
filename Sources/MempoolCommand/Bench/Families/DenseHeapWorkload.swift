import CMempoolShims
import Dispatch
import Foundation
import MempoolCore

/// What the dense heap's benchmark runs on.
protocol DenseSubject: Sendable {
  var name: String { get }
  func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer
  func free(_ pointer: UnsafeMutableRawPointer)
  /// Bytes of the pages that hold objects.
  var heldBytes: Int { get }
  /// Bytes of the header that each object has among those.
  var headerBytes: Int { get }
  func end()
}

struct DensePoolSubject: DenseSubject {
  let name: String
  let headerBytes: Int
  private nonisolated(unsafe) let pool: MemoryPoolPointer

  init(_ name: String, _ kind: PoolOptions.SmallObjects) throws(Failure) {
    var options = PoolOptions()
    options.smallObjects = kind
    self.name = name
    headerBytes = kind == .classes ? 0 : 4
    do { pool = try .create(options) } catch { throw Failure("no pool: \(error)", status: 1) }
  }

  func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer { pool.allocate(UInt(byteCount))! }
  func free(_ pointer: UnsafeMutableRawPointer) { pool.deallocate(pointer) }
  var heldBytes: Int { Int(pool.statistics().activeBytes) }
  func end() { pool.destroy() }
}

/// The C library's malloc, for the time; by way of functions that the compiler does not know, which else leaves some of the calls out.
struct DenseLibcSubject: DenseSubject {
  let name = "libc's malloc"
  let headerBytes = 0

  func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer { mp_system_malloc(byteCount)! }
  func free(_ pointer: UnsafeMutableRawPointer) { mp_system_free(pointer) }
  var heldBytes: Int { 0 }
  func end() {}
}

/// Many live objects of 4 to 256 bytes, of which random ones are replaced by others.
final class DensePopulation {
  private let subject: any DenseSubject
  private var random: SmallRandom
  private var objects: [(pointer: UnsafeMutableRawPointer, byteCount: Int)] = []
  private var liveBytes = 0
  // Of these, objects of up to 32 bytes.
  private var smallCount = 0

  init(_ subject: any DenseSubject, _ count: Int, seed: UInt64) {
    self.subject = subject
    random = SmallRandom(state: seed &* 7919)
    objects.reserveCapacity(count)
    while objects.count < count { objects.append(make()) }
  }

  private func make() -> (UnsafeMutableRawPointer, Int) {
    let byteCount = 4 + random.below(253)
    liveBytes += byteCount
    if byteCount <= 32 { smallCount += 1 }
    return (subject.allocate(byteCount), byteCount)
  }

  func replace(_ count: Int) {
    for _ in 0..<count {
      let index = random.below(objects.count), old = objects[index]
      subject.free(old.pointer)
      liveBytes -= old.byteCount
      if old.byteCount <= 32 { smallCount -= 1 }
      objects[index] = make()
    }
  }

  /// Per cent by which what is held exceeds what is live.
  var excess: Double { (Double(subject.heldBytes - smallCount * subject.headerBytes) / Double(liveBytes) - 1) * 100 }

  func end() { for object in objects { subject.free(object.pointer) } }
}

/// In what order objects of 4 to 256 bytes come and go.
enum DensePattern: CaseIterable {
  case lastInFirstOut, batches, replacement, largeReplacement

  var title: String {
    switch self {
    case .lastInFirstOut: "one at a time"
    case .batches: "batches of 100"
    case .replacement: "random replacement among 1000"
    case .largeReplacement: "random replacement among 100,000"
    }
  }

  private static let sizes: [Int] = {
    var random = SmallRandom(state: 1)
    return (0..<4096).map { _ in 4 + random.below(253) }
  }()

  // Of this thread, so that it matters little what else the machine does.
  private static func ownNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Nanoseconds of one allocation and one free, of the thread's own time.
  func nanoseconds(_ subject: any DenseSubject) -> Double {
    if let subject = subject as? DensePoolSubject { return measure(subject) }
    return measure(DenseLibcSubject())
  }

  private func measure<Subject: DenseSubject>(_ subject: Subject) -> Double {
    let pairs = 200_000, sizes = Self.sizes
    var live: [UnsafeMutableRawPointer] = [], random = SmallRandom(state: 2)
    let population = self == .replacement ? 1000 : self == .largeReplacement ? 100_000 : 0
    live.reserveCapacity(max(population, 100))
    while live.count < population { live.append(Self.take(subject, sizes[live.count & 4095])) }
    let start = Self.ownNanoseconds()
    switch self {
    case .lastInFirstOut:
      for pair in 0..<pairs { subject.free(Self.take(subject, sizes[pair & 4095])) }
    case .batches:
      for batch in 0..<pairs / 100 {
        for number in 0..<100 { live.append(Self.take(subject, sizes[(batch &* 100 &+ number) & 4095])) }
        for object in live { subject.free(object) }
        live.removeAll(keepingCapacity: true)
      }
    case .replacement, .largeReplacement:
      for pair in 0..<pairs {
        let index = random.below(population)
        subject.free(live[index])
        live[index] = Self.take(subject, sizes[pair & 4095])
      }
    }
    let nanoseconds = Self.ownNanoseconds() - start
    for object in live { subject.free(object) }
    return Double(nanoseconds) / Double(pairs)
  }

  @inline(__always)
  private static func take<Subject: DenseSubject>(_ subject: Subject, _ byteCount: Int) -> UnsafeMutableRawPointer {
    let object = subject.allocate(byteCount)
    object.storeBytes(of: 1, as: UInt8.self)
    return object
  }

  /// One thread allocates batches, which another frees: nanoseconds an object.
  static func handedOver(_ subject: any DenseSubject) -> Double {
    let rounds = 200, count = 1000, sizes = sizes
    nonisolated(unsafe) let batches = UnsafeMutablePointer<UnsafeMutableRawPointer>.allocate(capacity: 2 * count)
    defer { batches.deallocate() }
    let full = DispatchSemaphore(value: 0), empty = DispatchSemaphore(value: 2), isOver = DispatchSemaphore(value: 0)
    let start = mp_clock_nanoseconds()
    Thread.detachNewThread {
      for round in 0..<rounds {
        full.wait()
        for number in 0..<count { subject.free(batches[round % 2 * count + number]) }
        empty.signal()
      }
      isOver.signal()
    }
    for round in 0..<rounds {
      empty.wait()
      for number in 0..<count {
        batches[round % 2 * count + number] = subject.allocate(sizes[(round * count + number) & 4095])
      }
      full.signal()
    }
    isOver.wait()
    return Double(mp_clock_nanoseconds() - start) / Double(rounds * count)
  }

  /// The three phases of the original's benchmark, again and again, on so many threads: nanoseconds an operation of one of them.
  static func phases(_ subject: any DenseSubject, _ threads: Int) -> Double {
    let rounds = 40
    let start = mp_clock_nanoseconds()
    let group = DispatchGroup()
    for number in 0..<threads {
      group.enter()
      Thread.detachNewThread {
        var random = SmallRandom(state: UInt64(number)), live: [UnsafeMutableRawPointer] = []
        live.reserveCapacity(1000)
        for _ in 0..<rounds {
          for _ in 0..<500 { live.append(subject.allocate(1 + random.below(512))) }
          for _ in 0..<250 { subject.free(live.removeLast()) }
          for _ in 0..<500 { live.append(subject.allocate(1 + random.below(512))) }
          for object in live { subject.free(object) }
          live.removeAll(keepingCapacity: true)
        }
        group.leave()
      }
    }
    group.wait()
    return Double(mp_clock_nanoseconds() - start) / Double(rounds * threads * 2000)
  }
}
