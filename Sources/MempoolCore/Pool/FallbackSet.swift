import CMempoolShims

/// The objects of an exhausted pool that came from the system's allocator: exactly these go back to it.
///
/// A part of the pool's record; a zeroed one is empty. Any thread, under its mutex: these are the paths of a pool that has no
/// memory left. So the table is the system's allocator's, too, taken and given back without the mutex: that allocator has
/// locks and fork handlers of its own. O(1) but for growing, and for naming a pointer that is none of these.
struct FallbackSet {
  // Open addressing: 0, an object's address, or an odd one, of an object given back. At most half of the words are not 0.
  var table: UnsafeMutablePointer<UInt>?
  var mutex = Mutex()  // word 1
  // 0, or a power of two
  var capacity: UInt = 0
  // live <= used <= capacity / 2
  var used: UInt = 0
  var live: UInt = 0

  /// What is known of an address.
  enum Finding {
    case live
    /// Given back, and not handed out again.
    case former
    /// Within an object that is live.
    case inside
  }
}

typealias FallbackSetPointer = UnsafeMutablePointer<FallbackSet>

extension UnsafeMutablePointer where Pointee == FallbackSet {
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: Mutex.self) }

  private static var smallestCapacity: UInt { 64 }
  private static var former: UInt { 1 }

  /// Enters an object; false when there is no memory to remember it.
  func insert(_ address: UInt) -> Bool {
    var spare: UnsafeMutablePointer<UInt>?
    var spareCapacity: UInt = 0
    while true {
      mutex.lock()
      if place(address) {
        mutex.unlock()
        mp_system_free(spare)
        return true
      }
      var wanted = Self.smallestCapacity
      while wanted < (pointee.live + 1) * 4 { wanted *= 2 }
      if spareCapacity >= wanted, let grown = spare {
        spare = move(to: grown, spareCapacity)
        spareCapacity = 0
        mutex.unlock()
        continue
      }
      mutex.unlock()
      mp_system_free(spare)
      guard let memory = mp_system_calloc(Int(bitPattern: wanted), MemoryLayout<UInt>.size) else { return false }
      spare = memory.assumingMemoryBound(to: UInt.self)
      spareCapacity = wanted
    }
  }

  /// Strikes an object out; false when it is not there, so that of two who free it one learns that he came second.
  func take(_ address: UInt) -> Bool {
    mutex.withLock {
      guard let word = find(address), word.pointee == address else { return false }
      word.pointee = address | Self.former
      pointee.live -= 1
      return true
    }
  }

  /// Some live object; nil when there is none.
  var first: UInt? {
    mutex.withLock {
      for index in 0..<Int(pointee.capacity) {
        let word = pointee.table.unsafelyUnwrapped[index]
        if word != 0, word & Self.former == 0 { return word }
      }
      return nil
    }
  }

  /// Nil for an address that has nothing to do with this pool.
  func finding(_ address: UInt) -> FallbackSet.Finding? {
    mutex.withLock {
      if let word = find(address), word.pointee != 0 { return word.pointee == address ? .live : .former }
      for index in 0..<Int(pointee.capacity) {
        let start = pointee.table.unsafelyUnwrapped[index]
        guard start != 0, start & Self.former == 0, let object = UnsafeMutableRawPointer(bitPattern: start) else {
          continue
        }
        // Nobody gives it back to the system before he has struck it out.
        if address &- start < UInt(mp_system_usable_size(object)) { return .inside }
      }
      return nil
    }
  }

  /// Gives back every object that is live, and the table. No other call on the pool may be running.
  func destroy() {
    for index in 0..<Int(pointee.capacity) {
      let start = pointee.table.unsafelyUnwrapped[index]
      if start & Self.former == 0 { mp_system_free(UnsafeMutableRawPointer(bitPattern: start)) }
    }
    mp_system_free(pointee.table)
    initialize(to: FallbackSet())
  }

  // The word of an address, live or former, or the free one where it belongs; nil without a table.
  private func find(_ address: UInt) -> UnsafeMutablePointer<UInt>? {
    guard let table = pointee.table else { return nil }
    // 2^64 / golden ratio; no two objects are nearer to each other than 16 bytes.
    var index = ((address >> 4) &* 0x9e37_79b9_7f4a_7c15) >> 32 & (pointee.capacity - 1)
    while table[Int(index)] != 0, table[Int(index)] & ~Self.former != address {
      index = (index + 1) & (pointee.capacity - 1)
    }
    return table + Int(index)
  }

  private func place(_ address: UInt) -> Bool {
    guard let word = find(address) else { return false }
    if word.pointee == 0 {
      guard (pointee.used + 1) * 2 <= pointee.capacity else { return false }
      pointee.used += 1
    }
    if word.pointee != address { pointee.live += 1 }
    word.pointee = address
    return true
  }

  // Takes over a larger table, leaving out what was given back; the old one.
  private func move(to table: UnsafeMutablePointer<UInt>, _ capacity: UInt) -> UnsafeMutablePointer<UInt>? {
    let old = pointee.table, count = Int(pointee.capacity)
    pointee.table = table
    pointee.capacity = capacity
    pointee.used = 0
    pointee.live = 0
    for index in 0..<count {
      let address = old.unsafelyUnwrapped[index]
      if address != 0, address & Self.former == 0 { _ = place(address) }
    }
    return old
  }
}
