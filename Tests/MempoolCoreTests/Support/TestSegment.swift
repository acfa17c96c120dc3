@testable import MempoolCore

/// A segment on its own, without a pool; gone with this value.
final class TestSegment {
  let segment: SegmentPointer
  private let memory: UnsafeMutableRawPointer?

  /// Exactly `pages` pages, all accessible, in memory of the test's; nothing of it is known to be zero.
  init(pages: Int) {
    let byteCount = (pages + 2) << Int(Page.shift) + pages * 64
    let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    let start = UInt(bitPattern: memory)
    // The least that gives that many pages.
    var count = UInt(pages) << Page.shift
    while (SegmentLayout(fitting: count, at: start)?.pageCapacity ?? 0) < UInt(pages) { count += 64 }
    segment = .buffer(start, byteCount: count, Segment.Settings())!
    self.memory = memory
    precondition(segment.pointee.pageCapacity == UInt(pages))
  }

  init?(elastic byteCount: UInt, _ settings: Segment.Settings = Segment.Settings()) {
    guard let segment = SegmentPointer.elastic(byteCount: byteCount, settings) else { return nil }
    self.segment = segment
    memory = nil
  }

  init?(fixed byteCount: UInt, _ settings: Segment.Settings = Segment.Settings()) {
    guard let segment = SegmentPointer.fixed(byteCount: byteCount, settings) else { return nil }
    self.segment = segment
    memory = nil
  }

  deinit {
    segment.destroy()
    memory?.deallocate()
  }

  /// Everything that says who has what: bitmap, page table, counts. Two equal ones: nothing changed in between.
  struct State: Equatable {
    var cells: [UInt] = []
    var entries: [UInt] = []
    var usedPages: UInt = 0
  }

  var state: State {
    var state = State()
    for page in 0..<segment.pageCount.loadRelaxed() {
      let entry = segment.entry(page)
      state.cells.append(segment.pointee.bitmap.value(ofCell: Int(page)))
      for word in [entry.reciprocal, entry.base, entry.slab, entry.heap] { state.entries.append(word.loadRelaxed()) }
    }
    state.usedPages = segment.usedPages.loadRelaxed()
    return state
  }

  /// The number of a fragment, counted from the segment's first.
  func number(_ address: UInt) -> Int { Int((address - segment.pointee.base) >> Page.fragmentShift) }

  func address(_ number: Int) -> UInt { segment.pointee.base + UInt(number) << Page.fragmentShift }

  /// Releases a run by one of its addresses, as `free` would.
  func release(_ address: UInt) -> Bool {
    guard case .run(let head, let count) = segment.run(at: address) else { return false }
    return segment.releaseRun(head, count)
  }
}

extension UnsafeMutablePointer where Pointee == Segment {
  /// The head and length of the run that holds `address`; nil when none does.
  func extent(at address: UInt) -> (head: UInt, count: UInt)? {
    if case .run(let head, let count) = run(at: address) { return (head, count) }
    return nil
  }
}
