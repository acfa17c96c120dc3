/// Blocks for one thread from any number of others, under a lock: sender and receiver know of each other, as in most programs.
final class Mailbox: @unchecked Sendable {  // `blocks` is read and written under the lock only
  private let lock = Lock()
  private var blocks: [Block] = []
  private let capacity: Int

  init(capacity: Int) {
    self.capacity = capacity
    blocks.reserveCapacity(capacity)
  }

  /// False when there is no room.
  func send(_ block: Block) -> Bool {
    lock.withLock {
      guard blocks.count < capacity else { return false }
      blocks.append(block)
      return true
    }
  }

  /// Nil when nothing has come.
  func receive() -> Block? {
    lock.withLock { blocks.popLast() }
  }
}
