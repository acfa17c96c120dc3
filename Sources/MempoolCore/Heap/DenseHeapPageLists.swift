/// A heap's pages with room, in lists by the list that their largest free block belongs to: one that suffices is found without looking at
/// the others.
///
/// Links live in the page records. Full pages are in none. Used by the heap's owner; each operation is a few steps.
struct DensePageLists {
  let heap: DenseHeapPointer

  /// Files a page anew after its blocks have changed.
  @inline(__always)
  func refile(_ page: DensePagePointer) {
    let room = UInt16(truncatingIfNeeded: page.freeBlocks.highest)
    if room != page.pointee.room { move(page, to: room) }
  }

  @inline(never)
  private func move(_ page: DensePagePointer, to room: UInt16) {
    remove(page)
    page.pointee.room = room
    if room == 0 { return }
    let head = heap.pointee.rooms[Int(room)]
    if let head {
      if head.pointee.room != room || head.pointee.roomPrevious != nil { damaged(head) }
      head.pointee.roomPrevious = page
    }
    page.pointee.roomNext = head
    page.pointee.roomPrevious = nil
    heap.pointee.rooms[Int(room)] = page
    heap.pointee.roomLists |= 1 << UInt(room)
  }

  /// Takes a page out, if it is in a list.
  func remove(_ page: DensePagePointer) {
    let room = Int(page.pointee.room), (next, previous) = (page.pointee.roomNext, page.pointee.roomPrevious)
    if room == 0 { return }
    page.pointee.room = 0
    if let next {
      if next.pointee.roomPrevious != page { damaged(next) }
      next.pointee.roomPrevious = previous
    }
    if let previous {
      if previous.pointee.roomNext != page { damaged(previous) }
      previous.pointee.roomNext = next
    } else {
      if heap.pointee.rooms[room] != page { damaged(page) }
      heap.pointee.rooms[room] = next
      if next == nil { heap.pointee.roomLists &= ~(1 << UInt(room)) }
    }
  }

  /// The first page of the lowest list from `list` on that has one.
  @inline(__always)
  func first(from list: Int) -> DensePagePointer? {
    let lists = heap.pointee.roomLists & ~0 &<< UInt(bitPattern: list)
    return lists == 0 ? nil : heap.pointee.rooms[lists.trailingZeroBitCount]
  }

  /// The page after this one: of the same list, or the first of a higher one.
  func next(after page: DensePagePointer) -> DensePagePointer? {
    page.pointee.roomNext ?? first(from: Int(page.pointee.room) + 1)
  }

  private func damaged(_ page: DensePagePointer) -> Never {
    misuse("dense heap", UInt(bitPattern: page), "page header overwritten")
  }

  /// Whether the lists hold `count` pages of the heap, each in its place.
  func checkInvariants(count: UInt) -> Bool {
    var found: UInt = 0
    for list in 0..<FreeLists.count {
      var page = heap.pointee.rooms[list], previous: DensePagePointer?
      guard heap.pointee.roomLists >> UInt(list) & 1 == (page == nil ? 0 : 1) else { return false }
      while let current = page {
        guard current.isSealed, current.pointee.heap == heap, Int(current.pointee.room) == list,
          current.pointee.roomPrevious == previous, found < count
        else { return false }
        found += 1
        previous = current
        page = current.pointee.roomNext
      }
    }
    return found == count
  }
}
