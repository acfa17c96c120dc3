import CMempoolShims

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// The calling thread's heap in this pool; nil when it can have none: it is past its exit handlers, or there are too many.
  /// Takes one on the thread's first use.
  func threadHeap() -> ThreadHeapPointer? {
    let block = threadBlock()
    if self == .shared {
      if block.pointee.state == UInt(MP_THREAD_LIVE) {
        return block.realHeapRecord.assumingMemoryBound(to: ThreadHeap.self)
      }
      return block.pointee.state == UInt(MP_THREAD_NEW) ? startThread(block) : nil
    }
    let slot = Int(pointee.id) % Int(MP_THREAD_RECENT)
    return Self.recent(block, slot) { entry -> ThreadHeapPointer? in
      if entry.pointee.owner == pointee.id { return entry.pointee.value?.assumingMemoryBound(to: ThreadHeap.self) }
      guard block.pointee.state != UInt(MP_THREAD_DEAD) else { return nil }
      guard let heap = ownHeap(of: block) ?? registry.acquire(for: block) else { return nil }
      Process.threadBegan(block)
      block.pointee.registered += 1
      entry.pointee.owner = pointee.id
      entry.pointee.value = UnsafeMutableRawPointer(heap)
      // Not by way of the shared pool, whose memory a pool that has all of its own must not need. May allocate.
      mp_thread_exit_arm()
      return heap
    }
  }

  private static func recent<Result>(
    _ block: ThreadBlock, _ slot: Int, _ body: (UnsafeMutablePointer<mp_thread_entry>) -> Result
  ) -> Result {
    body(mp_thread_recent(block) + slot)
  }

  /// The heap that the calling thread has in this pool and remembers; nil does not mean that it has none. O(1).
  func ownedHeap() -> ThreadHeapPointer? {
    let block = threadBlock()
    guard block.pointee.state == UInt(MP_THREAD_LIVE) || self != .shared else { return nil }
    if self == .shared { return block.realHeapRecord.assumingMemoryBound(to: ThreadHeap.self) }
    let entry = mp_thread_recent(block)[Int(pointee.id) % Int(MP_THREAD_RECENT)]
    return entry.owner == pointee.id ? entry.value?.assumingMemoryBound(to: ThreadHeap.self) : nil
  }

  /// The heap that a thread has in this pool already. O(heaps): threads remember the pools that they used last.
  func ownHeap(of block: ThreadBlock) -> ThreadHeapPointer? {
    guard state.loadRelaxed() & MemoryPool.State.owning != 0 else { return nil }
    for index in 0..<registry.count {
      guard let heap = registry.heap(index), heap.owner.loadRelaxed() == UInt(bitPattern: block) else { continue }
      // Adopted beside another, it is not the first.
      if !heap.pointee.isAdoptedBeside { return heap }
    }
    return nil
  }

  /// Lets a thread that only frees take the usual way, too: it learns where the shared pool's first pages are. It gets no heap.
  func introduce(_ block: ThreadBlock) {
    guard self == .shared, block.pointee.state == UInt(MP_THREAD_NEW), state.loadRelaxed() == MemoryPool.State.ready
    else { return }
    show(block)
  }

  private func show(_ block: ThreadBlock) {
    // The address of the first object, perhaps, which nobody would miss.
    Memcheck.keep(UInt(bitPattern: block), UInt(MemoryLayout<UInt>.size))
    Memcheck.close(UInt(bitPattern: block), UInt(MemoryLayout<UInt>.size))
    block.pointee.base = pointee.first.pointee.base
    block.pointee.byte_count = pointee.first.pageBytes
    block.pointee.pages = UnsafeMutableRawPointer(pointee.first.pointee.entries)
  }

  // The first slow path of a thread in the shared pool.
  private func startThread(_ block: ThreadBlock) -> ThreadHeapPointer? {
    guard start(), !isPassThrough else { return nil }
    Process.number(block)
    guard let heap = registry.acquire(for: block) else { return nil }
    block.pointee.real_heap = UInt(bitPattern: heap)
    // In a hardened pool a thread goes on seeing the empty heap, and no page: so everything takes the slow path, which tells.
    if isPlain {
      show(block)
      block.pointee.heap = block.pointee.real_heap
    }
    block.pointee.state = UInt(MP_THREAD_LIVE)
    startSampling(block)
    Process.threadBegan(block)
    mp_thread_exit_arm()  // may allocate
    return heap
  }
}
