@testable import MempoolCore

/// A bitmap in memory of its own, with a wait of its own. Dies when anything outside of its memory was written to.
final class TestBitmap: @unchecked Sendable {
  let bitmap: AtomicBitmap
  let wait: BoundedWaitPointer
  private let memory: UnsafeMutableRawPointer
  private let byteCount: Int

  private static var fence: Int { 64 }
  private static var fenceByte: UInt8 { 0xa5 }

  init(
    items: Int, capacity: Int? = nil, runLengths: RunLengths = [.one, .eight, .sixtyFour],
    strategy: AtomicBitmap.Strategy = .compareAndSwap
  ) {
    let cells = Cell.count(forItems: capacity ?? items)
    byteCount = AtomicBitmap.byteCount(cellCount: cells, runLengths: runLengths)
    memory = .allocate(byteCount: byteCount + 2 * Self.fence, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: Self.fenceByte, count: byteCount + 2 * Self.fence)
    (memory + Self.fence).initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    wait = .allocate(capacity: 1)
    wait.initialize(to: BoundedWait())
    bitmap = AtomicBitmap(
      zeroed: memory + Self.fence, cellCapacity: cells, runLengths: runLengths, itemCount: items, wait: wait,
      strategy: strategy)
  }

  deinit {
    for offset in 0..<Self.fence {
      precondition((memory + offset).load(as: UInt8.self) == Self.fenceByte)
      precondition((memory + Self.fence + byteCount + offset).load(as: UInt8.self) == Self.fenceByte)
    }
    memory.deallocate()
    wait.deallocate()
  }

  var values: [UInt] { (0..<bitmap.cellCount).map { bitmap.value(ofCell: $0) } }

  /// The indices of taken items.
  var taken: [Int] { (0..<bitmap.itemCount).filter { bitmap.isTaken($0) } }

  /// Gives a free cell a value, as if its items had been claimed one by one.
  func fill(_ cell: Int, _ value: UInt) {
    for bit in 0..<UInt.bitWidth where value >> UInt(bit) & 1 == 1 {
      precondition(bitmap.tryClaim(run: 1, at: cell * UInt.bitWidth + bit))
    }
  }
}

/// What a test must never do by accident: search everything.
extension AtomicBitmap {
  /// Words that a claim reads.
  func cost(run count: Int, from start: Int = 0) -> (index: Int?, wordsRead: Int) {
    var cost = SearchCost()
    let claim = tryClaim(run: count, from: start, &cost)
    return (claim?.index, cost.wordsRead)
  }
}
