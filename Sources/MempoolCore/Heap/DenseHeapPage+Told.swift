import CMempoolShims

/// What threads other than the owner do to a page: they free objects that they have.
///
/// A block that is freed so is marked in its header, by a swap that exactly one of those who try wins, and put on the page's list, through
/// its first four bytes. Who finds the list empty puts the page on the heap's, and touches nothing of it after that: so the owner, who
/// collects only what it is told of, may give back a page all of whose blocks are collected.
extension UnsafeMutablePointer where Pointee == DensePage {
  var told: AtomicPointer { AtomicPointer(self, word: 4) }
  var pendingNext: AtomicPointer { AtomicPointer(self, word: 5) }

  /// Marks an object as freed; false when somebody else did, or nobody has it.
  func mark(_ unit: UInt, _ block: DenseBlock) -> Bool {
    let place = address(unit)
    guard block.isOut else { return false }
    return mp_compare_and_swap16_relaxed(half(unit, 1), block.word, DenseBlock.freed(block.size, at: place).word)
      == block.word
  }

  /// Puts a marked block on the list; whether it was empty, and the heap is to be told.
  func tell(_ unit: UInt) -> Bool {
    var head = told.loadRelaxed()
    while true {
      units[Int(unit) + 1] = link(unit, to: head)
      // acquire-release: pairs with the exchange in takeTold()
      let seen = told.compareAndSwapAcquireRelease(head, unit)
      if seen == head { return head == 0 }
      head = seen
    }
  }

  /// Takes the whole list: its first block, 0 for none. By the owner, who has read the link to the next page.
  func takeTold() -> UInt {
    // acquire-release: pairs with the swap in tell(_:); the release keeps that read before the next freer's write of it
    told.exchangeAcquireRelease(0)
  }

  /// Makes a block of the list one that is out again; the next of the list. Reports, and ends the process, when somebody wrote to it.
  func unmark(_ unit: UInt) -> UInt {
    let block = block(unit), next = UInt(units[Int(unit) + 1] & 0xfff)
    guard units[Int(unit) + 1] == link(unit, to: next), block.isFreed, block.isValid(at: address(unit)) else {
      damaged(at: unit)
    }
    setBlock(unit, .out(block.size, at: address(unit)))
    return next
  }

  // The first unit of a block in the list == the next one | check << 12
  private func link(_ unit: UInt, to next: UInt) -> UInt32 {
    let next = UInt32(truncatingIfNeeded: next)
    return next | DenseCheck.of(next | 1 << 17, address(unit)) & ~0xfff
  }

  /// What the list holds, and all that is marked; nil when not all of the list is. When nobody frees.
  func countTold() -> (marked: UInt, blocks: UInt, units: UInt)? {
    var (marked, blocks, units): (UInt, UInt, UInt) = (0, 0, 0)
    let isSound = walk { _, block in
      if block.isFreed { marked += 1 }
      return true
    }
    var unit = told.loadRelaxed()
    while unit != 0, blocks <= marked {
      guard block(unit).isFreed else { return nil }
      blocks += 1
      units += block(unit).size
      unit = UInt(self.units[Int(unit) + 1] & 0xfff)
    }
    return isSound && blocks <= marked ? (marked, blocks, units) : nil
  }

  /// In a forked child, by its only thread: frees what is marked: what other threads did, be it in the list or not yet, and what rested;
  /// how much. What lies behind a header that somebody wrote to stays as it is, for who next frees there to report. O(blocks).
  func recoverAfterFork() -> (blocks: UInt, units: UInt) {
    told.storeRelaxed(0)
    pendingNext.storeRelaxed(0)
    var (blocks, units): (UInt, UInt) = (0, 0)
    var at = DensePage.firstUnit
    while at < DensePage.endUnit, isSound(at) {
      let block = block(at)
      if block.isFreed {
        setBlock(at, .out(block.size, at: address(at)))
        if fault(of: at) != nil {
          setBlock(at, block)
          break
        }
        blocks += 1
        units += block.size
        at = release(at)
      }
      at += self.block(at).size
    }
    return (blocks, units)
  }
}
