import MempoolCore

/// What must hold between rounds, when nothing runs and nothing is on its way.
extension Run {
  /// Everything that is live, by the threads' own records, against the pool's: no two blocks share a byte, whatever their patterns say;
  /// and the pool counts these objects, class by class, and no others, unless some are on their way from thread to thread.
  func checkBlocks(in pool: MemoryPoolPointer, someOnTheirWay: Bool = false) {
    guard !hasFailed, !scenario.ownPools, let kind = pools.first(where: { $0.pool == pool })?.kind else { return }
    let blocks = workers.flatMap(\.shadow.blocks).sorted { $0.address < $1.address }
    for (block, next) in zip(blocks, blocks.dropFirst()) where block.address + UInt(max(block.size, 1)) > next.address {
      fail(
        "blocks of \(block.size) bytes at \(block.pointer) and of \(next.size) at \(next.pointer) share memory,"
          + " of threads \(block.tag.owner) and \(next.tag.owner)")
    }
    var usableBytes = 0
    var liveItems: [UInt: UInt] = [:]
    for block in blocks {
      let usable = pool.usableSize(of: block.pointer)
      usableBytes += Int(usable)
      liveItems[usable, default: 0] += 1
    }
    let statistics = pool.statisticsAtRest()
    let allocated = Int(statistics.allocatedBytes)
    guard kind.isExact && !someOnTheirWay else {
      if allocated < usableBytes {
        fail("the \(kind) pool counts \(allocated) bytes, and \(usableBytes) are in use, after round \(rounds)")
      }
      return
    }
    if allocated != usableBytes {
      fail("the \(kind) pool counts \(allocated) bytes, not the \(usableBytes) that are in use, after round \(rounds)")
    }
    for index in 0..<Int(statistics.classCount) {
      let row = statistics.classes[index], expected = liveItems[row.itemSize] ?? 0
      // A run, which is what alignment may ask for, can be as large as an item.
      let mayBeRuns = row.itemSize % 256 == 0
      if row.liveItems > expected || row.liveItems < expected && !mayBeRuns {
        fail("the \(kind) pool counts \(row.liveItems) items of \(row.itemSize) bytes, not \(expected)")
      }
    }
  }

  /// The invariants of the round's pool, and that nothing is lost in it; only when everything has been freed.
  func checkInvariants(of pool: MemoryPoolPointer, _ kind: PoolKind) {
    guard !hasFailed else { return }
    if !pool.checkInvariants() { fail("the \(kind) pool's invariants do not hold after round \(rounds)") }
    let statistics = pool.statisticsAtRest()
    if statistics.allocatedBytes != 0 {
      fail("the \(kind) pool counts \(statistics.allocatedBytes) bytes after round \(rounds) that nobody has")
    }
    for index in 0..<Int(statistics.classCount) where statistics.classes[index].liveItems != 0 {
      fail("the \(kind) pool counts items of \(statistics.classes[index].itemSize) bytes that nobody has")
    }
    if let broken = statistics.brokenInvariant(isQuiescent: true) { fail("the \(kind) pool's statistics: \(broken)") }
  }

  /// At the end: whether the scenario did what it is there for. A single thread has nobody to hand anything to, and a round or two may
  /// be over before everything has had its turn.
  func checkCounts() {
    guard !hasFailed, setting.threads > 1, rounds > 2 else { return }
    let counters = counters
    for counter in scenario.mustCount where counters[counter] == 0 {
      fail("nothing was counted as \(counter.name): this run has not shown what it is for")
    }
  }
}
