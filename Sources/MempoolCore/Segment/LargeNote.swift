/// What a hardened pool knows of a run or a span beyond its place: a word out of the object's reach, with the bytes that were
/// asked for and what has become of it. 0: nothing is known.
///
/// Whoever gives the object back changes the word by a swap, so of two threads that do, one is told. Relaxed: only the word
/// itself decides; what the object holds goes from thread to thread as in every pool.
enum LargeNote {
  private static var live: UInt { 1 }
  private static var moving: UInt { 2 }
  private static var quarantined: UInt { 3 }
  private static var mask: UInt { 3 }

  static func setLive(_ word: AtomicPointer, _ byteCount: UInt) { word.storeRelaxed(byteCount &<< 2 | live) }

  /// Bytes that were asked for; nil: the object is not out.
  static func byteCount(_ word: AtomicPointer) -> UInt? {
    let note = word.loadRelaxed()
    return note & mask == live ? note >> 2 : nil
  }

  /// Changes what was asked for; false: the object is not out any more, or not with so many bytes.
  static func resize(_ word: AtomicPointer, from old: UInt, to new: UInt) -> Bool {
    word.compareAndSwapRelaxed(old &<< 2 | live, new &<< 2 | live) == old &<< 2 | live
  }

  /// Takes an object that is out: true for exactly one of those who try.
  static func take(_ word: AtomicPointer, _ byteCount: UInt) -> Bool {
    word.compareAndSwapRelaxed(byteCount &<< 2 | live, byteCount &<< 2 | moving) == byteCount &<< 2 | live
  }

  static func setQuarantined(_ word: AtomicPointer) { word.storeRelaxed(word.loadRelaxed() | quarantined) }

  static func isQuarantined(_ word: AtomicPointer) -> Bool { word.loadRelaxed() & mask == quarantined }

  /// Whether somebody had taken it back, and it is not free: after a fork nobody goes on with it.
  static func isGivenBack(_ word: AtomicPointer) -> Bool { word.loadRelaxed() & mask >= moving }

  /// What was asked for, of one that was given back.
  static func formerByteCount(_ word: AtomicPointer) -> UInt { word.loadRelaxed() >> 2 }
}
