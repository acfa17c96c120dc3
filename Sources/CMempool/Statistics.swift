import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Statistics: mempool.h has the calls, docs/statistics.md what each figure means.

@c @implementation public func mp_stats_read(_ stats: UnsafeMutablePointer<mp_stats_t>!) {
  stats.pointee = mp_stats_t(MemoryPoolPointer.shared.statistics())
}

@c @implementation public func mp_pool_stats_read(_ handle: OpaquePointer!, _ stats: UnsafeMutablePointer<mp_stats_t>!)
{
  stats.pointee = mp_stats_t(pool(handle).statistics())
}

@c @implementation public func mp_stats_print(_ descriptor: Int32, _ json: Int32) -> Int32 {
  MemoryPoolPointer.shared.statistics().write(json == 0 ? .text : .json, to: descriptor) ? 0 : -1
}

@c @implementation public func mp_pool_stats_print(_ handle: OpaquePointer!, _ descriptor: Int32, _ json: Int32)
  -> Int32
{
  pool(handle).statistics().write(json == 0 ? .text : .json, to: descriptor) ? 0 : -1
}

extension mp_stats_t {
  /// Field by field: the names are the keys of the JSON, and a test compares the two.
  fileprivate init(_ statistics: PoolStatistics) {
    self.init(
      requested_bytes: UInt64(statistics.requestedBytes),
      requested_live_estimate_bytes: UInt64(statistics.requestedLiveEstimateBytes),
      allocated_bytes: UInt64(statistics.allocatedBytes),
      active_bytes: UInt64(statistics.activeBytes),
      cached_bytes: UInt64(statistics.cachedBytes),
      abandoned_bytes: UInt64(statistics.abandonedBytes),
      committed_bytes: UInt64(statistics.committedBytes),
      retained_bytes: UInt64(statistics.retainedBytes),
      mapped_bytes: UInt64(statistics.mappedBytes),
      metadata_bytes: UInt64(statistics.metadataBytes),
      peak_active_bytes: UInt64(statistics.peakActiveBytes),
      peak_committed_bytes: UInt64(statistics.peakCommittedBytes),
      purged_bytes: UInt64(statistics.purgedBytes),
      purge_passes: UInt64(statistics.purgePasses),
      map_calls: UInt64(statistics.mapCalls),
      commit_calls: UInt64(statistics.commitCalls),
      purge_calls: UInt64(statistics.purgeCalls),
      unmap_calls: UInt64(statistics.unmapCalls),
      resize_calls: UInt64(statistics.resizeCalls),
      lock_calls: UInt64(statistics.lockCalls),
      failed_calls: UInt64(statistics.failedCalls),
      resident_bytes: UInt64(statistics.residentBytes),
      minor_faults: UInt64(statistics.minorFaults),
      major_faults: UInt64(statistics.majorFaults),
      remote_frees_pushed: UInt64(statistics.remoteFreesPushed),
      remote_frees_drained: UInt64(statistics.remoteFreesDrained),
      claim_passes: UInt64(statistics.claimPasses),
      claim_retries: UInt64(statistics.claimRetries),
      claim_sleeps: UInt64(statistics.claimSleeps),
      claim_failures: UInt64(statistics.claimFailures),
      claim_lost_swaps: UInt64(statistics.claimLostSwaps),
      span_count: UInt64(statistics.spanCount),
      span_bytes: UInt64(statistics.spanBytes),
      run_bytes: UInt64(statistics.runBytes),
      fallback_count: UInt64(statistics.fallbackCount),
      fallback_live_count: UInt64(statistics.fallbackLiveCount),
      limit_hits: UInt64(statistics.limitHits),
      exhaustions: UInt64(statistics.exhaustions),
      guarded_count: UInt64(statistics.guardedCount),
      guarded_live_count: UInt64(statistics.guardedLiveCount),
      guarded_missed_count: UInt64(statistics.guardedMissedCount),
      heap_count: UInt64(statistics.heapCount),
      owned_heap_count: UInt64(statistics.ownedHeapCount),
      abandoned_heap_count: UInt64(statistics.abandonedHeapCount))
  }
}
