import Foundation
import Testing

@testable import MempoolStudy

@Suite struct TraceTests {
  /// Events of some threads, in the order of their times, with addresses near and far and sizes small and large.
  private func randomTrace(_ seed: UInt64, count: Int = 500) -> Trace {
    var random = SplitMix64(seed: seed)
    var time: UInt64 = 0
    let events = (0..<count).map { _ in
      time += 1 + random.next() >> (20 + random.below(44))
      let kind = Trace.Kind(rawValue: UInt8(random.below(4)))!
      return Trace.Event(
        thread: UInt32(random.below(4)), time: time % (1 << 61), kind: kind,
        address: random.next() >> random.below(60) & ~7,
        byteCount: kind.isAllocation ? random.next() >> random.below(64) : 0)
    }
    return Trace(samplePeriod: 8, processIdentifier: 77, events: events.sorted { $0.time < $1.time })
  }

  private func complaint(_ data: some Collection<UInt8>, acceptsUnfinished: Bool = false) -> String? {
    do {
      _ = try Trace.parse(Data(data), acceptsUnfinished: acceptsUnfinished)
      return nil
    } catch {
      return error.description
    }
  }

  @Test func checksums() {
    // The check value of the catalogue of CRCs.
    #expect(TraceFormat.checksum("123456789".utf8) == 0xcbf4_3926)
    #expect(TraceFormat.checksum([UInt8]()) == 0)
  }

  @Test(arguments: 0..<20)
  func whatIsWrittenIsRead(seed: UInt64) throws {
    let trace = randomTrace(seed)
    for recordsPerBlock in [1, 7, 4096] {
      #expect(try Trace.parse(trace.encoded(recordsPerBlock: recordsPerBlock)) == trace)
    }
    let empty = Trace(events: [])
    #expect(try Trace.parse(empty.encoded()) == empty)
  }

  /// Byte for byte what the format says.
  @Test func theBytes() {
    let trace = Trace(
      events: [
        .init(thread: 3, time: 100, kind: .allocate, address: 0x1000, byteCount: 300),
        .init(thread: 3, time: 101, kind: .free, address: 0x1000),
      ])
    let bytes = [UInt8](trace.encoded())
    #expect(Array(bytes[0..<12]) == Array("MPTRACE".utf8) + [0, 2, 0, 0, 0])
    #expect(Array(bytes[32..<36]) == [8, 0, 0, 0])
    #expect(Array(bytes[40..<48]) == [3, 0, 0, 0, 2, 0, 0, 0])
    // 100 << 2 | 1 = 0x191; 0x1000 / 8 = 512, zigzag 1024; 300; 1 << 2; 0.
    #expect(Array(bytes[48..<56]) == [0x91, 0x03, 0x80, 0x08, 0xac, 0x02, 0x04, 0x00])
    #expect(bytes.count == 32 + 24 + 16)
  }

