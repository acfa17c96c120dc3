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

  static func runTurn(_ count: UInt) {
    guard let run = segment.claimRun(count) else {
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

  static func check() -> String? { segment.checkInvariants() ? nil : String(cString: mp_machine_failure()) }
}

/// Pages and runs, and their memory that goes back to the system.
let segmentScenarios: [Scenario] = [
  Scenario(
    name: "purge",
    summary: "a purge returns two idle pages while a thread claims one, which waits for it though it may not retry",
    bodies: [{ Bench.purge() }, { Bench.sureTurn() }],
    setUp: { Bench.make(idle: 2, maxRetries: 0) }, check: Bench.check, bound: 2, fullBound: 5),
  Scenario(
    name: "purge-2", summary: "two purges of one idle page, which a third thread claims",
    bodies: [{ Bench.purge() }, { Bench.purge() }, { Bench.pagesTurn(1) }],
    setUp: { Bench.make(idle: 1) }, check: Bench.check, bound: 2, fullBound: 3),
  Scenario(
    name: "purge-pages", summary: "a purge, a claim of both pages that are free, and one of a fragment",
    bodies: [{ Bench.purge() }, { Bench.pagesTurn(2) }, { Bench.runTurn(1) }],
    setUp: { Bench.make(idle: 2) }, check: Bench.check, bound: 2, fullBound: 3),
  Scenario(
    name: "runs", summary: "runs of 3 and of 60 fragments, and a page, in two free pages",
    bodies: [{ Bench.runTurn(3) }, { Bench.runTurn(60) }, { Bench.pagesTurn(1) }],
    setUp: { Bench.make(idle: 2) }, check: Bench.check, bound: 2, fullBound: 3),
]
