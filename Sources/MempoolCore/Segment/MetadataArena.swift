import CMempoolShims

/// Where a segment keeps its bookkeeping: blocks of any size, packed, away from the objects.
///
/// Owned by one segment; any thread may call it, on slow paths only, as it takes a lock. Blocks are aligned to 64. A block
/// that was given back is reused for blocks of the same rounded size, and stays readable for ever: who reads a stale record
/// reads a record. O(1) for blocks below 12 KiB.
struct MetadataArena {
  // next ≤ limit; [next, limit) was never handed out and is zero. First, as an in-out access to any field is, to
  // ThreadSanitizer, one to the record's first word: it has to be a field under the lock.
  var next: UInt = 0
  var limit: UInt = 0
  var lock = Mutex()  // 2
  // Bytes handed out and not given back; written under the lock.
  var usedBytes = AtomicWord()  // 3
  // Free blocks of n * 64 bytes, linked through their first words, at index n; larger ones at index 0, by exact size.
  var free = InlineArray<192, UInt>(repeating: 0)

  static var alignment: UInt { 64 }
}

typealias MetadataArenaPointer = UnsafeMutablePointer<MetadataArena>

extension UnsafeMutablePointer where Pointee == MetadataArena {
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 16).assumingMemoryBound(to: Mutex.self) }
  var usedBytes: AtomicPointer { AtomicPointer(self, word: 3) }

  private func rounded(_ byteCount: UInt) -> UInt {
    (byteCount &+ MetadataArena.alignment &- 1) & ~(MetadataArena.alignment - 1)
  }

  /// A zeroed block of at least `byteCount` bytes; nil when `refill` has no more. `refill` gets the least number of bytes
  /// wanted and returns a zeroed range, under the arena's lock.
  func allocate(_ byteCount: UInt, refill: (UInt) -> (start: UInt, byteCount: UInt)?) -> UInt? {
    let size = rounded(byteCount)
    mutex.lock()
    defer { mutex.unlock() }
    var block = takeFree(size)
    if block == 0 {
      if pointee.limit - pointee.next < size {
        guard let more = refill(size) else { return nil }
        if more.start != pointee.limit {
          if pointee.limit > pointee.next { insert(pointee.next, pointee.limit - pointee.next) }
          pointee.next = more.start
        }
        pointee.limit = more.start + more.byteCount
      }
      block = pointee.next
      pointee.next += size
    }
    usedBytes.addUnshared(size)
    return block
  }

  /// Takes back what ``allocate(_:refill:)`` returned for the same `byteCount`.
  func deallocate(_ block: UInt, _ byteCount: UInt) {
    mutex.lock()
    insert(block, rounded(byteCount))
    usedBytes.addUnshared(0 &- rounded(byteCount))
    mutex.unlock()
  }

  private func list(_ size: UInt) -> Int {
    let index = Int(size / MetadataArena.alignment)
    return index < pointee.free.count ? index : 0
  }

  private func insert(_ block: UInt, _ size: UInt) {
    let list = list(size)
    AtomicPointer(address: block).storeRelaxed(pointee.free[list])
    AtomicPointer(address: block).advanced(by: 1).storeRelaxed(size)
    pointee.free[list] = block
  }

  private func takeFree(_ size: UInt) -> UInt {
    let list = list(size)
    var previous: UInt = 0
    var block = pointee.free[list]
    while block != 0 {
      let next = AtomicPointer(address: block).loadRelaxed()
      if AtomicPointer(address: block).advanced(by: 1).loadRelaxed() == size {
        if previous == 0 { pointee.free[list] = next } else { AtomicPointer(address: previous).storeRelaxed(next) }
        clear(block, size)
        return block
      }
      previous = block
      block = next
    }
    return 0
  }

  // By relaxed stores: somebody who counts may still be reading what this was.
  private func clear(_ block: UInt, _ size: UInt) {
    let words = AtomicPointer(address: block)
    for index in 0..<Int(size) / MemoryLayout<UInt>.size { words.advanced(by: index).storeRelaxed(0) }
  }
}

extension UnsafeMutablePointer where Pointee == MetadataArena {
  /// Whether blocks handed out, blocks free and what was never handed out make up the `byteCount` bytes that the arena got, all
  /// of it in `[start, end)`. Only while nobody uses the arena.
  func checkInvariants(byteCount: UInt, from start: UInt, to end: UInt) -> Bool {
    if pointee.next > pointee.limit { return broken("more handed out than there was") }
    var rest = byteCount
    func take(_ bytes: UInt) -> Bool {
      if bytes > rest { return false }
      rest -= bytes
      return true
    }
    guard take(usedBytes.loadRelaxed()), take(pointee.limit - pointee.next) else {
      return broken("more in use than it got")
    }
    for list in 0..<pointee.free.count {
      var block = pointee.free[list]
      while block != 0 {
        if block & (MetadataArena.alignment - 1) != 0 || block < start || block >= end {
          return broken("a free block that lies elsewhere")
        }
        let size = AtomicPointer(address: block).advanced(by: 1).loadRelaxed()
        if size == 0 || rounded(size) != size || self.list(size) != list {
          return broken("a free block in a wrong list")
        }
        if block < pointee.limit, block + size > pointee.next {
          return broken("a free block that was never handed out")
        }
        // Also what ends a list that leads back into itself.
        guard take(size) else { return broken("more free than it got") }
        block = AtomicPointer(address: block).loadRelaxed()
      }
    }
    return rest == 0 || broken("less free and in use than it got")
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("metadata arena", UInt(bitPattern: self), what) }
}
