import CMempoolShims

/// What a pool counted, as one value: bytes and counts, read while threads run.
///
/// A snapshot is not one instant: each number is read from where its writers keep it, one after the other, so two numbers may
/// differ by what happened in between. When no thread allocates or frees, they agree: see ``brokenInvariant(isQuiescent:)``.
/// docs/statistics.md has a paragraph for each, under the key that ``visit(_:)`` gives it.
///
/// A plain value of about 2.5 KiB; owned by whoever asked. Never allocates.
public struct PoolStatistics: Sendable {
  /// The process that it was taken in.
  public var processID: UInt = 0
  /// The number of this snapshot in its process, from 1.
  public var generation: UInt = 0

  // Bytes. Quiescent: allocated <= active <= committed <= mapped, and mapped == committed + retained.

  /// Asked for by callers since the start: cumulative, summed over threads.
  public var requestedBytes: UInt = 0
  /// Asked for and still live: estimated from a sample, not counted.
  public var requestedLiveEstimateBytes: UInt = 0
  /// In objects handed out and not given back, as rounded up to what holds them.
  public var allocatedBytes: UInt = 0
  /// In slabs, runs and spans that hold at least one live object.
  public var activeBytes: UInt = 0
  /// Free items in slabs that a thread owns: handed out next without asking anybody.
  public var cachedBytes: UInt = 0
  /// Of slabs whose owner exited and that nobody has adopted yet.
  public var abandonedBytes: UInt = 0
  /// In pages that were handed out and not purged since, and in records: what may have memory behind it.
  public var committedBytes: UInt = 0
  /// Address space kept without memory behind it.
  public var retainedBytes: UInt = 0
  /// Address space of all reservations and spans.
  public var mappedBytes: UInt = 0
  /// The allocator's own records; part of ``committedBytes``.
  public var metadataBytes: UInt = 0
  /// The most that ``activeBytes`` has been, at most: the peaks of segments and spans, added.
  public var peakActiveBytes: UInt = 0
  /// The most that ``committedBytes`` has been, at least.
  public var peakCommittedBytes: UInt = 0

  // Purges, cumulative.

  /// Given back to the system, counted again each time.
  public var purgedBytes: UInt = 0
  /// Times that somebody went looking for idle pages to give back.
  public var purgePasses: UInt = 0

  // Calls of the system, of the whole process, cumulative, failures included.

  /// Calls that asked for address space or memory.
  public var mapCalls: UInt = 0
  /// Calls that made reserved address space accessible.
  public var commitCalls: UInt = 0
  /// Calls that gave memory back and kept its address space.
  public var purgeCalls: UInt = 0
  /// Calls that gave address space back.
  public var unmapCalls: UInt = 0
  /// Calls that resized a span in place or by moving its pages.
  public var resizeCalls: UInt = 0
  /// Calls that locked memory.
  public var lockCalls: UInt = 0
  /// How many of all these failed.
  public var failedCalls: UInt = 0

  // What the kernel says of the whole process.

  /// In memory now: code, stacks and other allocators' memory, too.
  public var residentBytes: UInt = 0
  /// Page faults that cost no input: cumulative.
  public var minorFaults: UInt = 0
  /// Page faults that had to read from a disk: cumulative.
  public var majorFaults: UInt = 0

  // Frees by another thread than the slab's owner, cumulative.

  /// Items freed by a thread that did not own their slab.
  public var remoteFreesPushed: UInt = 0
  /// Items that owners have collected of these.
  public var remoteFreesDrained: UInt = 0

  // Claims in the segment's bitmap, cumulative.

  /// Passes over the bitmap, the first of each claim included.
  public var claimPasses: UInt = 0
  /// Passes that followed a sleep.
  public var claimRetries: UInt = 0
  /// Sleeps of `MPWAITTIME` nanoseconds.
  public var claimSleeps: UInt = 0
  /// Claims that found nothing after their last pass.
  public var claimFailures: UInt = 0
  /// Swaps in vain, because another thread had changed the cell.
  public var claimLostSwaps: UInt = 0

