import MempoolCore

/// What a pool may take at most: memory that does not come back to those who need it, and heaps that nobody adopts, break no
/// invariant, but grow. While all others of the run do nothing in the pool.
extension Run {
  /// The pool of `worker`, in which objects of so many bytes are live, must not use much more: rounding, slabs that are not full, and
  /// what each thread keeps.
  func checkActiveBytes(_ worker: Worker, live: Int) {
    let active = Int(worker.pool.statisticsAtRest().activeBytes)
    let most = live + live / 2 + setting.threads * (8 << 20) + (32 << 20)
    if active > most {
      fail("\(active) bytes are active for \(live) that are live; at most \(most) should be", in: worker)
    }
  }

  /// Not many more heaps than threads were there at once: `most`. Some adopt what others left beside their own, so that who comes next gets a
  /// new one. Not of the shared pool, which has what earlier scenarios left.
  func checkHeapCount(most: Int) {
    for (kind, pool) in pools where kind != .shared {
      let count = pool.statisticsAtRest().heapCount
      if count > 4 * most + 16 { fail("the \(kind) pool has \(count) heaps for at most \(most) threads at once") }
    }
  }
}
