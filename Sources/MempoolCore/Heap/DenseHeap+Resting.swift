/// Blocks that the owner freed last, kept as they are for the next request of their size: neither joined with what is free beside them, nor
/// in an index.
///
/// A stack for each size up to 68 units, in steps of four, of blocks that serve any request of that size; links lie in the blocks. They are
/// few, an eighth of what is out at most where the heap has more than a few pages, and none when nothing is out, but in the one page that is
/// kept: so they hold back few pages. Before a third page is taken, or when there is no second, all are freed.
///
/// By the owner. Putting a block on its stack and taking it back need not be inside the gate: a forked child believes of another thread's
/// heap only the headers, in which a block is out or freed, and forgets the stacks.
extension UnsafeMutablePointer where Pointee == DenseHeap {
  var rests: AtomicPointer { AtomicPointer(self, word: 8) }
  var isAtStack: AtomicPointer { AtomicPointer(self, word: 9) }

  /// Units of the largest block that rests, and how many of a size in a heap of more than a few pages.
  @inline(__always) private static var largest: UInt { 68 }
  @inline(__always) private static var most: UInt16 { 10 }
  /// Of how many that are out one may rest, and in how few pages any may.
  @inline(__always) private static var share: UInt { 8 }
  @inline(__always) private static var fewPages: UInt { 4 }

  @inline(__always) private var restingCount: UInt { rests.loadRelaxed() >> 32 }

  /// An object that has rested; nil when none of this size has.
  @inline(__always)
  func takeResting(_ request: DenseRequest) -> UInt? {
    let size = request.units
    guard size & 3 == 0, size <= Self.largest else { return nil }
    return takeResting(stack: Int(bitPattern: size >> 2))
  }

  /// The same, of 16 to 268 bytes: the usual case, before all others.
  @inline(__always)
  func takeResting(_ byteCount: UInt) -> UInt? {
    guard byteCount &- 16 <= (Self.largest - 1) * DensePage.unitBytes - 16 else { return nil }
    return takeResting(stack: Int(bitPattern: (byteCount + 19) >> 4))
  }

  @inline(__always)
  private func takeResting(stack: Int) -> UInt? {
    let place = pointee.resting[stack]
    if place == 0 { return nil }
    return atStack {
      pointee.resting[stack] = rouse(place, stack)
      pointee.restingCounts[stack] &-= 1
      return place
    }
  }

  /// Lets an object rest, that lies in a page of this heap; false when it may not, or when something is wrong with it.
  @inline(__always)
  func rest(_ address: UInt) -> Bool {
    let page = DensePagePointer.unchecked(of: address), offset = address & (DensePage.byteCount - 1)
    guard offset & 15 == 0, offset > DensePage.firstUnit * DensePage.unitBytes else { return false }
    return atStack {
      let unit = offset / DensePage.unitBytes - 1, block = page.block(unit), size = block.size
      guard size & 3 == 0, size &- 4 <= Self.largest - 4 else { return false }
      let stack = Int(bitPattern: size >> 2)
      guard mayRest(stack), page.looksRight(unit), page.agreesWithPrevious(unit) else { return false }
      lay(address, stack)
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

  // Whether one more of this size may rest.
  @inline(__always)
  private func mayRest(_ stack: Int) -> Bool {
    let count = restingCount + 1, live = liveBlocks.loadRelaxed(), pages = pageCount.loadRelaxed()
    if pages > Self.fewPages { return pointee.restingCounts[stack] < Self.most && count * Self.share <= live }
    return count < live || pages == 1
  }

  /// Frees what rests and may not any more, as others have been freed: all, or, of a few pages with nothing out, what is not in the one that
  /// is kept.
  @inline(__always)
  func rouseSurplus<Source: DensePageSource>(to source: Source) {
    let count = restingCount, live = liveBlocks.loadRelaxed(), pages = pageCount.loadRelaxed()
    if pages > Self.fewPages {
      if count * Self.share > live { rouseAll(to: source) }
    } else if count == live, count > 0, pages > 1 {
      keepOnePage(to: source)
    }
  }

  @inline(never)
  private func keepOnePage<Source: DensePageSource>(to source: Source) {
    var kept = pointee.pages.unsafelyUnwrapped, next = kept.pointee.next
    while let page = next {
      if page.pointee.liveUnits > kept.pointee.liveUnits { kept = page }
      next = page.pointee.next
    }
    rouseAll(to: source, but: kept)
    releaseEmptyPage(to: source)
  }

  /// Frees all that rest, but for what lies in one page; whether there were any.
  @inline(never)
  @discardableResult
  func rouseAll<Source: DensePageSource>(to source: Source, but kept: DensePagePointer? = nil) -> Bool {
    if rests.loadRelaxed() == 0 { return false }
    for stack in 1...Int(Self.largest >> 2) {
      var place = pointee.resting[stack]
      pointee.resting[stack] = 0
      pointee.restingCounts[stack] = 0
      while place != 0 {
        let (page, unit) = Self.header(place), next = rouse(place, stack)
        if page == kept {
          lay(place, stack)
        } else {
          if let fault = page.fault(of: unit) { misuse("dense heap", place, fault.text(.free)) }
          release(page, unit)
          settle(page, to: source)
        }
        place = next
      }
    }
    return true
  }

  // Marks a block that is out, and puts it on its stack.
  @inline(__always)
  private func lay(_ place: UInt, _ stack: Int) {
    let (page, unit) = Self.header(place), size = UInt(bitPattern: stack) << 2
    page.setBlock(unit, .freed(size, at: page.address(unit)))
    setLink(place, pointee.resting[stack])
    pointee.resting[stack] = place
    pointee.restingCounts[stack] &+= 1
    rests.addUnshared(1 << 32 | size)
  }

  // Makes a block of a stack, which is being taken off it, one that is out again; the next of the stack.
  @inline(__always)
  private func rouse(_ place: UInt, _ stack: Int) -> UInt {
    let (page, unit) = Self.header(place), size = UInt(bitPattern: stack) << 2
    guard let next = link(place), page.block(unit) == .freed(size, at: page.address(unit)) else {
      page.damaged(at: unit)
    }
    page.setBlock(unit, .out(size, at: page.address(unit)))
    rests.addUnshared(0 &- (1 << 32 | size))
    return next
  }

  @inline(__always)
  private static func header(_ place: UInt) -> (page: DensePagePointer, unit: UInt) {
    (DensePagePointer.unchecked(of: place), (place & (DensePage.byteCount - 1)) / DensePage.unitBytes - 1)
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
      var place = pointee.resting[stack], count: UInt16 = 0
      while place != 0 {
        let (page, unit) = Self.header(place)
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
