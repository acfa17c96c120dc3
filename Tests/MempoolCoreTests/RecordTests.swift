import CMempoolShims
import Testing

@testable import MempoolCore

/// Records of what belongs to a pool as a whole: heaps, caches, leases, spans, quarantines.
@Suite struct RecordTests {
  /// The first reservation is full, and another can be had: nothing may fail for want of a record.
  @Test(arguments: [Hardening.off, .canaries])
  func recordsLieInFurtherSegments(level: Hardening) throws {
    var options = PoolOptions()
    options.backing = .elastic(reserve: 2 << 20)
    options.hardening = level
    let pool = try MemoryPoolPointer.create(options)
    var objects: [UnsafeMutableRawPointer] = []
    // Small ones too, so that not a fragment of it is left.
    for size: UInt in [200_000, 16_000, 500] {
      for _ in 0..<(8 << 20) / Int(size) { objects.append(try #require(pool.allocate(size))) }
    }
    #expect(pool.segments.newest != pool.pointee.first)
    for size: UInt in [64, 3000] {
      let cache = try pool.makeCache(itemSize: size)
      let item = try #require(cache.take(), "no lease, or no page")
      cache.put(item)
      cache.destroy()
    }
    let shared = Shared(pool), findings = Findings()
    TestThread.run(40) { _ in
      guard let object = shared.value.allocate(100) else { return findings.report("no heap") }
      shared.value.deallocate(object)
    }
    #expect(findings.all == [])
    let span = try #require(pool.allocate(SpanList.threshold + 1), "no span")
    pool.deallocate(span)
    for object in objects { pool.deallocate(object) }
    #expect(pool.checkInvariants())
    #expect(pool.statistics().allocatedBytes == 0)
    pool.destroy()
  }

  /// A segment's own range has room for a record, and the system refuses it: address space for another segment would be of no use.
  @Test func aRefusedRecordReservesNothing() async {
    await #expect(processExitsWith: .success) {
      Faults.report {
        var options = PoolOptions()
        options.backing = .elastic(reserve: 1 << 30)
        let pool = try MemoryPoolPointer.create(options)
        // Each other call: what follows a refused one is served.
        mp_system_fail_every(2)
        defer { mp_system_fail_every(0) }
        var refused = 0
        for _ in 0..<100 where pool.segments.allocateRecord(200_000) == nil { refused += 1 }
        try demand(refused > 10, "\(refused) of 100 refused")
        try demand(pool.segments.newest == pool.pointee.first, "reserved more after a refused record")
        mp_system_fail_every(0)
        try demand(pool.segments.allocateRecord(200_000) != nil, "refused for ever")
      }
    }
  }
}