  /// Bytes in runs of fragments that are live; part of ``allocatedBytes``.
  public var runBytes: UInt = 0
  /// Spans, each mapped on its own, that are live.
  public var spanCount: UInt = 0
  /// Their bytes.
  public var spanBytes: UInt = 0
  /// Allocations that went to the system's allocator because the pool was exhausted: cumulative.
  public var fallbackCount: UInt = 0
  /// Of these, not freed yet.
  public var fallbackLiveCount: UInt = 0
  /// Times that a segment was full and another reservation was needed or refused.
  public var limitHits: UInt = 0
  /// Requests that could not be served.
  public var exhaustions: UInt = 0

  /// Allocations that got a page of their own between guard pages: cumulative.
  public var guardedCount: UInt = 0
  /// Of these, not freed yet.
  public var guardedLiveCount: UInt = 0
  /// Allocations whose turn it was, when every such page was taken: cumulative.
  public var guardedMissedCount: UInt = 0

  /// Thread heaps ever made; they are reused, never unmapped.
  public var heapCount: UInt = 0
  /// Of these, owned by a thread.
  public var ownedHeapCount: UInt = 0
  /// Of these, abandoned with slabs in them.
  public var abandonedHeapCount: UInt = 0

  /// Rows of ``classes`` that are in use.
  public var classCount: UInt = 0
  /// One row a size class, smallest first.
  public var classes = InlineArray<64, ClassStatistics>(repeating: ClassStatistics())

  public init() {}
}

extension UInt {
  /// The difference, or 0.
  func minus(_ other: UInt) -> UInt { self > other ? self &- other : 0 }
}

/// What a pool holds of one size class.
public struct ClassStatistics: Sendable {
  /// Bytes of one item.
  public var itemSize: UInt = 0
  /// Items handed out and not given back.
  public var liveItems: UInt = 0
  /// Slabs of this class.
  public var slabs: UInt = 0
  /// Items that these slabs hold, live or not.
  public var capacity: UInt = 0

  public init() {}
}

/// What a figure counts.
public enum StatisticsUnit: Sendable { case bytes, count }

/// Somebody who wants each figure with its stable name.
public protocol StatisticsVisitor {
  /// The figures that follow belong together, under this title.
  mutating func group(_ title: StaticString)
  /// A figure: `key` is its name in JSON, in the text and in docs/statistics.md.
  mutating func figure(_ key: StaticString, _ value: UInt, _ unit: StatisticsUnit)
  /// A row of the table of size classes.
  mutating func sizeClass(_ row: ClassStatistics)
}