  /// Cut anywhere: where it is cut is said, and what is whole can be had where a block ends.
  @Test func truncatedTraces() {
    let bytes = [UInt8](randomTrace(1, count: 60).encoded(recordsPerBlock: 20))
    for count in 0..<bytes.count {
      let said = complaint(bytes.prefix(count))
      #expect(
        said?.hasPrefix("truncated") == true || count == 0 && said == "not a trace", "\(count): \(said ?? "read")")
    }
    #expect(complaint(bytes.dropLast(16)) != nil && complaint(bytes.dropLast(16), acceptsUnfinished: true) == nil)
  }

  /// A program that was killed while it wrote: the blocks before are all there, in order, and nothing of the last one.
  @Test func unfinishedTraces() throws {
    let trace = randomTrace(1, count: 60)
    let bytes = [UInt8](trace.encoded(recordsPerBlock: 20))
    var seen = 0
    for count in 32..<bytes.count {
      let events = try Trace.parse(Data(bytes.prefix(count)), acceptsUnfinished: true).events
      #expect(events == Array(trace.events.prefix(events.count)) && events.count >= seen, "\(count) bytes")
      seen = events.count
    }
    #expect(seen == 60)
  }

  /// Any one bit changed anywhere is noticed.
  @Test func damagedTraces() {
    let bytes = [UInt8](randomTrace(2, count: 40).encoded(recordsPerBlock: 10))
    for place in bytes.indices {
      var damaged = bytes
      damaged[place] ^= 1 << UInt8(place % 8)
      #expect(complaint(damaged) != nil, "byte \(place)")
    }
    #expect(complaint(bytes + [0])?.hasSuffix("bytes follow its end") == true)
    #expect(complaint(Array("#!/bin/sh\nexit 0 and so on and so on\n".utf8)) == "not a trace")
  }

  /// Random bytes behind a valid head and with a valid checksum: an error or a trace, never a trap.
  @Test func whatNoRecorderWrote() {
    var random = SplitMix64(seed: 6)
    let head = [UInt8](Trace(events: []).encoded().prefix(32))
    for _ in 0..<2000 {
      let body = (0..<Int(random.below(40)) + 8).map { _ in UInt8(random.below(random.next() >> 63 == 0 ? 256 : 8)) }
      let size = UInt32(body.count - 8), crc = TraceFormat.checksum(body)
      let block =
        [size, crc].flatMap { number in [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: number >> $0) } } + body
      _ = complaint(head + block, acceptsUnfinished: true)
    }
  }

  @Test func anotherVersion() {
    var bytes = [UInt8](Trace(events: []).encoded())
    bytes[8] = 9
    let crc = TraceFormat.checksum(bytes[0..<28])
    for place in 0..<4 { bytes[28 + place] = UInt8(truncatingIfNeeded: crc >> UInt32(8 * place)) }
    #expect(complaint(bytes) == "a trace of version 9, and this program knows version 2")
  }

  /// Frees of unknown objects are left out, objects that live at the end are freed, reused addresses are other objects.
  @Test func whatIsReplayed() throws {
    let replay = try Replay(
      Trace(
        events: [
          .init(thread: 9, time: 1, kind: .free, address: 16),
          .init(thread: 9, time: 2, kind: .allocate, address: 32, byteCount: 10),
          .init(thread: 5, time: 3, kind: .free, address: 32),
          .init(thread: 5, time: 4, kind: .allocate, address: 32, byteCount: 20),
          .init(thread: 5, time: 5, kind: .freeByReallocation, address: 32),
          .init(thread: 5, time: 6, kind: .allocateByReallocation, address: 48, byteCount: 40),
        ]))
    #expect(replay.objectCount == 3 && replay.handedOver == 1 && replay.peakBytes == 40)
    #expect(
      replay.steps.map { $0.map { [$0.slot, $0.byteCount] } } == [
        [[0, 10]], [[0, -1], [1, 20], [1, -1], [2, 40], [2, -1]],
      ])
    #expect(throws: StudyError.self) {
      try Replay(Trace(events: [.init(thread: 0, time: 0, kind: .free, address: 16)]))
    }
  }

  /// What the process had before the first pass is not the allocator's.
  @Test func peakMemoryIsOfThePasses() throws {
    let large = 512 << 20
    let memory = try #require(
      mmap(nil, large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).flatMap {
        $0 == MAP_FAILED ? nil : $0
      })
    for place in stride(from: 0, to: large, by: 4096) { memory.storeBytes(of: 1, toByteOffset: place, as: UInt8.self) }
    munmap(memory, large)
    let outcome = try Replay(Workload.batches.trace(threads: 1, seed: 1)).run(milliseconds: 1, clockNanoseconds: 0)
    #expect(outcome.peakResidentBytes > 1 << 20 && outcome.peakResidentBytes < large)
  }

  /// Each workload comes to its end, any number of times, and gives back all it took.
  @Test(arguments: Workload.allCases)
  func workloads(workload: Workload) throws {
    let trace = workload.trace(threads: 4, seed: 3)
    #expect(trace == workload.trace(threads: 4, seed: 3))
    let replay = try Replay(trace)
    #expect(replay.threadCount == 4)
    for steps in replay.steps { #expect(steps.allSatisfy { $0.byteCount < 16384 }) }
    let allocations = replay.steps.joined().count { $0.byteCount >= 0 }
    #expect(allocations == replay.objectCount && replay.operationCount == 2 * allocations)
    #expect((replay.handedOver > 0) == (workload == .producers || workload == .handover))
    let outcome = try replay.run(milliseconds: 1, clockNanoseconds: 0)
    #expect(outcome.operations >= replay.operationCount && outcome.timed > 0)
  }
}
