import CMempoolShims

/// The sizes that runs of 4 KiB to 32 KiB come in, so that what one request gives back serves the next of about its size: eight a
/// doubling. At most a ninth of such a run is unused.
enum RunSize {
  /// The least and the most fragments. Other runs are as long as they are asked for.
  static var least: UInt { 16 }
  static var most: UInt { 128 }
  static var count: Int { 25 }

  // Sizes are multiples of 1 << shift: 2 fragments up to 32, then 4, then 8.
  @inline(__always)
  private static func shift(_ fragments: UInt) -> UInt {
    max(1, UInt(UInt.bitWidth - 4 - (fragments - 1).leadingZeroBitCount))
  }

  /// The least size of at least so many fragments.
  @inline(__always)
  static func rounded(_ fragments: UInt) -> UInt {
    guard fragments >= least, fragments <= most else { return fragments }
    let mask = 1 &<< shift(fragments) &- 1
    return (fragments + mask) & ~mask
  }

  /// Which size this is, from 0; nil: none.
  @inline(__always)
  static func index(_ fragments: UInt) -> Int? {
    guard fragments >= least, fragments <= most else { return nil }
    let shift = shift(fragments)
    guard fragments & (1 &<< shift &- 1) == 0 else { return nil }
    return Int(8 * shift + fragments &>> shift - 16)
  }
}

/// Runs of fragments that a thread has freed itself and keeps for its next request of their size: bounded in number and in bytes,
/// so that what an idle thread holds back is bounded.
///
/// Part of a thread heap, used by its owner alone; what a run is worth to the page table, a free one with taken fragments, is
/// seen by all, so a second free of it is still found. Nothing is written into the runs. O(1).
struct RunCache {
  struct Slot {
    var segment: SegmentPointer?
    var head: UInt = 0
    var count: UInt16 = 0
    // Neighbours among the slots of the same size, or the next one without a run: a slot's number, from 1; 0: none.
    var next: UInt8 = 0
    var previous: UInt8 = 0
  }

  /// Bytes that a thread keeps at most.
  static var largestTotal: UInt { 64 << 10 }
  static var capacity: Int { 64 }

  // The newest run of each size.
  var newest = InlineArray<25, UInt8>(repeating: 0)
  // Slots 1…carved were used before; those of them without a run are linked from `vacant`.
  var vacant: UInt8 = 0
  var carved: UInt8 = 0
  // The slot, from 0, whose run goes back next.
  var hand: UInt8 = 0
  // Their runs' bytes are ThreadHeap.cachedRunBytes
  var slots = InlineArray<64, Slot>(repeating: Slot())
}

extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// A kept run of exactly `count` fragments; its address.
  @inline(__always)
  func takeRun(_ count: UInt) -> UInt? {
    guard let size = RunSize.index(count) else { return nil }
    let number = pointee.runs.newest[size]
    guard number != 0 else { return nil }
    let slot = pointee.runs.slots[Int(number) - 1]
    removeRun(number, size)
    slot.segment.unsafelyUnwrapped.revive(slot.head, count)
    return slot.head
  }

  /// Keeps a run that this thread has freed and ``Segment`` has taken out of use; gives others back to make room. Its size is
  /// one of ``RunSize``.
  @inline(__always)
  func keepRun(_ segment: SegmentPointer, _ head: UInt, _ count: UInt, _ size: Int) {
    let bytes = count << Page.fragmentShift
    while cachedRunBytes.loadRelaxed() + bytes > RunCache.largestTotal { releaseNextRun() }
    var number = pointee.runs.vacant
    if number == 0, Int(pointee.runs.carved) == RunCache.capacity {
      releaseNextRun()
      number = pointee.runs.vacant
    }
    if number != 0 {
      pointee.runs.vacant = pointee.runs.slots[Int(number) - 1].next
    } else {
      number = pointee.runs.carved + 1
      pointee.runs.carved = number
    }
    let next = pointee.runs.newest[size]
    pointee.runs.slots[Int(number) - 1] = RunCache.Slot(
      segment: segment, head: head, count: UInt16(count), next: next, previous: 0)
    if next != 0 { pointee.runs.slots[Int(next) - 1].previous = number }
    pointee.runs.newest[size] = number
    cachedRunBytes.addUnshared(bytes)
  }

  /// Gives back all that is kept.
  func releaseRuns() {
    while cachedRunBytes.loadRelaxed() > 0 { releaseNextRun() }
  }

  // There is one. Cold. About the oldest: slots are looked at in turn.
  @inline(never)
  private func releaseNextRun() {
    while true {
      let number = pointee.runs.hand + 1
      pointee.runs.hand = number < pointee.runs.carved ? number : 0
      let slot = pointee.runs.slots[Int(number) - 1]
      guard let segment = slot.segment, let size = RunSize.index(UInt(slot.count)) else { continue }
      removeRun(number, size)
      return segment.releaseRetired(slot.head, UInt(slot.count))
    }
  }

  @inline(__always)
  private func removeRun(_ number: UInt8, _ size: Int) {
    let slot = pointee.runs.slots[Int(number) - 1]
    if slot.previous != 0 {
      pointee.runs.slots[Int(slot.previous) - 1].next = slot.next
    } else {
      pointee.runs.newest[size] = slot.next
    }
    if slot.next != 0 { pointee.runs.slots[Int(slot.next) - 1].previous = slot.previous }
    pointee.runs.slots[Int(number) - 1] = RunCache.Slot(segment: nil, next: pointee.runs.vacant)
    pointee.runs.vacant = number
    cachedRunBytes.addUnshared(0 &- UInt(slot.count) << Page.fragmentShift)
  }
}
