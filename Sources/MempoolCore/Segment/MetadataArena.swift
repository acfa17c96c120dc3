import CMempoolShims

/// Where a segment keeps its bookkeeping: blocks of any size, packed, away from the objects.
///
/// Owned by one segment; any thread may call it, on slow paths only, as it takes a lock. Blocks are aligned to 64. A block
/// that was given back is reused for blocks of the same rounded size, until ``sweep()`` joins it with its neighbours. It stays
/// readable for ever: who reads a stale record reads a record, or zeroes. O(1) for blocks below 12 KiB.
struct MetadataArena {
  // next ≤ limit; [next, limit) was never handed out and is zero. First, as an in-out access to any field is, to
  // ThreadSanitizer, one to the record's first word: it has to be a field under the lock.
  var next: UInt = 0
  var limit: UInt = 0
  var lock = Mutex()  // 2
  // Bytes handed out and not given back; written under the lock.
  var usedBytes = AtomicWord()  // 3
  // Bytes given back since the last sweep, and not taken again; written under the lock.
  var idleBytes = AtomicWord()  // 4
  var idleLow = AtomicWord()  // 5: the least `idleBytes` since somebody last looked
  // Free blocks of n * 64 bytes, linked through their first words, at index n; larger ones at index 0, by exact size.
  var free = InlineArray<192, UInt>(repeating: 0)

  static var alignment: UInt { 64 }
  /// Idle bytes that are not worth a sweep.
  static var idleFloor: UInt { 128 << 10 }
}

typealias MetadataArenaPointer = UnsafeMutablePointer<MetadataArena>

extension UnsafeMutablePointer where Pointee == MetadataArena {
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 16).assumingMemoryBound(to: Mutex.self) }
  var usedBytes: AtomicPointer { AtomicPointer(self, word: 3) }
  var idleBytes: AtomicPointer { AtomicPointer(self, word: 4) }
  var idleLow: AtomicPointer { AtomicPointer(self, word: 5) }

  /// Whether a sweep would be worth while, if what is idle stays so.
  var hasIdle: Bool { idleBytes.loadRelaxed() > MetadataArena.idleFloor }

  /// Whether more is idle than a quarter of what is in use: a program that gives all back sweeps a dozen times on the way.
  var isOverBudget: Bool { idleBytes.loadRelaxed() > MetadataArena.idleFloor + usedBytes.loadRelaxed() / 4 }

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
    idleBytes.addUnshared(rounded(byteCount))
    mutex.unlock()
  }

  /// Runs `body` while no block is given back or handed out: what is a record stays one.
  func withRecordsKept(_ body: () -> Void) { mutex.withLock(body) }

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

  private func next(_ block: UInt) -> UInt { AtomicPointer(address: block).loadRelaxed() }

  private func setNext(_ block: UInt, _ next: UInt) { AtomicPointer(address: block).storeRelaxed(next) }

  private func size(_ block: UInt) -> UInt { AtomicPointer(address: block).advanced(by: 1).loadRelaxed() }

  private func takeFree(_ size: UInt) -> UInt {
    let list = list(size)
    let block = list != 0 && pointee.free[list] != 0 ? takeHead(list) : takeLarge(size)
    if block != 0 {
      let idle = idleBytes.loadRelaxed()
      idleBytes.storeRelaxed(idle - min(idle, size))
      if idleBytes.loadRelaxed() < idleLow.loadRelaxed() { idleLow.storeRelaxed(idleBytes.loadRelaxed()) }
      clear(block, size)
    }
    return block
  }

  private func takeHead(_ list: Int) -> UInt {
    let block = pointee.free[list]
    pointee.free[list] = next(block)
    return block
  }

  // The front of the first large block that is large enough; 0: there is none.
  private func takeLarge(_ wanted: UInt) -> UInt {
    var previous: UInt = 0
    var block = pointee.free[0]
    while block != 0, size(block) < wanted {
      previous = block
      block = next(block)
    }
    guard block != 0 else { return 0 }
    if previous == 0 { pointee.free[0] = next(block) } else { setNext(previous, next(block)) }
    if size(block) > wanted { insert(block + wanted, size(block) - wanted) }
    return block
  }

  // By relaxed stores: somebody who counts may still be reading what this was.
  private func clear(_ block: UInt, _ size: UInt) {
    let words = AtomicPointer(address: block)
    for index in 0..<Int(size) / MemoryLayout<UInt>.size { words.advanced(by: index).storeRelaxed(0) }
  }
}

// MARK: Giving back

extension UnsafeMutablePointer where Pointee == MetadataArena {
  /// The same as ``sweep()``, if much stayed idle since the last call. Nothing, when the caller is about to get pages for the arena itself: it
  /// has the lock.
  func sweepWhatStayedIdle() {
    if mutex.isHeldByThisThread { return }
    let stayed = min(idleLow.loadRelaxed(), idleBytes.loadRelaxed())
    if stayed > MetadataArena.idleFloor { sweep() }
    mutex.lock()
    idleLow.storeRelaxed(idleBytes.loadRelaxed())
    mutex.unlock()
  }

  /// Joins free blocks that lie next to each other, and gives back the whole pages of the system's inside. Only where the memory
  /// is the system's. O(n log n) in free blocks.
  func sweep() {
    mutex.lock()
    defer { mutex.unlock() }
    let page = UInt(mp_system_page_size())
    var block = sorted()
    while block != 0 {
      var following = next(block), size = size(block)
      while following == block + size, following != 0 {
        size += self.size(following)
        following = next(following)
      }
      insert(block, size)
      // What begins the block says that it is free.
      let low = (block + MetadataArena.alignment + page - 1) & ~(page - 1), high = (block + size) & ~(page - 1)
      if low < high {
        _ = mp_pages_purge(UnsafeMutableRawPointer(bitPattern: low).unsafelyUnwrapped, Int(high - low))
      }
      block = following
    }
    idleBytes.storeRelaxed(0)
  }

  // All free blocks, out of their lists, by address.
  private func sorted() -> UInt {
    // At index n: 2^n blocks in order, or none. The last holds all that are more.
    var parts = InlineArray<32, UInt>(repeating: 0)
    for list in 0..<pointee.free.count {
      while pointee.free[list] != 0 {
        var part = takeHead(list), index = 0
        setNext(part, 0)
        while index < parts.count - 1, parts[index] != 0 {
          part = merged(parts[index], part)
          parts[index] = 0
          index += 1
        }
        parts[index] = merged(parts[index], part)
      }
    }
    var all: UInt = 0
    for index in 0..<parts.count { all = merged(parts[index], all) }
    return all
  }

  private func merged(_ one: UInt, _ other: UInt) -> UInt {
    var one = one, other = other, first: UInt = 0, last: UInt = 0
    while one != 0, other != 0 {
      let least = min(one, other)
      if least == one { one = next(one) } else { other = next(other) }
      if last == 0 { first = least } else { setNext(last, least) }
      last = least
    }
    if last == 0 { return one | other }
    setNext(last, one | other)
    return first
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
        let size = size(block)
        if size == 0 || rounded(size) != size || self.list(size) != list {
          return broken("a free block in a wrong list")
        }
        if block < pointee.limit, block + size > pointee.next {
          return broken("a free block that was never handed out")
        }
        // Also what ends a list that leads back into itself.
        guard take(size) else { return broken("more free than it got") }
        block = next(block)
      }
    }
    return rest == 0 || broken("less free and in use than it got")
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("metadata arena", UInt(bitPattern: self), what) }
}
