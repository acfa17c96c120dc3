/// What one run of the claim benchmark does: who claims how, from where, and how a claim that finds nothing waits.
///
/// The same value describes a run on this machine and one on the simulated machine.
package struct ClaimSetup: Codable, Hashable, Sendable {
  /// How an item is claimed: what is done to its cell.
  package enum ClaimProtocol: String, Codable, CaseIterable, Sendable {
    /// The whole cell is taken, and the rest given back.
    case exchange
    /// Bits are picked in a loaded copy, which is swapped in.
    case compareAndSwap = "compare-and-swap"
    /// All free bits of a cell are taken and kept; then plain loads and stores do, until they are used up.
    case lease
  }

  /// Where a thread looks.
  package enum Placement: String, Codable, CaseIterable, Sendable {
    /// All cells, everyone from the first one on.
    case shared
    /// All cells, each thread from another one on.
    case spread
    /// Each thread in cells of its own; others only free into them.
    case owned
  }

  /// What a claim does that found nothing, before it passes over the cells again.
  package enum Wait: String, Codable, CaseIterable, Sendable {
    /// Sleeps for ``waitNanoseconds``, as MPWAITTIME says.
    case sleep
    /// Nothing.
    case spin
    /// The processor's pause instruction, for ``waitNanoseconds``.
    case pause
    /// Lets another thread run, if one waits for this processor.
    case yield
    /// Pauses: 1, 2, 4, … 1024 instructions.
    case exponential
    /// Sleeps until somebody frees, for ``waitNanoseconds`` at most.
    case futex
  }

  package var claimProtocol = ClaimProtocol.compareAndSwap
  package var placement = Placement.shared
  package var threads = 2
  /// MPMAXRETRIES: waits before a claim fails.
  package var maxRetries = 3
  package var wait = Wait.sleep
  /// MPWAITTIME.
  package var waitNanoseconds = 1000
  package var cells = 4
  /// 1…64.
  package var itemsPerCell = 64
  /// 1: each cell in a cache line of its own; 8: side by side, as in a bitmap.
  package var cellsPerLine = 1
  /// Items that a thread has before it frees its oldest one for each that it claims.
  package var held = 8
  /// The part of the frees, of 1, that the next thread makes.
  package var crossFree = 0.0
  /// Time between two operations, in which a thread computes.
  package var workNanoseconds = 0

  package init() {}

  /// The same with some changes.
  package func with(_ change: (inout ClaimSetup) -> Void) -> ClaimSetup {
    var other = self
    change(&other)
    return other
  }

  /// The cells in which this thread looks, and the one it starts from.
  package func cells(ofThread thread: Int) -> (range: Range<Int>, start: Int) {
    switch placement {
    case .shared: return (0..<cells, 0)
    case .spread: return (0..<cells, thread * cells / threads % cells)
    case .owned:
      if cells < threads { return (thread % cells..<thread % cells + 1, thread % cells) }
      let first = thread * cells / threads
      return (first..<(thread + 1) * cells / threads, first)
    }
  }

  /// What is wrong with it, in words; nil: nothing.
  package var complaint: String? {
    if !(1...1024).contains(threads) { return "\(threads) threads: from 1 to 1024" }
    if !(1...4096).contains(cells) { return "\(cells) cells: from 1 to 4096" }
    if !(1...64).contains(itemsPerCell) { return "\(itemsPerCell) items in a cell: from 1 to 64" }
    if cellsPerLine != 1, cellsPerLine != 8 { return "\(cellsPerLine) cells in a line: 1 or 8" }
    if !(1...4096).contains(held) { return "\(held) items held: from 1 to 4096" }
    if !(0...1).contains(crossFree) { return "a part of \(crossFree): from 0 to 1" }
    if maxRetries < 0 || waitNanoseconds < 0 || workNanoseconds < 0 { return "less than none" }
    return nil
  }
}
