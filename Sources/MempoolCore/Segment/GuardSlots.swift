import CMempoolShims

/// Who has which slot of a guard region: a word for each, changed by compare-and-swap, and no lock.
///
/// Any thread, at any time, also in a signal handler that has interrupted another call. A slot is free; or claimed by a thread that
/// makes an object there; or holds one; or is claimed by the thread that gives it back. Only a thread with a claim touches the slot's
/// record and the access to its page. One that stops with its claim, or ends, keeps that slot from the others, and nothing else: some
/// caller always makes progress. The slot that has been free for longest is claimed first, but for what threads do to each other
/// meanwhile. A claim looks at one word where slots become free in the order in which they were claimed, and at one for each slot at worst.
struct GuardSlots {
  // The next slot to become free gets this number, and each has another: of two free slots, the lower one's has been free for longer.
  var numbers = AtomicWord()  // 0
  // Times that a slot became free, plus 1
  var freed = AtomicWord()  // 1
  // freed == full: nothing has become free since a search that found nothing. 0: there was none
  var full = AtomicWord()  // 2
  // What a search hopes to find, the word of the slot that has been free for longest, and where
  var next = AtomicWord()  // 3
  var cursor = AtomicWord()  // 4
  var count: UInt = 0
  // number << 2 | free; block | making; number << 2 | live; block | ending: with the block of the thread that has the claim, and the
  // number that the slot was free with, so that no two objects have the same word.
  var states: UnsafeMutablePointer<AtomicWord>?

  /// A slot that the calling thread has claimed for a new object, and its word before.
  struct Claim {
    let slot: UInt
    fileprivate let state: UInt
  }
}

typealias GuardSlotsPointer = UnsafeMutablePointer<GuardSlots>

extension UnsafeMutablePointer where Pointee == GuardSlots {
  var numbers: AtomicPointer { AtomicPointer(self, word: 0) }
  var freed: AtomicPointer { AtomicPointer(self, word: 1) }
  var full: AtomicPointer { AtomicPointer(self, word: 2) }
  var next: AtomicPointer { AtomicPointer(self, word: 3) }
  var cursor: AtomicPointer { AtomicPointer(self, word: 4) }

  private static var free: UInt { 0 }
  private static var making: UInt { 1 }
  private static var live: UInt { 2 }
  private static var ending: UInt { 3 }
  private static var kind: UInt { 3 }
  // Of both kinds of claims, and of no other.
  private static var claimed: UInt { 1 }
  private static var shift: UInt { 2 }

  private func state(_ slot: UInt) -> AtomicPointer { AtomicPointer(pointee.states.unsafelyUnwrapped, word: Int(slot)) }

  private var ownBlock: UInt { UInt(bitPattern: threadBlock()) }

  /// All free, the first one for longest; `states` has a word for each. Nobody uses them yet.
  func start(_ states: UnsafeMutablePointer<AtomicWord>, count: UInt) {
    pointee.states = states
    pointee.count = count
    for slot in 0..<count { state(slot).storeRelaxed(slot << Self.shift | Self.free) }
    numbers.storeRelaxed(count)
    freed.storeRelaxed(1)
  }

  // MARK: Claims

  /// Claims the slot that has been free for longest; nil when none was free.
  func claim() -> GuardSlots.Claim? {
    let before = freed.loadAcquire()  // acquire: pairs with the release in countFree()
    if full.loadRelaxed() == before { return nil }
    while let (slot, seen) = longestFree() {
      // acquire: pairs with the releases in release(_:) and cancel(_:)
      if state(slot).compareAndSwapAcquire(seen, ownBlock | Self.making) == seen {
        hope(seen + 1 << Self.shift, at: slot + 1 == pointee.count ? 0 : slot + 1)
        return GuardSlots.Claim(slot: slot, state: seen)
      }
    }
    full.storeRelaxed(before)
    return nil
  }

  private func hope(_ state: UInt, at slot: UInt) {
    next.storeRelaxed(state)
    cursor.storeRelaxed(slot)
  }

