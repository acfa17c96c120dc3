import MempoolCore

/// The memory that the threads of one run share, all of it in words: cells, mailboxes, who owns which item, and the gate at
/// which waiters stand. Owned by the run; freed when its threads have ended.
struct ClaimArena {
  // cell i at cells + i * cellStride; bits beyond the items of a cell are set and stay so, so that full is busy.
  let cells: UnsafeMutablePointer<UInt>
  let cellStride: Int
  let mailboxes: UnsafeMutablePointer<UInt>
  // 0: free; thread + 1. Only used where owners are checked.
  let owners: UnsafeMutablePointer<UInt>
  // A line each: whether to stop, how many wait, how often something was freed while they did, how many
  // are done, how many have begun.
  private let gate: UnsafeMutablePointer<UInt>
  private let memory: UnsafeMutableRawPointer

  init(_ setup: ClaimSetup) {
    cellStride = 8 / setup.cellsPerLine
    let cellWords = (setup.cells * cellStride + 7) / 8 * 8
    let mailWords = setup.threads * Mailbox.wordCount
    let ownerWords = setup.cells * Cell.itemCount
    let count = 40 + cellWords + mailWords + ownerWords
    memory = .allocate(byteCount: count * MemoryLayout<UInt>.size, alignment: 128)
    gate = memory.initializeMemory(as: UInt.self, repeating: 0, count: count)
    cells = gate + 40
    mailboxes = cells + cellWords
    owners = mailboxes + mailWords
    for cell in 0..<setup.cells { cells[cell * cellStride] = Cell.surplus(beyond: setup.itemsPerCell) }
  }

  func deallocate() { memory.deallocate() }

  @inline(__always)
  func cell(_ index: Int) -> AtomicPointer { AtomicPointer(cells + index &* cellStride) }

  func mailbox(ofThread thread: Int) -> Mailbox { Mailbox(zeroed: mailboxes + thread * Mailbox.wordCount) }

  var stop: AtomicPointer { AtomicPointer(gate) }
  var waiters: AtomicPointer { AtomicPointer(gate + 8) }
  var frees: AtomicPointer { AtomicPointer(gate + 16) }
  var finished: AtomicPointer { AtomicPointer(gate + 24) }
  var begun: AtomicPointer { AtomicPointer(gate + 32) }
  var freesWord: UnsafeMutablePointer<UInt> { gate + 16 }

  /// Whether every item is free, when no thread runs.
  func isEmpty(_ setup: ClaimSetup) -> Bool {
    (0..<setup.cells).allSatisfy { cell($0).loadRelaxed() == Cell.surplus(beyond: setup.itemsPerCell) }
  }
}

// Addresses only; what they lead to is changed by atomic operations, or by one thread.
extension ClaimArena: @unchecked Sendable {}
