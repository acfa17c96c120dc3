import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// A segment of which few pages are free.
private enum Bench {
  nonisolated(unsafe) static var segment = SegmentPointer(bitPattern: 8)!

  /// Elastic, with so many idle pages.
  static func make(idle: Int, maxRetries: UInt? = nil) {
    Items.clear()
    var settings = Segment.Settings()
    settings.maxRetries = maxRetries
    settings.purgeDelay = .max
    segment = SegmentPointer.elastic(byteCount: 1 << 20, settings)!
    Names.add(segment)
    var pages: [UInt] = []
    while let run = segment.claimPages(1) { pages.append(run.address) }
    for page in pages.suffix(idle) {
      UnsafeMutablePointer<UInt>(bitPattern: page)!.pointee = 0xdead
      segment.releasePages(page, 1)
    }
    Items.keep()
  }

  /// Elastic, with nothing accessible yet.
  static func makeFresh() {
    Items.clear()
    Items.keep()
    segment = SegmentPointer.elastic(byteCount: 1 << 20, Segment.Settings())!
    Names.add(segment)
  }

  nonisolated(unsafe) static var list = SegmentListPointer(bitPattern: 8)!

  /// A list with one segment, which is full; a further one may be had.
  static func makeList() {
    make(idle: 0)
    list = UnsafeMutableRawPointer(bitPattern: segment.allocateMetadata(UInt(MemoryLayout<SegmentList>.size))!)!
      .assumingMemoryBound(to: SegmentList.self)
    list.initialize(to: SegmentList())
    list.pointee.furtherReserve = 1 << 20
    list.insert(segment)
    Names.add(UInt(bitPattern: list), 32) { "list+\($0)" }
  }

  static func listTurn() {
    guard let (run, segment) = list.claim(pages: 1, { $0.claimPages(1) }) else {
      mp_model_fail("finds no page, where there is another segment")
    }
    Items.take(run.address)
    Items.give(run.address)
    segment.releasePages(run.address, 1)
  }

  static func checkList() -> String? {
    var isSound = list.checkInvariants()
    var count = 0
    list.first { segment in
      if !segment.checkInvariants() { isSound = false }
      count += 1
      return false
    }
    if !isSound { return String(cString: mp_machine_failure()) }
    return count == 2 ? nil : "\(count) segments, where two would do"
  }

  /// The same, and a purger that is awake; no page is idle.
  static func makePurger() {
    makeList()
    Purger.state.storeRelaxed(Purger.State.awake)
    Names.add(UInt(bitPattern: mp_purger_address()), "purger.state")
  }

  static func park() {
    mp_model_note("parks", 0)
    Purger.park { segment.hasIdleMemory }
  }

  static func purge() {
    mp_model_note("purges", 0)
    segment.purge(atMost: .max)
  }

  /// Claims pages, uses them, and gives them back.
  static func pagesTurn(_ count: UInt) {
    guard let run = segment.claimPages(count) else {
      mp_model_note("finds no pages", 0)
      return
    }
    for page in 0..<count {
      let address = run.address + page << Page.shift
      if run.isZero, mp_model_read(UnsafeRawPointer(bitPattern: address)!) != 0 {
        mp_model_fail("a page that counts as zero is not")
      }
      Items.take(address)
    }
    for page in 0..<count { Items.give(run.address + page << Page.shift) }
    segment.releasePages(run.address, count)
  }

  static func sureTurn() {
    guard let run = segment.claimPages(1) else { mp_model_fail("finds no page, where there is always one") }
    Items.take(run.address)
    Items.give(run.address)
    segment.releasePages(run.address, 1)
  }

  static func runTurn(_ count: UInt, isSure: Bool = false) {
    guard let run = segment.claimRun(count) else {
      if isSure { mp_model_fail("finds no run, where there is always one") }
      mp_model_note("finds no run", 0)
      return
    }
    if run.isZero, mp_model_read(UnsafeRawPointer(bitPattern: run.address)!) != 0 {
      mp_model_fail("a run that counts as zero is not")
    }
    Items.take(run.address)
    guard case .run(let head, let found) = segment.run(at: run.address), head == run.address, found == count else {
      mp_model_fail("a run is not where the page table says")
    }
    Items.give(run.address)
    if !segment.releaseRun(run.address, count) { mp_model_fail("a run is released, and was not taken") }
  }

