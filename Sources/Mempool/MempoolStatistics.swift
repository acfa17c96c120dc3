internal import MempoolCore

/// What a pool has counted: bytes and counts, taken while threads run.
///
/// ```swift
/// let statistics = MemoryPool.shared.statistics()
/// print(statistics.allocatedBytes, statistics.committedBytes)
/// print(statistics)         // all of it, for people
/// log(statistics.json)      // all of it, for programs
/// ```
///
/// A snapshot is not one instant: each number is read where its writers keep it, one after the other. While no thread allocates
/// or deallocates the numbers are exact. <doc:ReadingTheStatistics> says what each is good for, and when it lies.
///
/// A value of about 2.5 KiB, without references.
public struct MempoolStatistics: Sendable {
  private let core: PoolStatistics

  init(_ core: PoolStatistics) { self.core = core }
}

extension MempoolStatistics {
  /// The process that it was taken in.
  public var processID: Int { Int(truncatingIfNeeded: core.processID) }

  /// The number of this snapshot in its process, from 1.
  public var generation: Int { Int(truncatingIfNeeded: core.generation) }

  /// Asked for by callers since the start: cumulative, summed over threads.
  public var requestedBytes: Int { Int(truncatingIfNeeded: core.requestedBytes) }

  /// Asked for and still live: estimated from a sample, not counted.
  public var requestedLiveEstimateBytes: Int { Int(truncatingIfNeeded: core.requestedLiveEstimateBytes) }

  /// In objects handed out and not given back, as rounded up to what holds them.
  public var allocatedBytes: Int { Int(truncatingIfNeeded: core.allocatedBytes) }

  /// In slabs, runs and spans that hold at least one live object.
  public var activeBytes: Int { Int(truncatingIfNeeded: core.activeBytes) }

  /// Free items in slabs that a thread owns: handed out next without asking anybody.
  public var cachedBytes: Int { Int(truncatingIfNeeded: core.cachedBytes) }

  /// Of slabs whose owner exited and that nobody has adopted yet.
  public var abandonedBytes: Int { Int(truncatingIfNeeded: core.abandonedBytes) }

  /// In pages that were handed out and not purged since, and in records: what may have memory behind it.
  public var committedBytes: Int { Int(truncatingIfNeeded: core.committedBytes) }

  /// Address space kept without memory behind it.
  public var retainedBytes: Int { Int(truncatingIfNeeded: core.retainedBytes) }

  /// Address space of all reservations and spans.
  public var mappedBytes: Int { Int(truncatingIfNeeded: core.mappedBytes) }

  /// The allocator's own records; part of ``committedBytes``.
  public var metadataBytes: Int { Int(truncatingIfNeeded: core.metadataBytes) }

  /// The most that ``activeBytes`` has been, at most: the peaks of segments and spans, added.
  public var peakActiveBytes: Int { Int(truncatingIfNeeded: core.peakActiveBytes) }

  /// The most that ``committedBytes`` has been, at least.
  public var peakCommittedBytes: Int { Int(truncatingIfNeeded: core.peakCommittedBytes) }

  /// Given back to the system, counted again each time.
  public var purgedBytes: Int { Int(truncatingIfNeeded: core.purgedBytes) }

  /// Times that somebody went looking for idle pages to give back.
  public var purgePasses: Int { Int(truncatingIfNeeded: core.purgePasses) }

  /// Calls that asked for address space or memory.
  public var mapCalls: Int { Int(truncatingIfNeeded: core.mapCalls) }

  /// Calls that made reserved address space accessible.
  public var commitCalls: Int { Int(truncatingIfNeeded: core.commitCalls) }

  /// Calls that gave memory back and kept its address space.
  public var purgeCalls: Int { Int(truncatingIfNeeded: core.purgeCalls) }

  /// Calls that gave address space back.
  public var unmapCalls: Int { Int(truncatingIfNeeded: core.unmapCalls) }

  /// Calls that resized a span in place or by moving its pages.
  public var resizeCalls: Int { Int(truncatingIfNeeded: core.resizeCalls) }

  /// Calls that locked memory.
  public var lockCalls: Int { Int(truncatingIfNeeded: core.lockCalls) }

  /// How many of all these failed.
  public var failedCalls: Int { Int(truncatingIfNeeded: core.failedCalls) }

  /// In memory now, of the whole process: what the kernel says. ``ProcessMemory`` says more, and takes longer.
  public var residentBytes: Int { Int(truncatingIfNeeded: core.residentBytes) }

  /// Page faults of the process that cost no input: cumulative.
  public var minorFaults: Int { Int(truncatingIfNeeded: core.minorFaults) }

  /// Page faults of the process that had to read from a disk: cumulative.
  public var majorFaults: Int { Int(truncatingIfNeeded: core.majorFaults) }

  /// Items freed by a thread that did not own their slab.
  public var remoteFreesPushed: Int { Int(truncatingIfNeeded: core.remoteFreesPushed) }

