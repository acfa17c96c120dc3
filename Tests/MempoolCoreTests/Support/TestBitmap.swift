@testable import MempoolCore

/// A bitmap in memory of its own, with a wait of its own.
final class TestBitmap: @unchecked Sendable {
  let bitmap: AtomicBitmap
  let wait: BoundedWaitPointer
  private let memory: UnsafeMutableRawPointer

  init(
    items: Int, capacity: Int? = nil, runLengths: RunLengths = [.one, .eight, .sixtyFour],
    strategy: AtomicBitmap.Strategy = .compareAndSwap
  ) {
    let cells = Cell.count(forItems: capacity ?? items)
    let byteCount = AtomicBitmap.byteCount(cellCount: cells, runLengths: runLengths)
    memory = .allocate(byteCount: byteCount, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    wait = .allocate(capacity: 1)
    wait.initialize(to: BoundedWait())
    bitmap = AtomicBitmap(
      zeroed: memory, cellCapacity: cells, runLengths: runLengths, itemCount: items, wait: wait, strategy: strategy)
  }

  deinit {
    memory.deallocate()
    wait.deallocate()
  }

  /// The indices of taken items.
  var taken: [Int] { (0..<bitmap.itemCount).filter { bitmap.isTaken($0) } }

  /// Sets a cell to a value, as if its items had been claimed one by one.
  func fill(_ cell: Int, _ value: UInt) {
    for bit in 0..<UInt.bitWidth where value >> UInt(bit) & 1 == 1 {
      precondition(bitmap.tryClaim(run: 1, at: cell * UInt.bitWidth + bit))
    }
  }
}
