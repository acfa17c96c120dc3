import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// What holds of a pool between any two operations on shared words, whoever is under way.
///
/// Not here, as it holds only when nobody is: that a slab with free items is where somebody finds it, as its owner may have it in
/// hand; that freed items are told of, as their freer may be about to; that counts are exact, as they follow what they count; that hints and
/// cells agree; and that an abandoned heap has nothing pending, as its pusher may be about to look after it.
extension HeapBench {
  // Those that there are now.
  nonisolated(unsafe) private static var slabs: [SlabPointer] = []

  static func always() -> String? {
    var out = 0
    var fault: String?
    slabs.removeAll(keepingCapacity: true)
    forEachSlab { slab in
      slabs.append(slab)
      if fault == nil { fault = always(slab, &out) }
    }
    if fault == nil, out < Items.count { fault = "\(Items.count) items are held, \(out) are out" }
    for index in 0..<registry.count where fault == nil {
      guard let heap = registry.heap(index) else { return "a heap that is counted, and not there" }
      fault = always(heap)
    }
    return fault ?? Items.first(where: whereHeld) ?? always(segment)
  }

  // An item that somebody has is nowhere else.
  private static func whereHeld(_ address: UInt) -> String? {
    let entry = segment.entry(of: address)
    guard entry.isSlab, let record = entry.slab.loadPointerRelaxed() else { return "is held, in no slab" }
    let slab = record.assumingMemoryBound(to: Slab.self)
    let item = (address - slab.pointee.base) / slab.pointee.itemSize
    if slab.link(item) != SlabPointer.taken { return "is held, and in the free set" }
    return slab.isUncollected(item) ? "is held, and freed" : nil
  }

  // An item is in one place: out, freed by another thread, in the free set, or never used.
  private static func always(_ slab: SlabPointer, _ out: inout Int) -> String? {
    let count = UInt(slab.pointee.itemCount), carved = UInt(slab.pointee.carved)
    if carved > count { return "more items carved than there are" }
    var taken: UInt = 0
    for item in 1...count {
      if slab.link(item) == SlabPointer.taken {
        taken += 1
        if !slab.isUncollected(item) { out += 1 }
      } else if slab.isUncollected(item) {
        return "an item freed by another thread, and not out"
      }
    }
    if taken > slab.used || slab.used > count { return "\(taken) items are out, \(slab.used) count, of \(count)" }
    var free: UInt = 0
    var item = UInt(slab.pointee.head)
    while item != 0 {
      free += 1
      if free > carved { return "a free set that leads back into itself" }
      if item > carved { return "an item free that was never carved" }
      item = UInt(slab.link(item))
      if item == UInt(SlabPointer.taken) { return "an item free and taken" }
    }
    if free + taken > carved { return "more items than were carved" }
    for page in 0..<slab.pointee.pageCount {
      let index = (slab.address - segment.pointee.base) >> Page.shift + page
      if segment.pointee.bitmap.value(ofCell: Int(index)) != Cell.busy { return "a slab in a page that is not taken" }
    }
    return slab.pointee.place == .spare && slab.used > 0 ? "a spare slab with items out" : nil
  }

  private static func always(_ heap: ThreadHeapPointer) -> String? {
    let isOwned = registry.isOwned(heap.pointee.index)
    if !isOwned, heap.owner.loadRelaxed() != 0 { return "a heap that is somebody's, without its bit" }
    // Each slab is on it once, and has been told of.
    var pending = 0
    var word = heap.pending.loadRelaxed()
    while let slab = SlabPointer(bitPattern: word) {
      pending += 1
      if !slabs.contains(slab) { return "a slab pending that is gone" }
      if pending > 8 { return "a pending list that leads back into itself" }
      if slab.pointee.heap != heap { return "a slab pending on another heap" }
      if slab.summary.loadRelaxed() == 0 { return "a slab pending that nobody told of" }
      word = slab.pendingNext.loadRelaxed()
    }
    for sizeClass in 0..<SizeClass.count {
      let seat = heap.current(sizeClass)
      if seat != ThreadHeapPointer.emptySlab {
        if !isOwned { return "a current slab in no heap" }
        if seat.pointee.place != .current { return "a current slab that is elsewhere" }
      }
      if let fault = alwaysOfRing(heap, sizeClass) { return fault }
    }
    return segment.pointee.backing == .elastic ? alwaysOfSpares(heap) : nil
  }