  /// Items that owners have collected of these.
  public var remoteFreesDrained: Int { Int(truncatingIfNeeded: core.remoteFreesDrained) }

  /// Passes over the bitmap, the first of each claim included.
  public var claimPasses: Int { Int(truncatingIfNeeded: core.claimPasses) }

  /// Passes that followed a sleep.
  public var claimRetries: Int { Int(truncatingIfNeeded: core.claimRetries) }

  /// Sleeps of `MPWAITTIME` nanoseconds.
  public var claimSleeps: Int { Int(truncatingIfNeeded: core.claimSleeps) }

  /// Claims that found nothing after their last pass.
  public var claimFailures: Int { Int(truncatingIfNeeded: core.claimFailures) }

  /// Swaps in vain, because another thread had changed the cell.
  public var claimLostSwaps: Int { Int(truncatingIfNeeded: core.claimLostSwaps) }

  /// Bytes in runs of fragments that are live; part of ``allocatedBytes``.
  public var runBytes: Int { Int(truncatingIfNeeded: core.runBytes) }

  /// Spans, each mapped on its own, that are live.
  public var spanCount: Int { Int(truncatingIfNeeded: core.spanCount) }

  /// Their bytes.
  public var spanBytes: Int { Int(truncatingIfNeeded: core.spanBytes) }

  /// Allocations that went to the system's allocator because the pool was exhausted: cumulative.
  public var fallbackCount: Int { Int(truncatingIfNeeded: core.fallbackCount) }

  /// Of these, not freed yet.
  public var fallbackLiveCount: Int { Int(truncatingIfNeeded: core.fallbackLiveCount) }

  /// Times that a segment was full and another reservation was needed or refused.
  public var limitHits: Int { Int(truncatingIfNeeded: core.limitHits) }

  /// Requests that could not be served.
  public var exhaustions: Int { Int(truncatingIfNeeded: core.exhaustions) }

  /// Allocations that got a page of their own between guard pages: cumulative.
  public var guardedCount: Int { Int(truncatingIfNeeded: core.guardedCount) }

  /// Of these, not freed yet.
  public var guardedLiveCount: Int { Int(truncatingIfNeeded: core.guardedLiveCount) }

  /// Allocations whose turn it was, when every such page was taken: cumulative.
  public var guardedMissedCount: Int { Int(truncatingIfNeeded: core.guardedMissedCount) }

  /// Thread heaps ever made; they are reused, never unmapped.
  public var heapCount: Int { Int(truncatingIfNeeded: core.heapCount) }

  /// Of these, owned by a thread.
  public var ownedHeapCount: Int { Int(truncatingIfNeeded: core.ownedHeapCount) }

  /// Of these, abandoned with slabs in them.
  public var abandonedHeapCount: Int { Int(truncatingIfNeeded: core.abandonedHeapCount) }
}

extension MempoolStatistics {
  /// What the pool holds of one size class.
  public struct SizeClass: Sendable, Equatable {
    /// Bytes of one item.
    public let itemSize: Int
    /// Items handed out and not given back.
    public let liveItems: Int
    /// Slabs of this class.
    public let slabs: Int
    /// Items that these slabs hold, live or not.
    public let capacity: Int
    /// The part of the slabs' items that is live, from 0 to 1; 0 when there are none.
    public var utilization: Double { capacity == 0 ? 0 : Double(liveItems) / Double(capacity) }
  }

  /// One row a size class, smallest first.
  public var classes: [SizeClass] {
    (0..<min(Int(core.classCount), core.classes.count)).map { index in
      let row = core.classes[index]
      return SizeClass(
        itemSize: Int(truncatingIfNeeded: row.itemSize), liveItems: Int(truncatingIfNeeded: row.liveItems),
        slabs: Int(truncatingIfNeeded: row.slabs), capacity: Int(truncatingIfNeeded: row.capacity))
    }
  }

  /// The statistics as one JSON object on one line, with the keys of docs/statistics.md: `allocated_bytes` for
  /// ``allocatedBytes``. Keys are stable: a later version adds some and takes none away.
  public var json: String {
    var sink = StringSink()
    core.writeJSON(to: &sink)
    return sink.text
  }

  /// The first relation between the figures that does not hold, as a sentence; nil when all do.
  ///
  /// - Parameter isQuiescent: Whether no thread allocated or deallocated while the snapshot was taken. If some did, only the
  ///   relations that they cannot break are looked at.
  public func brokenInvariant(isQuiescent: Bool) -> String? {
    core.brokenInvariant(isQuiescent: isQuiescent).map { "\($0)" }
  }
}

extension MempoolStatistics: CustomStringConvertible {
  /// The statistics as text for people: one figure a line, then a table of the size classes in use.
  public var description: String {
    var sink = StringSink()
    core.writeText(to: &sink)
    return sink.text
  }
}