extension PoolStatistics {
  /// Shows every figure to `visitor`, in an order that does not change. The text, the JSON and the document's test are all
  /// made from this list.
  public func visit<Visitor: StatisticsVisitor>(_ visitor: inout Visitor) {
    visitor.group("snapshot")
    visitor.figure("process_id", processID, .count)
    visitor.figure("generation", generation, .count)
    visitor.group("memory")
    visitor.figure("requested_bytes", requestedBytes, .bytes)
    visitor.figure("requested_live_estimate_bytes", requestedLiveEstimateBytes, .bytes)
    visitor.figure("allocated_bytes", allocatedBytes, .bytes)
    visitor.figure("active_bytes", activeBytes, .bytes)
    visitor.figure("cached_bytes", cachedBytes, .bytes)
    visitor.figure("abandoned_bytes", abandonedBytes, .bytes)
    visitor.figure("committed_bytes", committedBytes, .bytes)
    visitor.figure("retained_bytes", retainedBytes, .bytes)
    visitor.figure("mapped_bytes", mappedBytes, .bytes)
    visitor.figure("metadata_bytes", metadataBytes, .bytes)
    visitor.figure("peak_active_bytes", peakActiveBytes, .bytes)
    visitor.figure("peak_committed_bytes", peakCommittedBytes, .bytes)
    visitor.group("purge")
    visitor.figure("purged_bytes", purgedBytes, .bytes)
    visitor.figure("purge_passes", purgePasses, .count)
    visitor.group("system calls")
    visitor.figure("map_calls", mapCalls, .count)
    visitor.figure("commit_calls", commitCalls, .count)
    visitor.figure("purge_calls", purgeCalls, .count)
    visitor.figure("unmap_calls", unmapCalls, .count)
    visitor.figure("resize_calls", resizeCalls, .count)
    visitor.figure("lock_calls", lockCalls, .count)
    visitor.figure("failed_calls", failedCalls, .count)
    visitor.group("process")
    visitor.figure("resident_bytes", residentBytes, .bytes)
    visitor.figure("minor_faults", minorFaults, .count)
    visitor.figure("major_faults", majorFaults, .count)
    visitor.group("remote frees")
    visitor.figure("remote_frees_pushed", remoteFreesPushed, .count)
    visitor.figure("remote_frees_drained", remoteFreesDrained, .count)
    visitor.group("claims")
    visitor.figure("claim_passes", claimPasses, .count)
    visitor.figure("claim_retries", claimRetries, .count)
    visitor.figure("claim_sleeps", claimSleeps, .count)
    visitor.figure("claim_failures", claimFailures, .count)
    visitor.figure("claim_lost_swaps", claimLostSwaps, .count)
    visitor.group("runs and spans")
    visitor.figure("run_bytes", runBytes, .bytes)
    visitor.figure("span_count", spanCount, .count)
    visitor.figure("span_bytes", spanBytes, .bytes)
    visitor.group("exhaustion")
    visitor.figure("fallback_count", fallbackCount, .count)
    visitor.figure("fallback_live_count", fallbackLiveCount, .count)
    visitor.figure("limit_hits", limitHits, .count)
    visitor.figure("exhaustions", exhaustions, .count)
    visitor.group("sampled guards")
    visitor.figure("guarded_count", guardedCount, .count)
    visitor.figure("guarded_live_count", guardedLiveCount, .count)
    visitor.figure("guarded_missed_count", guardedMissedCount, .count)
    visitor.group("heaps")
    visitor.figure("heap_count", heapCount, .count)
    visitor.figure("owned_heap_count", ownedHeapCount, .count)
    visitor.figure("abandoned_heap_count", abandonedHeapCount, .count)
    visitor.group("size classes")
    for index in 0..<min(Int(classCount), classes.count) { visitor.sizeClass(classes[index]) }
  }

  /// The first relation between the figures that does not hold, as a sentence; nil when all do. While threads run only the
  /// relations that no interleaving can break are looked at.
  public func brokenInvariant(isQuiescent: Bool) -> StaticString? {
    if ownedHeapCount &+ abandonedHeapCount > heapCount { return "more heaps are owned or abandoned than were made" }
    if classCount > UInt(classes.count) { return "more size classes than rows" }
    guard isQuiescent else { return nil }
    if allocatedBytes > activeBytes { return "more is allocated than active" }
    if activeBytes > committedBytes { return "more is active than committed" }
    if committedBytes > mappedBytes { return "more is committed than mapped" }
    if activeBytes > peakActiveBytes { return "the peak of active is below active" }
    if committedBytes > peakCommittedBytes { return "the peak of committed is below committed" }
    if remoteFreesDrained > remoteFreesPushed { return "more remote frees are drained than pushed" }
    if claimRetries > claimPasses { return "more claims were retried than passed" }
    if fallbackLiveCount > fallbackCount { return "more fallbacks are live than were made" }
    if guardedLiveCount > guardedCount { return "more guarded objects are live than were made" }
    for index in 0..<Int(classCount) where classes[index].liveItems > classes[index].capacity {
      return "more items of a class are live than its slabs hold"
    }
    return nil
  }

  /// Takes over what the platform counts for the whole process.
  public mutating func readSystemCounters() {
    var counters = mp_system_counters()
    mp_system_counters_read(&counters)
    processID = mp_process_id()
    mapCalls = counters.reserve &+ counters.map
    commitCalls = counters.commit
    purgeCalls = counters.purge
    unmapCalls = counters.release
    resizeCalls = counters.resize
    lockCalls = counters.lock
    failedCalls = counters.failed
    var usage = mp_system_usage()
    mp_system_usage_read(&usage)
    residentBytes = usage.resident_bytes
    minorFaults = usage.minor_faults
    majorFaults = usage.major_faults
  }
}
