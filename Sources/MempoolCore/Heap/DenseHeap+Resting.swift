/// Blocks that the owner freed last, kept as they are for the next request of their size: neither joined with what is free beside them, nor
/// in an index.
///
/// A stack for each size up to 68 units, in steps of four, of blocks that serve any request of that size; links lie in the blocks. They are
/// few, an eighth of what is out at most where the heap has more than a few pages, and none when nothing is out, but in the one page that is
/// kept: so they hold back few pages. Before another page is taken all are freed.
///
/// By the owner. Putting a block on its stack and taking it back need not be inside the gate: a forked child believes of another thread's
/// heap only the headers, in which a block is out or freed, and forgets the stacks.
extension UnsafeMutablePointer where Pointee == DenseHeap {
  var rests: AtomicPointer { AtomicPointer(self, word: 8) }
  var isAtStack: AtomicPointer { AtomicPointer(self, word: 9) }

  /// Units of the largest block that rests, and how many of a size: with sixteen, a heap that has only holes left would take 1 % more pages,
  /// as requests of other sizes break larger blocks meanwhile.
  private static var largest: UInt { 68 }
  private static var most: UInt8 { 6 }
  /// Of how many that are out one may rest, and in how few pages any may.
  private static var share: UInt { 8 }
  private static var fewPages: UInt { 4 }

  @inline(__always) private var restingCount: UInt { rests.loadRelaxed() >> 32 }
  @inline(__always) private var isSmall: Bool { pageCount.loadRelaxed() <= Self.fewPages }

  /// An object that has rested; nil when none of this size has.
  @inline(__always)
  func takeResting(_ request: DenseRequest) -> UInt? {
    let size = request.units, stack = Int(bitPattern: size >> 2)
    guard size & 3 == 0, size <= Self.largest, pointee.resting[stack] != 0 else { return nil }
    return atStack { rouse(stack) }
  }

  /// Lets an object rest; false when it may not, or when something is wrong with it.
  @inline(__always)
  func rest(_ address: UInt) -> Bool {
    atStack {
      guard let (page, unit) = place(address) else { return false }
      let size = page.block(unit).size, stack = Int(bitPattern: size >> 2)
      guard size & 3 == 0, size <= Self.largest, unit & 3 == 3, pointee.restingCounts[stack] < Self.most,
        (restingCount + 1) * Self.share <= liveBlocks.loadRelaxed() || isSmall, page.looksRight(unit),
        page.agreesWithPrevious(unit)
      else { return false }
      page.setBlock(unit, .freed(size, at: page.address(unit)))
      setLink(address, pointee.resting[stack])
      pointee.resting[stack] = address
      pointee.restingCounts[stack] &+= 1
      rests.addUnshared(1 << 32 | size)
      return true
    }
  }

  // A fork by this very thread, from a signal's handler, must find out.
  @inline(__always)
  private func atStack<Result>(_ body: () -> Result) -> Result {
    Memcheck.silence()
    isAtStack.storeRelaxed(1)
    fenceCompiler()
    let result = body()
    fenceCompiler()
    isAtStack.storeRelaxed(0)
    Memcheck.listen()
    return result
  }

  /// Whether more rest than may, as others have been freed, or all do, in more than the one page that is kept.
  @inline(__always)
  var restTooMany: Bool {
    let count = restingCount, live = liveBlocks.loadRelaxed()
    return count * Self.share > live && (!isSmall || count == live && count > 0 && pageCount.loadRelaxed() > 1)
  }

  // Makes the first of a stack one that is out again; there is one.
  private func rouse(_ stack: Int) -> UInt {
    let place = pointee.resting[stack], size = UInt(bitPattern: stack) << 2
    let page = DensePagePointer.unchecked(of: place), unit = (place - UInt(bitPattern: page)) / DensePage.unitBytes - 1
    guard let next = link(place), page.block(unit) == .freed(size, at: page.address(unit)) else {
      page.damaged(at: unit)
    }
    page.setBlock(unit, .out(size, at: page.address(unit)))
    pointee.resting[stack] = next
    pointee.restingCounts[stack] &-= 1
    rests.addUnshared(0 &- (1 << 32 | size))
    return place
  }

  /// Frees all that rest; whether there were any.
  @inline(never)
  @discardableResult
  func rouseAll<Source: DensePageSource>(to source: Source) -> Bool {
    if rests.loadRelaxed() == 0 { return false }
    for stack in 1...Int(Self.largest >> 2) {
      while pointee.resting[stack] != 0 {
        let place = rouse(stack)
        let page = DensePagePointer.unchecked(of: place),
          unit = (place - UInt(bitPattern: page)) / DensePage.unitBytes - 1
        if let fault = page.fault(of: unit) { misuse("dense heap", place, fault.text(.free)) }
        release(page, unit)
        settle(page, to: source)
      }
    }
    return true
  }

  /// In a forked child, before what is marked is freed.
  func forgetResting() {
    for stack in 0..<18 {
      pointee.resting[stack] = 0
      pointee.restingCounts[stack] = 0
    }
    rests.storeRelaxed(0)
  }

  /// Blocks << 32 + units in the stacks; nil when one is not what it should be.
  func countResting() -> UInt? {
    var sum: UInt = 0
    for stack in 0..<18 {
      var place = pointee.resting[stack], count: UInt8 = 0
      while place != 0 {
        let page = DensePagePointer.unchecked(of: place),
          unit = (place - UInt(bitPattern: page)) / DensePage.unitBytes - 1
        guard let next = link(place), page.block(unit) == .freed(UInt(stack) << 2, at: page.address(unit)) else {
          return nil
        }
        sum += 1 << 32 | UInt(stack) << 2
        count &+= 1
        place = next
      }
      if count != pointee.restingCounts[stack] { return nil }
    }
    return sum
  }

  // A block's first two words == the next object of its stack; its third a check of that.
  private func setLink(_ place: UInt, _ next: UInt) {
    let words = UnsafeMutablePointer<UInt32>(bitPattern: place).unsafelyUnwrapped
    words[0] = UInt32(truncatingIfNeeded: next)
    words[1] = UInt32(truncatingIfNeeded: next >> 32)
    words[2] = Self.check(words[0], words[1], place)
  }

  // Nil: somebody wrote to it.
  private func link(_ place: UInt) -> UInt? {
    let words = UnsafeMutablePointer<UInt32>(bitPattern: place).unsafelyUnwrapped
    guard words[2] == Self.check(words[0], words[1], place) else { return nil }
    return UInt(words[0]) | UInt(words[1]) << 32
  }

  private static func check(_ low: UInt32, _ high: UInt32, _ place: UInt) -> UInt32 {
    DenseCheck.of(low ^ high &* 0xc2b2_ae35 ^ 0x5a5a_5a5a, place)
  }
}