  /// What holds between any two operations: what somebody has is taken, in no more pages than there are. Counts follow what they count, and so
  /// does the page table: they agree when nobody is under way.
  static func always() -> String? {
    HeapBench.always(segment)
      ?? Items.first { address in
        guard segment.contains(address) else { return nil }
        let fragment = Int((address - segment.pointee.base) >> Page.fragmentShift)
        return segment.pointee.bitmap.isTaken(fragment) ? nil : "is held, and counts as free"
      }
  }

  static func check() -> String? { segment.checkInvariants() ? nil : String(cString: mp_machine_failure()) }
}

/// Pages and runs, and their memory that goes back to the system.
let segmentScenarios: [Scenario] = [
  Scenario(
    name: "purge",
    summary: "a purge returns two idle pages while a thread claims one, which waits for it though it may not retry",
    bodies: [{ Bench.purge() }, { Bench.sureTurn() }],
    setUp: { Bench.make(idle: 2, maxRetries: 0) }, check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "purge-run", summary: "the same with a claim of one fragment, which only looks at cells that it cannot use",
    bodies: [{ Bench.purge() }, { Bench.runTurn(1, isSure: true) }],
    setUp: { Bench.make(idle: 1, maxRetries: 0) }, check: Bench.check, bound: 3, fullBound: 5),
  Scenario(
    name: "purge-2", summary: "two purges of one idle page, which a third thread claims",
    bodies: [{ Bench.purge() }, { Bench.purge() }, { Bench.pagesTurn(1) }],
    setUp: { Bench.make(idle: 1) }, check: Bench.check, bound: 2, fullBound: 3),
  Scenario(
    name: "purge-pages", summary: "a purge, a claim of both pages that are free, and one of a fragment",
    bodies: [{ Bench.purge() }, { Bench.pagesTurn(2) }, { Bench.runTurn(1) }],
    setUp: { Bench.make(idle: 2) }, check: Bench.check, bound: 2, fullBound: 3),
  Scenario(
    name: "stopped-purger",
    summary: "a thread is stopped anywhere in a purge of all idle pages: a claim succeeds or fails",
    bodies: [{ Bench.purge() }, { Bench.pagesTurn(1) }],
    setUp: { Bench.make(idle: 1, maxRetries: 0) }, check: { mp_machine_stopped() < 0 ? Bench.check() : nil }, bound: 2,
    fullBound: 3, stoppable: 0),
  Scenario(
    name: "segment-grow", summary: "2 threads claim pages of a segment of which nothing is accessible yet",
    bodies: [{ Bench.sureTurn() }, { Bench.sureTurn() }],
    setUp: { Bench.makeFresh() }, check: Bench.check, bound: 3, fullBound: 4),
  Scenario(
    name: "segments", summary: "2 threads claim pages where all segments are full: one reserves another",
    bodies: [{ Bench.listTurn() }, { Bench.listTurn() }],
    setUp: { Bench.makeList() }, check: Bench.checkList, bound: 2, fullBound: 3),
  Scenario(
    name: "purger", summary: "the purger goes to sleep while pages become idle: somebody wakes it, or it sees them",
    bodies: [{ Bench.park() }, { Bench.segment.releasePages(Bench.segment.address(ofPage: 62), 1) }],
    setUp: { Bench.makePurger() }, check: Bench.check, bound: 4, fullBound: 6),
  Scenario(
    name: "runs", summary: "runs of 3 and of 60 fragments, and a page, in two free pages",
    bodies: [{ Bench.runTurn(3) }, { Bench.runTurn(60) }, { Bench.pagesTurn(1) }],
    setUp: { Bench.make(idle: 2) }, check: Bench.check, bound: 2, fullBound: 3),
].map { $0.watched(by: Bench.always) }
