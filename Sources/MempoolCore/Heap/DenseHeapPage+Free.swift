/// How a dense heap finds a free block.
enum DenseFit: UInt8 {
  /// In lists by size, two levels of them, a word each: of pages, and in each page of blocks. A good fit, in a number of steps that
  /// depends on nothing.
  case lists = 0
  /// In a tree by size in each page: the best fit there.
  case tree = 1
}

/// The index of a page's free blocks, of the kind that its heap has.
///
/// Nodes live inside the free blocks: a block of at least two units keeps two links in the unit after its header. A free block that
/// somebody wrote to is noticed when its links are next followed: one line, abort.
struct DenseFreeBlocks {
  let page: DensePagePointer
  let fit: DenseFit

  private var lists: FreeLists { FreeLists(page: page) }
  private var tree: FreeTree { FreeTree(page: page) }

  /// Adds a free block; its header is written already.
  func insert(_ unit: UInt) { fit == .lists ? lists.insert(unit) : tree.insert(unit) }

  /// Takes out a free block that is there.
  func remove(_ unit: UInt) {
    if fit == .lists { return lists.remove(unit) }
    if !tree.remove(unit) { page.damaged(at: unit) }
  }

  /// The same, when ``contains(_:)`` has just said that it is there.
  @inline(__always)
  func removeSound(_ unit: UInt) { fit == .lists ? lists.removeSound(unit) : remove(unit) }

  /// Takes out a free block that fits a request, however many units its alignment skips; nil when none was found.
  func take(_ request: DenseRequest) -> UInt? {
    fit == .lists
      ? lists.takeFit(
        request.units, alignmentUnits: request.alignmentUnits, isThorough: request.isThorough)
      : tree.takeBestFit(request.units, alignmentUnits: request.alignmentUnits)
  }

  /// Whether the index holds the free block at `unit`.
  func contains(_ unit: UInt) -> Bool { fit == .lists ? lists.contains(unit) : tree.contains(unit) }

  /// The list that the largest block belongs to; 0: there is none.
  var highest: Int { fit == .lists ? lists.highest : FreeLists.list(tree.largest) }

  /// Whether the index holds exactly the `count` blocks that its page has for it, each in its place.
  func checkInvariants(count: UInt) -> Bool {
    fit == .lists ? lists.checkInvariants(count: count) : tree.checkInvariants(count: count)
  }
}

extension UnsafeMutablePointer where Pointee == DensePage {
  var freeBlocks: DenseFreeBlocks { DenseFreeBlocks(page: self, fit: pointee.heap.pointee.fit) }

  // The unit after a free block's header == first | second << 12 | check << 24

  /// The two links of a free block; nil when that is none, or somebody wrote to it.
  @inline(__always)
  func links(_ unit: UInt) -> (UInt, UInt)? {
    let place = address(unit), block = block(unit), word = units[Int(unit) + 1]
    guard !block.isAllocated, block.isValid(at: place), word >> 24 == Self.check(of: word & 0xff_ffff, place) else {
      return nil
    }
    return (UInt(word & 0xfff), UInt(word >> 12 & 0xfff))
  }

  /// The same, of one that is sound.
  @inline(__always)
  func soundLinks(_ unit: UInt) -> (UInt, UInt) {
    let word = units[Int(unit) + 1]
    return (UInt(word & 0xfff), UInt(word >> 12 & 0xfff))
  }

  @inline(__always)
  func setLinks(_ unit: UInt, _ first: UInt, _ second: UInt) {
    let word = UInt32(truncatingIfNeeded: first | second << 12)
    units[Int(unit) + 1] = word | Self.check(of: word, address(unit)) << 24
  }

  func damaged(at unit: UInt) -> Never { misuse("dense heap", payload(unit), "free block overwritten") }

  @inline(__always)
  private static func check(of links: UInt32, _ place: UInt) -> UInt32 {
    DenseCheck.of(links ^ 0x5a00_0000, place) >> 24
  }
}