  private static func alwaysOfRing(_ heap: ThreadHeapPointer, _ sizeClass: Int) -> String? {
    let isNoted = heap.pointee.classesWithRoom >> UInt(sizeClass) & 1 != 0
    guard let head = heap.pointee.room[sizeClass] else {
      return isNoted ? "a list of slabs with room that is not there" : nil
    }
    if !isNoted { return "a list of slabs with room that is not noted" }
    var slab = head
    var length = 0
    repeat {
      length += 1
      guard length <= 8, slab.pointee.heap == heap, let next = slab.pointee.next, next.pointee.previous == slab else {
        return "a list of slabs with room whose links disagree"
      }
      if slab.pointee.place != .room { return "a slab in the list of those with room, and elsewhere" }
      if !slab.hasRoom { return "a slab in the list of those with room, without any" }
      slab = next
    } while slab != head
    return nil
  }

  private static func alwaysOfSpares(_ heap: ThreadHeapPointer) -> String? {
    let counted = heap.spareBytes.loadRelaxed()
    var kept: UInt = 0
    for sizeClass in 0..<SizeClass.count {
      var spare = SlabPointer(bitPattern: heap.spares(sizeClass).loadRelaxed())
      while let slab = spare {
        kept += slab.byteCount
        if kept > counted { return "more spare slabs than count" }
        if slab.pointee.place != .spare { return "a spare slab that is elsewhere" }
        spare = slab.pointee.next
      }
    }
    return nil
  }

  /// The bitmap never knows of pages that the segment does not, and no more purges end than have begun.
  static func always(_ segment: SegmentPointer) -> String? {
    let pages = segment.pageCount.loadRelaxed()
    if UInt(segment.pointee.bitmap.itemCount) > pages * Page.fragmentCount || pages > segment.pointee.pageCapacity {
      return "more pages than there are"
    }
    return Int(bitPattern: segment.purging.loadRelaxed()) < 0 ? "more purges have ended than began" : nil
  }

  // MARK: Changes of cells

  // The cells of slabs, by their address, with where the slab is and the place of the cell's first item.
  nonisolated(unsafe) private static var cells: [UInt: (slab: SlabPointer, start: UInt, firstItem: UInt)] = [:]

  static func watch(_ slab: SlabPointer, cell index: UInt) {
    let word = slab.cell(index << 6).word
    cells[UInt(bitPattern: word)] = (slab, slab.address, slab.address(index << 6))
    mp_machine_watch(word)
  }

  static func forgetCells() { cells = [:] }

  /// A bit becomes 0 by who gives its item back, and by nobody else; 1 only all at once, by the heap's owner.
  static func changed(_ thread: Int, _ address: UInt, _ before: UInt, _ after: UInt) -> String? {
    guard let (slab, start, firstItem) = cells[address] else { return nil }
    // The slab may have gone, and its record be something else now.
    guard segment.entry(of: start).slab.loadRelaxed() == UInt(bitPattern: slab) else { return nil }
    var freed = before & ~after
    while freed != 0 {
      let item = firstItem + UInt(freed.trailingZeroBitCount) * slab.pointee.itemSize
      freed &= freed - 1
      if Items.given[thread] != item { return "an item is freed by a thread that did not give it back" }
      Items.given[thread] = 0
    }
    if after & ~before == 0 { return nil }
    if after != Cell.busy { return "a cell is collected in part" }
    return registry.isOwned(slab.pointee.heap.pointee.index) ? nil : "a cell is collected, of a heap that nobody owns"
  }
}
