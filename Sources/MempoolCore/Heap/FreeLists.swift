/// The free blocks of one page in lists by size: a good fit in a number of steps that depends on nothing.
///
/// Sizes below 16 units have a list each, sizes below 80 one for each four, as most blocks begin and end on 16-byte boundaries; from there
/// on each power of two has one. One word says which lists hold something. Last in, first out. A block is named by the unit of its
/// header. Belongs to the page's heap and is used by its owner.
///
/// A link is believed only if the block that it leads to leads back.
struct FreeLists {
  let page: DensePagePointer

  static var count: Int { 38 }

  /// The list of blocks of `units` units; the lists above hold nothing smaller. 0 for none.
  @inline(__always)
  static func list(_ units: UInt) -> Int {
    if units < 16 { return Int(bitPattern: units) }
    if units < 80 { return Int(bitPattern: 12 + units >> 2) }
    return 26 + 63 - units.leadingZeroBitCount
  }

  /// Blocks of a list that a search looks at, and that a thorough one does: all that a page can have.
  private static var probes: Int { 4 }
  private static var all: Int { Int(bitPattern: DensePage.byteCount / DensePage.unitBytes) }

  private func damaged(at unit: UInt) -> Never { page.damaged(at: unit) }

  func insert(_ unit: UInt) {
    let list = Self.list(page.block(unit).size), head = UInt(page.pointee.heads[list])
    if head != 0 {
      guard let (next, previous) = page.links(head), previous == 0 else { damaged(at: head) }
      page.setLinks(head, next, unit)
    }
    page.setLinks(unit, head, 0)
    page.pointee.heads[list] = UInt16(truncatingIfNeeded: unit)
    page.pointee.lists |= 1 &<< UInt(bitPattern: list)
  }

  func remove(_ unit: UInt) {
    if neighbours(unit) == nil { damaged(at: unit) }
    removeSound(unit)
  }

  /// The same, when ``contains(_:)`` has just said that it is there.
  @inline(__always)
  func removeSound(_ unit: UInt) {
    let (next, previous) = page.soundLinks(unit)
    if next != 0 { page.setLinks(next, page.soundLinks(next).0, previous) }
    if previous != 0 { return page.setLinks(previous, next, page.soundLinks(previous).1) }
    let list = Self.list(page.block(unit).size)
    page.pointee.heads[list] = UInt16(truncatingIfNeeded: next)
    if next == 0 { page.pointee.lists &= ~(1 &<< UInt(bitPattern: list)) }
  }

  /// Whether the lists hold the free block at `unit`.
  func contains(_ unit: UInt) -> Bool { neighbours(unit) != nil }

  // The blocks behind and before it in its list, if these lead back.
  private func neighbours(_ unit: UInt) -> (UInt, UInt)? {
    guard let (next, previous) = page.links(unit) else { return nil }
    if next != 0 {
      guard let (_, back) = page.links(next), back == unit else { return nil }
    }
    if previous != 0 {
      guard let (forth, _) = page.links(previous), forth == unit else { return nil }
    } else if page.pointee.heads[Self.list(page.block(unit).size)] != unit {
      return nil
    }
    return (next, previous)
  }

  /// Takes out a block that holds `units` units from a header whose payload is aligned to `alignmentUnits` (1, 2 or 4): the smallest of
  /// those looked at in the first list that has one; nil when none of the lists has, but for blocks that were not looked at, of which a thorough
  /// search leaves none.
  func takeFit(_ units: UInt, alignmentUnits: UInt = 1, isThorough: Bool = false) -> UInt? {
    let probes = isThorough ? Self.all : Self.probes
    var lists = page.pointee.lists & ~0 &<< UInt(bitPattern: Self.list(units))
    while lists != 0 {
      if let unit = fit(lists.trailingZeroBitCount, units, alignmentUnits, probes) {
        remove(unit)
        return unit
      }
      lists &= lists - 1
    }
    return nil
  }

  private func fit(_ list: Int, _ units: UInt, _ alignmentUnits: UInt, _ probes: Int) -> UInt? {
    var unit = UInt(page.pointee.heads[list]), found: UInt?, least = UInt.max
    for _ in 0..<probes where unit != 0 {
      let size = page.block(unit).size, skip = DenseRequest.skip(unit, alignmentUnits)
      // What is taken is looked at closer when it is removed.
      if size == units, skip == 0 { return unit }
      guard let (next, _) = page.links(unit) else { damaged(at: unit) }
      if size >= units + skip, size < least {
        found = unit
        least = size
      }
      unit = next
    }
    return found
  }

  /// The highest list that holds something; 0: none does.
  var highest: Int { page.pointee.lists == 0 ? 0 : 63 - page.pointee.lists.leadingZeroBitCount }

  /// Whether the lists hold `count` blocks, each in its place.
  func checkInvariants(count: UInt) -> Bool {
    var found: UInt = 0
    for list in 0..<Self.count {
      var unit = UInt(page.pointee.heads[list]), previous: UInt = 0
      guard page.pointee.lists >> UInt(list) & 1 == (unit == 0 ? 0 : 1) else { return false }
      while unit != 0 {
        guard let (next, back) = page.links(unit), back == previous, Self.list(page.block(unit).size) == list,
          found < count
        else {
          return false
        }
        found += 1
        (unit, previous) = (next, unit)
      }
    }
    return found == count
  }
}
