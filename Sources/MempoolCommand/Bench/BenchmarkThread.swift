import CMempoolShims
import Foundation
import MempoolCore
import MempoolStudy

/// What one thread of a benchmark needs, laid out before the clock runs: its sizes, the order of its frees, its objects and
/// its times. Owned by the benchmark; used by one thread at a time, handed over at the barriers.
final class BenchmarkThread: @unchecked Sendable {
  // A table longer than a cycle needs, entered at another place each time.
  private static let sizeCount = 4096
  private let sizes: UnsafeMutablePointer<Int>
  private let freeOrder: UnsafeMutablePointer<Int>
  private let objects: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  private let objectCount = BenchmarkPlan.firstCount + BenchmarkPlan.secondCount
  private var start = 0
  private let cycleCount: Int
  /// Nanoseconds of each phase of each cycle of the last round, phases next to each other.
  private(set) var times: [UInt64]

  init(_ plan: BenchmarkPlan, number: Int) {
    var random = SplitMix64(seed: plan.seed &+ UInt64(number) &* 0x1000)
    let sizeCount = Self.sizeCount + objectCount
    sizes = .allocate(capacity: sizeCount)
    for index in 0..<sizeCount { sizes[index] = Int.random(in: plan.sizes, using: &random) }
    freeOrder = .allocate(capacity: BenchmarkPlan.firstCount)
    for (index, place) in (0..<BenchmarkPlan.firstCount).shuffled(using: &random).enumerated() {
      freeOrder[index] = place
    }
    objects = .allocate(capacity: objectCount)
    objects.initialize(repeating: nil, count: objectCount)
    cycleCount = plan.cycleCount
    times = Array(repeating: 0, count: plan.cycleCount * 3)
  }

  deinit {
    sizes.deallocate()
    freeOrder.deallocate()
    objects.deallocate()
  }

  /// One round: every cycle's phases timed, the cleaning up after each not.
  func run<Allocator: BenchmarkAllocator>(_: Allocator.Type) {
    for cycle in 0..<cycleCount {
      let sizes = sizes + start
      start = (start + 617) % Self.sizeCount
      let begin = mp_clock_nanoseconds()
      allocate(Allocator.self, sizes, 0..<BenchmarkPlan.firstCount)
      let allocated = mp_clock_nanoseconds()
      for index in 0..<BenchmarkPlan.freedCount { Allocator.deallocate(objects[freeOrder[index]]) }
      let freed = mp_clock_nanoseconds()
      allocate(Allocator.self, sizes, BenchmarkPlan.firstCount..<objectCount)
      let end = mp_clock_nanoseconds()
      for index in BenchmarkPlan.freedCount..<BenchmarkPlan.firstCount {
        Allocator.deallocate(objects[freeOrder[index]])
      }
      for index in BenchmarkPlan.firstCount..<objectCount { Allocator.deallocate(objects[index]) }
      times[cycle * 3] = allocated - begin
      times[cycle * 3 + 1] = freed - allocated
      times[cycle * 3 + 2] = end - freed
    }
  }

  // No round can be compared with another any more.
  @inline(never)
  private static func outOfMemory(_ size: Int) -> Never {
    FileHandle.standardError.write(
      Data("mempool bench: no memory for \(size) bytes; see MEMPOOL_FIXED and ulimit -v\n".utf8))
    exit(EX_OSERR)
  }

  /// Writes a byte to each object: an allocator that has not touched the memory yet must not look the faster for it.
  @inline(__always)
  private func allocate<Allocator: BenchmarkAllocator>(
    _: Allocator.Type, _ sizes: UnsafeMutablePointer<Int>, _ range: Range<Int>
  ) {
    for index in range {
      guard let object = Allocator.allocate(sizes[index]) else { Self.outOfMemory(sizes[index]) }
      object.storeBytes(of: 1, as: UInt8.self)
      objects[index] = object
    }
  }
}
