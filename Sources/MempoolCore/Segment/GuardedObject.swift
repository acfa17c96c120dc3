/// What is known of a slot of the guard region: the object on its page, or the one that was there last.
///
/// In a table out of the objects' reach. Changed by the thread that has claimed the slot; who reports something reads it meanwhile, so all
/// of it is written and read word by word, and ``UnsafeMutablePointer/history`` says whether it was one.
struct GuardedObject {
  // Odd: somebody is changing the rest, or has stopped doing so
  var version = AtomicWord()  // 0
  // 0: the slot was never used
  var address = AtomicWord()  // 1
  // As it was asked for
  var byteCount = AtomicWord()  // 2
  // 1: the object has not been given back
  var live = AtomicWord()  // 3
  var allocation = Backtrace()  // 4…25
  // live == 0: of this object
  var deallocation = Backtrace()  // 26…47
}

typealias GuardedObjectPointer = UnsafeMutablePointer<GuardedObject>

extension UnsafeMutablePointer where Pointee == GuardedObject {
  var version: AtomicPointer { AtomicPointer(self, word: 0) }
  var addressWord: AtomicPointer { AtomicPointer(self, word: 1) }
  var byteCountWord: AtomicPointer { AtomicPointer(self, word: 2) }
  var live: AtomicPointer { AtomicPointer(self, word: 3) }
  var allocation: AtomicPointer { AtomicPointer(self, word: 4) }
  var deallocation: AtomicPointer { AtomicPointer(self, word: 26) }

  // Each by itself: right for who has the object, or the claim; for others a guess.
  var address: UInt { addressWord.loadRelaxed() }
  var byteCount: UInt { byteCountWord.loadRelaxed() }
  var isLive: Bool { live.loadRelaxed() != 0 }
  /// The address behind its last byte.
  var behind: UInt { address &+ byteCount }
  /// Bytes between the object and an address outside it; 0 inside.
  func distance(to other: UInt) -> UInt { other < address ? address - other : other < behind ? 0 : other - behind }
  /// Whether nobody has stopped in the middle of a change.
  var isWhole: Bool { version.loadRelaxed() & 1 == 0 }

  /// All that is known, as it was at one moment; nil while somebody is changing it. Any thread, also in a signal handler.
  var history: GuardedHistory? {
    let before = version.loadAcquire()  // acquire: pairs with the release in change(_:)
    let history = GuardedHistory(
      address: address, byteCount: byteCount, isLive: isLive, allocation: Backtrace(from: allocation),
      deallocation: Backtrace(from: deallocation))
    fenceFull()  // pairs with the fence in change(_:): who has read a word of a change sees that the version is another
    return before & 1 == 0 && version.loadRelaxed() == before ? history : nil
  }

  // MARK: By the thread that has claimed the slot

  func become(_ address: UInt, _ byteCount: UInt, _ backtrace: Backtrace) {
    change {
      addressWord.storeRelaxed(address)
      byteCountWord.storeRelaxed(byteCount)
      backtrace.store(to: allocation)
      live.storeRelaxed(1)
    }
  }

  func end(_ backtrace: Backtrace) {
    change {
      backtrace.store(to: deallocation)
      live.storeRelaxed(0)
    }
  }

  /// As if the slot had never been used.
  func forget() {
    change {
      addressWord.storeRelaxed(0)
      live.storeRelaxed(0)
    }
  }

  @inline(__always)
  private func change(_ body: () -> Void) {
    // Odd also if it was: a forked child goes on where a thread of its parent stopped.
    let during = version.loadRelaxed() | 1
    version.storeRelaxed(during)
    fenceFull()  // pairs with the fence in history
    body()
    version.storeRelease(during &+ 1)  // release: pairs with the acquire in history
  }
}