  private func longestFree() -> (slot: UInt, state: UInt)? {
    let hoped = next.loadRelaxed()
    var slot = cursor.loadRelaxed(), found: UInt = 0, lowest = UInt.max
    for _ in 0..<pointee.count {
      let seen = state(slot).loadRelaxed()
      if seen & Self.kind == Self.free, seen < lowest {
        found = slot
        lowest = seen
        if seen <= hoped { break }
      }
      slot = slot + 1 == pointee.count ? 0 : slot + 1
    }
    return lowest == UInt.max ? nil : (found, lowest)
  }

  /// The object is made: whoever has its address may give it back.
  func publish(_ claim: GuardSlots.Claim) {
    // release: pairs with the acquires in object(in:), take(_:_:) and isClaimed(_:)
    state(claim.slot).storeRelease(claim.state | Self.live)
  }

  /// No object is made: the slot is the next one again.
  func cancel(_ claim: GuardSlots.Claim) {
    hope(claim.state, at: claim.slot)
    state(claim.slot).storeRelease(claim.state)  // release: pairs with the acquire in claim()
    countFree()
  }

  /// The word of a slot that holds an object, for ``take(_:_:)``; nil: it holds none.
  func object(in slot: UInt) -> UInt? {
    let seen = state(slot).loadAcquire()  // acquire: pairs with the release in publish(_:)
    return seen & Self.kind == Self.live ? seen : nil
  }

  /// Claims the slot of an object in order to give that back: one of all who try succeeds.
  func take(_ slot: UInt, _ object: UInt) -> Bool {
    state(slot).compareAndSwapAcquire(object, ownBlock | Self.ending) == object  // acquire: pairs with publish(_:)
  }

  /// Gives back a slot that was taken: as the last one.
  func release(_ slot: UInt) {
    let number = numbers.fetchAddRelaxed(1)
    state(slot).storeRelease(number << Self.shift | Self.free)  // release: pairs with claim() and isClaimed(_:)
    countFree()
  }

  private func countFree() {
    _ = freed.fetchAddAcquireRelease(1)  // release: pairs with the acquire in claim(): who sees it finds the slot free
  }

  // MARK: Looking

  /// Whether some thread has claimed the slot, and is about to change its record.
  func isClaimed(_ slot: UInt) -> Bool {
    state(slot).loadAcquire() & Self.claimed != 0  // acquire: pairs with the releases in publish(_:) and release(_:)
  }

  /// Slots that hold objects.
  var liveCount: UInt {
    var count: UInt = 0
    for slot in 0..<pointee.count where object(in: slot) != nil { count += 1 }
    return count
  }

  /// In a child process just forked: claims the slots of threads that are not in it, hands each to `body`, and makes it free. What the
  /// forking thread had claimed it keeps: it was interrupted, and goes on.
  func recoverAfterFork(_ body: (UInt) -> Void) {
    for slot in 0..<pointee.count {
      let seen = state(slot).loadRelaxed()
      if seen & Self.claimed == 0 || seen & ~Self.kind == ownBlock { continue }
      state(slot).storeRelaxed(ownBlock | Self.ending)
      body(slot)
      release(slot)
    }
    // One may have become free without having been counted.
    full.storeRelaxed(0)
  }

  /// Whether words and counts agree. Only while nobody uses them.
  func checkInvariants() -> Bool {
    var hasFree = false
    for slot in 0..<pointee.count {
      let seen = state(slot).loadRelaxed()
      if seen & Self.claimed != 0 { return broken("a slot that is still claimed") }
      if seen >> Self.shift >= numbers.loadRelaxed() { return broken("a number that was not drawn") }
      if seen & Self.kind == Self.free { hasFree = true }
    }
    if hasFree, full.loadRelaxed() == freed.loadRelaxed() { return broken("a free slot that no claim finds") }
    return true
  }

  private func broken(_ what: StaticString) -> Bool { reportBroken("guard slots", UInt(bitPattern: self), what) }
}
