import CMempoolShims

/// Which object pool an object of the system's allocator belongs to.
///
/// One for the process, in a few parts by address, each under a lock of its own: that allocator takes locks, too. The tables are
/// its objects as well, taken and given back without the lock. What was given back is remembered until the table grows, so that
/// a second release is told from a foreign pointer.
enum ObjectOrigins {
  /// Open addressing: an address, and its pool; pool 0: given back. At most half of the entries are in use.
  struct Part {
    var table: UnsafeMutablePointer<Entry>?
    var mutex = Mutex()  // word 1
    // 0, or a power of two
    var capacity: UInt = 0
    // live <= used <= capacity / 2
    var used: UInt = 0
    var live: UInt = 0
  }

  /// Addresses are inverted, so that tools which look for leaks do not find them here, and take a lost object for one that is known.
  struct Entry {
    // 0: unused
    var inverted: UInt
    var pool: UInt
    var address: UInt { ~inverted }
  }

  enum Finding {
    case live(UInt)
    /// Given back, and not handed out again.
    case former
    case unknown
  }

  static var partCount: Int { 16 }
  static var byteCount: Int { partCount * MemoryLayout<Part>.stride }

  // 2^64 / golden ratio; no two objects are nearer to each other than 16 bytes.
  private static func hash(_ address: UInt) -> UInt { (address >> 4) &* 0x9e37_79b9_7f4a_7c15 }

  static func part(_ index: Int) -> UnsafeMutablePointer<Part> {
    ObjectPools.origins.assumingMemoryBound(to: Part.self) + index
  }

  static func mutex(_ index: Int) -> MutexPointer {
    (UnsafeMutableRawPointer(part(index)) + 8).assumingMemoryBound(to: Mutex.self)
  }

  private static func index(_ address: UInt) -> Int { Int(hash(address) >> 60) }

  /// Enters an object; false when there is no memory to remember it.
  static func insert(_ address: UInt, _ pool: UInt) -> Bool {
    let index = index(address), part = part(index), mutex = mutex(index)
    var spare: UnsafeMutablePointer<Entry>?
    var spareCapacity: UInt = 0
    while true {
      mutex.lock()
      if part.place(address, pool, hash(address)) {
        mutex.unlock()
        mp_system_free(spare)
        return true
      }
      var wanted: UInt = 32
      while wanted < (part.pointee.live + 1) * 4 { wanted *= 2 }
      if spareCapacity >= wanted, let grown = spare {
        spare = part.move(to: grown, spareCapacity, hash)
        spareCapacity = 0
        mutex.unlock()
        continue
      }
      mutex.unlock()
      mp_system_free(spare)
      guard let memory = mp_system_calloc(Int(bitPattern: wanted), MemoryLayout<Entry>.size) else { return false }
      spare = memory.assumingMemoryBound(to: Entry.self)
      spareCapacity = wanted
    }
  }

  /// Strikes an object out: of two who release it one learns that he came second.
  static func take(_ address: UInt) -> Finding {
    let index = index(address), part = part(index)
    return mutex(index).withLock {
      guard let entry = part.find(address, hash(address)), entry.pointee.inverted != 0 else { return .unknown }
      let pool = entry.pointee.pool
      guard pool != 0 else { return .former }
      entry.pointee.pool = 0
      part.pointee.live -= 1
      return .live(pool)
    }
  }

  /// Gives every object of a pool back to the system.
  static func releaseAll(of pool: UInt) {
    for index in 0..<partCount {
      let part = part(index), mutex = mutex(index)
      var place: UInt = 0
      while true {
        var found: UInt = 0
        mutex.lock()
        while place < part.pointee.capacity, found == 0 {
          let entry = part.pointee.table.unsafelyUnwrapped + Int(place)
          if entry.pointee.pool == pool {
            found = entry.pointee.address
            entry.pointee.pool = 0
            part.pointee.live -= 1
          }
          place += 1
        }
        mutex.unlock()
        if found == 0 { break }
        mp_system_free(UnsafeMutableRawPointer(bitPattern: found))
      }
    }
  }
}

extension UnsafeMutablePointer where Pointee == ObjectOrigins.Part {
  // The entry of an address, or the unused one where it belongs; nil without a table. Under the lock, as all of these.
  fileprivate func find(_ address: UInt, _ hash: UInt) -> UnsafeMutablePointer<ObjectOrigins.Entry>? {
    guard let table = pointee.table else { return nil }
    var index = hash >> 28 & (pointee.capacity - 1)
    while table[Int(index)].inverted != 0, table[Int(index)].address != address {
      index = (index + 1) & (pointee.capacity - 1)
    }
    return table + Int(index)
  }

  fileprivate func place(_ address: UInt, _ pool: UInt, _ hash: UInt) -> Bool {
    guard let entry = find(address, hash) else { return false }
    if entry.pointee.inverted == 0 {
      guard (pointee.used + 1) * 2 <= pointee.capacity else { return false }
      pointee.used += 1
    }
    if entry.pointee.pool == 0 { pointee.live += 1 }
    entry.pointee = ObjectOrigins.Entry(inverted: ~address, pool: pool)
    return true
  }

  // Takes over a larger table, leaving out what was given back; the old one.
  fileprivate func move(
    to table: UnsafeMutablePointer<ObjectOrigins.Entry>, _ capacity: UInt, _ hash: (UInt) -> UInt
  ) -> UnsafeMutablePointer<ObjectOrigins.Entry>? {
    let old = pointee.table, count = Int(pointee.capacity)
    pointee.table = table
    pointee.capacity = capacity
    pointee.used = 0
    pointee.live = 0
    for index in 0..<count {
      let entry = old.unsafelyUnwrapped[index]
      if entry.pool != 0 { _ = place(entry.address, entry.pool, hash(entry.address)) }
    }
    return old
  }
}
