import CMempoolShims
import Foundation
import MempoolCore

/// The workloads of the original's commit message: a coin decides whether something is allocated or freed.
enum CompactWorkload: CaseIterable {
  case uniform, biased

  var what: String {
    switch self {
    case .uniform: "sizes from 1 to 4092"
    case .biased: "4 of 5 sizes from 1024 to 2600"
    }
  }

  var claim: String {
    switch self {
    case .uniform: "6.0, 6.5, 8.4, 8.9 and 9.5 % in five runs; \"within 12 % of Ideal\""
    case .biased: "5.2, 6.4, 6.6, 6.8 and 7.7 % in five runs"
    }
  }

  private func size(_ random: inout SmallRandom) -> Int {
    if self == .biased, random.below(5) < 4 { return 1024 + random.below(2600 - 1024 + 1) }
    return 1 + random.below(4092)
  }

  /// A million operations. The peaks are those of both sums; they need not fall together.
  func run(_ subject: any CompactSubject, seed: UInt64) -> (peakLive: Int, peakHeld: Int) {
    var random = SmallRandom(state: seed &* 7919)
    var objects: [(object: UInt64, size: Int)] = []
    var live = 0, peakLive = 0, peakHeld = 0
    for _ in 0..<1_000_000 {
      if objects.isEmpty || random.below(2) == 0 {
        let size = size(&random)
        objects.append((subject.allocate(size), size))
        live += size
        if live > peakLive {
          peakLive = live
          peakHeld = max(peakHeld, subject.held)
        }
      } else {
        let index = random.below(objects.count)
        subject.free(objects[index].object)
        live -= objects[index].size
        objects[index] = objects[objects.count - 1]
        objects.removeLast()
      }
    }
    for object in objects { subject.free(object.object) }
    return (peakLive, max(peakHeld, subject.peakHeld))
  }
}

/// SplitMix64.
struct SmallRandom {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(truncatingIfNeeded: next() % UInt64(bound)) }
}

/// What the workload runs on.
protocol CompactSubject {
  func allocate(_ size: Int) -> UInt64
  func free(_ object: UInt64)
  /// Bytes that it holds of the system's, now; asked at each new peak of live bytes.
  var held: Int { get }
  /// The most that it held, where it knows; else 0.
  var peakHeld: Int { get }
  func end()
}

struct CompactPoolSubject: CompactSubject {
  private let pool: CompactPoolPointer

  init() throws(Failure) {
    do { pool = try .create(CompactOptions()) } catch { throw Failure("no compact pool: \(error)", status: 1) }
  }

  func allocate(_ size: Int) -> UInt64 {
    let handle = pool.allocate(UInt(size))!
    return UInt64(handle.page) << 32 | UInt64(handle.offset)
  }

  func free(_ object: UInt64) {
    pool.free(CompactHandle(page: UInt32(object >> 32), offset: UInt32(truncatingIfNeeded: object)))
  }

  var held: Int { Int(pool.totalBytes) }
  var peakHeld: Int { Int(pool.statistics().peakBytes) }
  var statistics: CompactStatistics { pool.statistics() }
  func end() { pool.destroy() }
}

struct MemoryPoolSubject: CompactSubject {
  private let pool: MemoryPoolPointer

  init(_ kind: PoolOptions.SmallObjects) throws(Failure) {
    var options = PoolOptions()
    options.smallObjects = kind
    do { pool = try .create(options) } catch { throw Failure("no pool: \(error)", status: 1) }
  }

  func allocate(_ size: Int) -> UInt64 { UInt64(UInt(bitPattern: pool.allocate(UInt(size))!)) }
  func free(_ object: UInt64) { pool.deallocate(UnsafeMutableRawPointer(bitPattern: UInt(object))) }
  var held: Int { 0 }
  var peakHeld: Int { Int(pool.statistics().peakActiveBytes) }
  func end() { pool.destroy() }
}

/// The C library's malloc, for the time: what it holds for this workload cannot be told from what it has kept of others.
struct LibcSubject: CompactSubject {
  func allocate(_ size: Int) -> UInt64 { UInt64(UInt(bitPattern: malloc(size)!)) }
  func free(_ object: UInt64) { Foundation.free(UnsafeMutableRawPointer(bitPattern: UInt(object))) }
  var held: Int { 0 }
  var peakHeld: Int { 0 }
  func end() {}
}

/// A pool with so many objects, of which random ones are replaced.
final class CompactPopulation {
  private let pool: CompactPoolPointer
  private var handles: [CompactHandle] = []
  private var random = SmallRandom(state: 1)
  private var times: [UInt64] = []

  init(_ count: Int) throws(Failure) {
    do { pool = try .create(CompactOptions()) } catch { throw Failure("no compact pool: \(error)", status: 1) }
    while handles.count < count { handles.append(pool.allocate(size())!) }
    times.reserveCapacity(2_000_000)
    replace(count / 2)
    times.removeAll(keepingCapacity: true)
  }

  private func size() -> UInt { UInt(1 + random.below(4092)) }

  func replace(_ count: Int) {
    for _ in 0..<count {
      let index = random.below(handles.count), size = size(), old = handles[index]
      let start = mp_clock_nanoseconds()
      pool.free(old)
      let middle = mp_clock_nanoseconds()
      handles[index] = pool.allocate(size)!
      let end = mp_clock_nanoseconds()
      times.append(middle - start)
      times.append(end - middle)
    }
  }

  func quantile(_ part: Double) -> Double {
    let sorted = times.sorted()
    return Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))])
  }

  func end() { pool.destroy() }
}
