/// A heap's pages with room, ordered by their largest run: the smallest that suffices is found without looking at the others.
///
/// Nodes live in the page records. Full pages are not in it. At most 63 levels deep; the hashed lower bits make it about
/// 12 + log2(pages) in fact. Used under the heap's mutex.
struct DensePageTree {
  let heap: DenseHeapPointer

  /// Files a page under its largest run, or sets it aside when no request can be met from it.
  func insert(_ page: DensePagePointer) {
    if UInt(page.pointee.largestRun) >= FreeTree.minUnits { insertNode(UInt(bitPattern: page)) }
  }

  /// Takes a page out. Its largest run must be what it was filed under.
  func remove(_ page: DensePagePointer) {
    guard UInt(page.pointee.largestRun) >= FreeTree.minUnits else { return }
    let node = UInt(bitPattern: page)
    if !removeNode(node) { damaged(at: node) }
  }

  /// Files a page anew after its blocks have changed.
  func refile(_ page: DensePagePointer) {
    let largest = UInt16(truncatingIfNeeded: page.freeTree.largest)
    if largest == page.pointee.largestRun { return }
    remove(page)
    page.pointee.largestRun = largest
    insert(page)
  }

  /// The page with the smallest largest run of at least `units` units; after `page`, when one is given.
  func page(withRun units: UInt, after page: DensePagePointer? = nil) -> DensePagePointer? {
    let past = page.map { key(of: UInt(bitPattern: $0)) + 1 } ?? 0
    return DensePagePointer(bitPattern: lowestNode(from: max(units << Self.placeWidth, past)))
  }

  /// The largest run of all, 0 when every page is full.
  var largestRun: UInt {
    let node = highestNode()
    return node == 0 ? 0 : key(of: node) >> Self.placeWidth
  }

  func checkInvariants(count: UInt) -> Bool { countOfWellPlacedNodes() == count }
}

extension DensePageTree: DigitalTree {
  // key == largest run << 50 | page number * odd multiplier, 50 bits of it: distinct, because the multiplier can be undone
  static var placeWidth: UInt { 50 }
  static var keyWidth: UInt { 62 }

  var root: UInt {
    get { heap.pointee.roomRoot }
    nonmutating set { heap.pointee.roomRoot = newValue }
  }

  private func page(_ node: UInt) -> DensePagePointer { DensePagePointer(bitPattern: node).unsafelyUnwrapped }

  func key(of node: UInt) -> UInt {
    let place = (node / DensePage.byteCount &* 0x9e37_79b9_7f4a_7c15) & (1 << Self.placeWidth - 1)
    return UInt(page(node).pointee.largestRun) << Self.placeWidth | place
  }

  func children(of node: UInt) -> DigitalTreeChildren {
    if !page(node).isSealed { damaged(at: node) }
    return page(node).pointee.children
  }

  func setChildren(of node: UInt, to children: DigitalTreeChildren) { page(node).pointee.children = children }

  func damaged(at node: UInt) -> Never { misuse("dense heap", node, "page header overwritten") }
}
