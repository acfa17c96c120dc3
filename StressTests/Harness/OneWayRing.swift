import Synchronization

/// Hands blocks from one thread to one other, and tells the sender nothing about the receiver's doings.
///
/// The receiver empties a slot with a relaxed store, and the sender looks for empty slots with relaxed loads: the release and the
/// acquire go from sender to receiver only. So when the receiver frees a block and the sender is given the same memory again, nothing but
/// the allocator's own ordering carries the receiver's accesses to the sender, and ThreadSanitizer sees it when that is missing. A
/// slot is a single word (a ``Parcel``), which is why no second ordering is needed to use it again.
final class OneWayRing: @unchecked Sendable {  // slots are atomic; `head` is the receiver's, `tail` the sender's
  private let slots: UnsafeMutablePointer<Atomic<UInt>>
  private let capacity: Int
  private var head = 0
  private var tail = 0
  let sender: Int

  init(sender: Int, capacity: Int) {
    self.sender = sender
    self.capacity = capacity
    slots = .allocate(capacity: capacity)
    for i in 0..<capacity { (slots + i).initialize(to: Atomic(0)) }
  }

  deinit {
    slots.deinitialize(count: capacity)
    slots.deallocate()
  }

  /// For the one sender: false when there is no room. The block must carry the sender's tag.
  func send(_ block: Block) -> Bool {
    guard slots[tail].load(ordering: .relaxed) == 0 else { return false }
    slots[tail].store(Parcel(block).word, ordering: .releasing)  // release: pairs with the acquire in receive()
    tail = tail + 1 == capacity ? 0 : tail + 1
    return true
  }

  /// For the one receiver: nil when nothing has come.
  func receive() -> Block? {
    let word = slots[head].load(ordering: .acquiring)  // acquire: pairs with the release in send(_:)
    guard word != 0 else { return nil }
    slots[head].store(0, ordering: .relaxed)
    head = head + 1 == capacity ? 0 : head + 1
    return Parcel(word: word).open(owner: sender)
  }
}
