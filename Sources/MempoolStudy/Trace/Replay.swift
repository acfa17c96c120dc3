import CMempoolShims
import Foundation
import MempoolCore

/// A trace made ready to be run again, by as many threads, as fast as they can, on the malloc of this process.
///
/// Each thread makes its own calls in its own order. A thread that frees what another allocates waits until it has done so:
/// that is all that is kept of the times. What was there before the recording is left out, and what was never freed is freed at
/// the end of each pass. Each object is written to when it comes.
package final class Replay: @unchecked Sendable {
  struct Step {
    // Its object's place in `slots`.
    var slot: Int
    // What to allocate; -1: frees.
    var byteCount: Int
  }

  /// Steps of each thread.
  let steps: [[Step]]
  package let objectCount: Int
  /// Objects that another thread freed than allocated.
  package let handedOver: Int
  /// The most bytes that were out at a time, as they were asked for.
  package let peakBytes: Int
  private let slots: UnsafeMutablePointer<UInt>

  package var threadCount: Int { steps.count }
  package var operationCount: Int { steps.reduce(0) { $0 + $1.count } }

  package init(_ trace: Trace) throws(StudyError) {
    var threads: [UInt32: Int] = [:]
    var steps: [[Step]] = []
    func number(_ thread: UInt32) -> Int {
      if let number = threads[thread] { return number }
      threads[thread] = steps.count
      steps.append([])
      return steps.count - 1
    }
    var live: [UInt64: (slot: Int, byteCount: Int, thread: Int)] = [:]
    var count = 0
    var handedOver = 0
    var bytes = 0
    var peak = 0
    for event in trace.events {
      let thread = number(event.thread)
      if event.kind.isAllocation {
        guard event.byteCount <= 1 << 40 else { throw StudyError("an object of \(event.byteCount) bytes") }
        // The free of one that was there already is missing: its program freed it in a way that is not recorded.
        if let lost = live[event.address] {
          steps[lost.thread].append(Step(slot: lost.slot, byteCount: -1))
          bytes -= lost.byteCount
        }
        live[event.address] = (count, Int(event.byteCount), thread)
        steps[thread].append(Step(slot: count, byteCount: Int(event.byteCount)))
        count += 1
        bytes += Int(event.byteCount)
        peak = max(peak, bytes)
      } else if let object = live.removeValue(forKey: event.address) {
        steps[thread].append(Step(slot: object.slot, byteCount: -1))
        if object.thread != thread { handedOver += 1 }
        bytes -= object.byteCount
      }
    }
    for object in live.values.sorted(by: { $0.slot < $1.slot }) {
      steps[object.thread].append(Step(slot: object.slot, byteCount: -1))
    }
    self.steps = steps.filter { !$0.isEmpty }
    guard count > 0 else { throw StudyError("no object in it was allocated") }
    objectCount = count
    self.handedOver = handedOver
    peakBytes = peak
    slots = .allocate(capacity: count)
    slots.initialize(repeating: 0, count: count)
  }

  deinit { slots.deallocate() }

  /// What a worker process prints, and the study reads.
  package struct Outcome: Codable, Sendable {
    package var operations: Int
    package var nanoseconds: UInt64
    package var operationsOfThreads: [Int]
    package var p50: UInt64
    package var p90: UInt64
    package var p99: UInt64
    package var p999: UInt64
    package var p9999: UInt64
    package var maximum: UInt64
    package var timed: UInt64
    package var peakResidentBytes: Int
    /// The file whose malloc was called.
    package var provider: String
  }

  /// Passes over the trace until so much time is over, one at least.
  package func run(milliseconds: Int, clockNanoseconds: UInt64) throws(StudyError) -> Outcome {
    let runners = steps.map { Runner($0, slots, clockNanoseconds) }
    let deadline = UInt64(milliseconds) * 1_000_000
    var passes = 0
    var nanoseconds: UInt64 = 0
    Self.forgetPeak()
    repeat {
      let team = try Team(count: runners.count) { runners[$0].pass() }
      let start = mp_clock_nanoseconds()
      team.start()
      team.join()
      nanoseconds += mp_clock_nanoseconds() - start
      passes += 1
    } while nanoseconds < deadline
    var latencies = LatencyHistogram()
    for runner in runners { latencies.merge(runner.latencies) }
    return Outcome(
      operations: operationCount * passes, nanoseconds: nanoseconds,
      operationsOfThreads: steps.map { $0.count * passes },
      p50: latencies.percentile(0.5), p90: latencies.percentile(0.9), p99: latencies.percentile(0.99),
      p999: latencies.percentile(0.999), p9999: latencies.percentile(0.9999), maximum: latencies.maximum,
      timed: latencies.count, peakResidentBytes: try Self.peakResidentBytes(), provider: Self.provider)
  }

  /// What the process had until now, to read the trace, does not count.
  private static func forgetPeak() {
    guard let file = fopen("/proc/self/clear_refs", "w") else { return }
    fputs("5", file)
    fclose(file)
  }

  /// Not the maximum that getrusage tells: that survives exec, and may be the parent's.
  private static func peakResidentBytes() throws(StudyError) -> Int {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    guard let number = line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first,
      let kibibytes = Int(number)
    else {
      throw StudyError("/proc/self/status does not say how much memory the process had")
    }
    return kibibytes * 1024
  }

  /// The file that the process's malloc is in: the one that is mapped where it lies.
  private static var provider: String {
    guard let address = dlsym(nil, "malloc").map({ UInt(bitPattern: $0) }), let maps = fopen("/proc/self/maps", "r")
    else {
      return "unknown"
    }
    defer { fclose(maps) }
    // A line is an address range and some columns, then a path of at most so many bytes.
    var line = [CChar](repeating: 0, count: 4096 + 256)
    while fgets(&line, Int32(line.count), maps) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      let columns = text.split(separator: " ", maxSplits: 5)
      let bounds = columns[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      if columns.count == 6, bounds.count == 2, bounds[0] <= address, address < bounds[1] {
        return columns[5].trimmingCharacters(in: .whitespacesAndNewlines)
      }
    }
    return "unknown"
  }

  /// One thread's steps. Used by one thread at a time.
  private final class Runner: @unchecked Sendable {
    let steps: [Step]
    let slots: UnsafeMutablePointer<UInt>
    let clockNanoseconds: UInt64
    var latencies = LatencyHistogram()

    init(_ steps: [Step], _ slots: UnsafeMutablePointer<UInt>, _ clockNanoseconds: UInt64) {
      self.steps = steps
      self.slots = slots
      self.clockNanoseconds = clockNanoseconds
    }

    func pass() {
      var untilSample = 61
      for step in steps {
        untilSample -= 1
        let isTimed = untilSample == 0
        if isTimed { untilSample = 61 }
        let slot = AtomicPointer(slots + step.slot)
        if step.byteCount >= 0 {
          let start = isTimed ? mp_clock_nanoseconds() : 0
          let object = malloc(step.byteCount)
          if isTimed { note(start) }
          guard let object else {
            FileHandle.standardError.write(Data("mempool study: no memory for \(step.byteCount) bytes\n".utf8))
            exit(EX_OSERR)
          }
          if step.byteCount > 0 { object.storeBytes(of: 1, as: UInt8.self) }
          slot.storeRelease(UInt(bitPattern: object))  // release: pairs with the acquire of who frees it
        } else {
          var word = slot.loadAcquire()  // acquire: pairs with the release of who allocated it
          while word == 0 {
            sched_yield()
            word = slot.loadAcquire()  // acquire: the same
          }
          slot.storeRelaxed(0)
          let start = isTimed ? mp_clock_nanoseconds() : 0
          free(UnsafeMutableRawPointer(bitPattern: word))
          if isTimed { note(start) }
        }
      }
    }

    private func note(_ start: UInt64) {
      let taken = mp_clock_nanoseconds() - start
      latencies.record(taken > clockNanoseconds ? taken - clockNanoseconds : 0)
    }
  }
}
