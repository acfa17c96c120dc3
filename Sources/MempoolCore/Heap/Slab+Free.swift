import CMempoolShims

extension UnsafeMutablePointer where Pointee == Slab {
  /// Takes an item back that looks as if it were out: into the free set, if the slab is in a heap of this thread's, be it one that it
  /// adopted; else as other threads do.
  func deallocate(_ item: UInt, _ call: CallName) {
    isOwnedByThisThread ? putSlow(item, call) : deallocateRemotely(item, call)
  }

  /// Whether it is in a heap of this thread's, be it one that it adopted.
  @inline(__always)
  var isOwnedByThisThread: Bool { pointee.heap.owner.loadRelaxed() == UInt(bitPattern: threadBlock()) }

  /// By any thread but the owner, when the item looks as if it were out. Lock-free.
  @inline(__always)
  func deallocateRemotely(_ item: UInt, _ call: CallName) {
    switch freeRemotely(item) {
    case .told: break
    case .first: tellHeap(item)
    case .twice: freedTwice(item, call)
    }
  }

  @inline(never)
  private func tellHeap(_ item: UInt) {
    if tell(item) { pointee.heap.push(self) }
  }

  @inline(never)
  func putSlow(_ item: UInt, _ call: CallName) {
    if isUncollected(item) { freedTwice(item, call) }
    if put(item) { pointee.heap.settle(self) }
  }

  @inline(never)
  private func freedTwice(_ item: UInt, _ call: CallName) -> Never { misuse(call, address(item), "double free") }
}
