import CMempoolShims

/// Runs of fragments that a thread keeps for its next request of such a size: a few, bounded in bytes, so that what an idle
/// thread holds back is bounded.
///
/// Part of a thread heap, used by its owner alone; what a run is worth to the page table, a free one with taken fragments, is
/// seen by all, so a second free of it is still found. O(1).
struct RunCache {
  struct Entry {
    var segment: SegmentPointer
    var head: UInt
    var count: UInt
  }

  /// Bytes and runs that a thread keeps at most, and the largest that it does.
  static var largestTotal: UInt { 64 << 10 }
  static var largestRun: UInt { 32 << 10 }
  static var capacity: Int { 8 }

  // entries[0..<entryCount], oldest first; their bytes are ThreadHeap.cachedRunBytes
  var entryCount = 0
  var entries = InlineArray<8, Entry?>(repeating: nil)
}

extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// A kept run of at least `count` fragments and no more than an eighth beyond; its address and length.
  func takeRun(_ count: UInt) -> (address: UInt, count: UInt)? {
    var index = pointee.runs.entryCount
    while index > 0 {
      index -= 1
      guard let entry = pointee.runs.entries[index] else { continue }
      guard entry.count >= count, entry.count <= count + count / 8 else { continue }
      removeRun(index)
      entry.segment.revive(entry.head)
      return (entry.head, entry.count)
    }
    return nil
  }

  /// Keeps a run that this thread has freed and ``Segment`` has taken out of use; gives older ones back to make room. False:
  /// it is not one to keep.
  func keepRun(_ segment: SegmentPointer, _ head: UInt, _ count: UInt) -> Bool {
    let bytes = count << Page.fragmentShift
    guard bytes <= RunCache.largestRun else { return false }
    while pointee.runs.entryCount == RunCache.capacity || cachedRunBytes.loadRelaxed() + bytes > RunCache.largestTotal {
      releaseOldestRun()
    }
    pointee.runs.entries[pointee.runs.entryCount] = RunCache.Entry(segment: segment, head: head, count: count)
    pointee.runs.entryCount += 1
    cachedRunBytes.addUnshared(bytes)
    return true
  }

  /// Gives back all that is kept.
  func releaseRuns() {
    while pointee.runs.entryCount > 0 { releaseOldestRun() }
  }

  private func releaseOldestRun() {
    guard let oldest = pointee.runs.entries[0] else { return }
    removeRun(0)
    oldest.segment.releaseShortRun(oldest.head, oldest.count)
  }

  private func removeRun(_ index: Int) {
    guard let entry = pointee.runs.entries[index] else { return }
    cachedRunBytes.addUnshared(0 &- (entry.count << Page.fragmentShift))
    let last = pointee.runs.entryCount - 1
    for place in index..<last { pointee.runs.entries[place] = pointee.runs.entries[place + 1] }
    pointee.runs.entries[last] = nil
    pointee.runs.entryCount = last
  }
}
