/// One thread's way through a ``HintTree``, after it changed cells, from their hints up as far as it makes a difference.
///
/// Every thread that changes a child then writes its hint, unconditionally and by a read-modify-write, and then looks at the
/// child again. So whoever writes a hint last has, by the chain of these operations, seen every change of the child whose
/// author wrote before, and the authors of later ones have yet to write: in the end hint and child agree. A hint word is the
/// child of a bit above, and who made it full, or no longer so, goes on there.
///
/// One atomic operation a level, when nobody interferes. Each step touches memory once, so that a test can run the steps of
/// several threads in every order.
struct Settling: Hashable {
  enum Phase { case look, set, clear, lookAgain }

  private(set) var level = 0
  private(set) var index: Int
  // The hints to write, of this word.
  private var mask: UInt
  // What the children were when looked at. full & ~mask == 0
  private var full: UInt = 0
  private var phase = Phase.look
  // This thread made the word full of set bits, or no longer full, at some time since it came to this level.
  private var hasCrossed = false

  init(index: Int, mask: UInt) {
    self.index = index
    self.mask = mask
  }

  /// One that has come as far as to have written the hints. That it crossed may be wrong: then it looks in vain above.
  init(index: Int, mask: UInt, written full: UInt, hasCrossed: Bool) {
    self.index = index
    self.mask = mask
    self.full = full
    self.hasCrossed = hasCrossed
    phase = .lookAgain
  }

  /// Does the next thing; false when there is no more to do.
  @inline(__always)
  mutating func step(_ tree: HintTree) -> Bool {
    switch phase {
    case .look:
      full = tree.fullChildren(level, index, mask)
      phase = .set
    case .set:
      if full != 0 {
        let old = tree.hint(self).fetchOrAcquireRelease(full)  // acquire-release: pairs with itself, as said above
        changed(tree, from: old, to: old | full)
      }
      phase = .clear
    case .clear:
      let open = mask & ~full
      if open != 0 {
        let old = tree.hint(self).fetchAndAcquireRelease(~open)  // acquire-release: pairs with the one above
        changed(tree, from: old, to: old & ~open)
      }
      phase = .lookAgain
    case .lookAgain:
      let now = tree.fullChildren(level, index, mask)
      if now != full {
        full = now
        phase = .set
      } else if hasCrossed {
        mask = Cell.mask(1, at: index & (Cell.itemCount - 1))
        index >>= HintTree.shift
        level += 1
        hasCrossed = false
        phase = .look
      } else {
        return false
      }
    }
    return true
  }

  private mutating func changed(_ tree: HintTree, from old: UInt, to new: UInt) {
    let surplus = tree.surplus(level, index)
    if (old | surplus == ~0) != (new | surplus == ~0) { hasCrossed = true }
  }
}
