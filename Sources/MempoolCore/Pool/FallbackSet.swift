import CMempoolShims

/// The objects of an exhausted pool that came from the system's allocator: exactly these go back to it.
///
/// A part of the pool's record; a zeroed one is empty. Any thread, under its mutex: these are the paths of a pool that has no
/// memory left. So the table is the system's allocator's, too, taken and given back without the mutex: that allocator has
/// locks and fork handlers of its own. O(1) but for growing, and for naming a pointer that is none of these.
struct FallbackSet {
  // Open addressing: 0, or an object's address and its marks: its kind, and whether it was given back. At most half of the
  // words are not 0.
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

  /// What the pool would have served an object with: some calls take nothing back but one kind. Bits of a word.
  enum Kind: UInt {
    case span = 0
    case small = 2
    case run = 4
  }
}

typealias FallbackSetPointer = UnsafeMutablePointer<FallbackSet>

extension UnsafeMutablePointer where Pointee == FallbackSet {
  var mutex: MutexPointer { (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: Mutex.self) }

  private static var smallestCapacity: UInt { 64 }
  private static var former: UInt { 1 }
  // No object of the system's allocator begins between multiples of 16.
  private static var marks: UInt { 15 }

  /// Enters an object; false when there is no memory to remember it.
  func insert(_ address: UInt, _ kind: FallbackSet.Kind) -> Bool {
    var spare: UnsafeMutablePointer<UInt>?
    var spareCapacity: UInt = 0
    while true {
      mutex.lock()
      if place(address | kind.rawValue) {
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
      guard let word = find(address), Self.isLive(word.pointee) else { return false }
      word.pointee |= Self.former
      pointee.live -= 1
      return true
    }
  }

  /// Some live object; nil when there is none.
  var first: UInt? {
    mutex.withLock {
      for index in 0..<Int(pointee.capacity) {
        let word = pointee.table.unsafelyUnwrapped[index]
        if Self.isLive(word) { return word & ~Self.marks }
      }
      return nil
    }
  }

  /// The kind of an object that is live; nil when it is none.
  func kind(of address: UInt) -> FallbackSet.Kind? {
    mutex.withLock {
      guard let word = find(address), Self.isLive(word.pointee) else { return nil }
      return FallbackSet.Kind(rawValue: word.pointee & Self.marks)
    }
  }

  /// Nil for an address that has nothing to do with this pool.
  func finding(_ address: UInt) -> FallbackSet.Finding? {
    mutex.withLock {
      if let word = find(address), word.pointee != 0 { return Self.isLive(word.pointee) ? .live : .former }
      for index in 0..<Int(pointee.capacity) {
        let word = pointee.table.unsafelyUnwrapped[index], start = word & ~Self.marks
        guard Self.isLive(word), let object = UnsafeMutableRawPointer(bitPattern: start) else { continue }
        // Nobody gives it back to the system before he has struck it out.
        if address &- start < UInt(mp_system_usable_size(object)) { return .inside }
      }
      return nil
    }
  }

  /// Gives back every object that is live, and the table. No other call on the pool may be running.
  func destroy() {
    for index in 0..<Int(pointee.capacity) {
      let word = pointee.table.unsafelyUnwrapped[index]
      if Self.isLive(word) { mp_system_free(UnsafeMutableRawPointer(bitPattern: word & ~Self.marks)) }
    }
    mp_system_free(pointee.table)
    initialize(to: FallbackSet())
  }

  private static func isLive(_ word: UInt) -> Bool { word != 0 && word & former == 0 }

  // The word of an address, live or former, or the free one where it belongs; nil without a table.
  private func find(_ address: UInt) -> UnsafeMutablePointer<UInt>? {
    guard let table = pointee.table else { return nil }
    // 2^64 / golden ratio; no two objects are nearer to each other than 16 bytes.
    var index = ((address >> 4) &* 0x9e37_79b9_7f4a_7c15) >> 32 & (pointee.capacity - 1)
    while table[Int(index)] != 0, table[Int(index)] & ~Self.marks != address {
      index = (index + 1) & (pointee.capacity - 1)
    }
    return table + Int(index)
  }

  // A live object's address and kind.
  private func place(_ object: UInt) -> Bool {
    guard let word = find(object & ~Self.marks) else { return false }
    if word.pointee == 0 {
      guard (pointee.used + 1) * 2 <= pointee.capacity else { return false }
      pointee.used += 1
    }
    if !Self.isLive(word.pointee) { pointee.live += 1 }
    word.pointee = object
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
      let word = old.unsafelyUnwrapped[index]
      if Self.isLive(word) { _ = place(word) }
    }
    return old
  }
}
