import CMempoolShims

/// Why a pointer cannot be freed, resized or measured.
enum DenseHeapFault {
  /// It lies in memory that is free: it was freed before, or never handed out.
  case doubleFree
  /// It points into a live block, into a page's own bookkeeping, or into no page of this heap.
  case notABlock
  /// Its header, or one that it has to be joined with, is not what the heap wrote.
  case overwritten

  /// What a report says of it.
  func text(_ purpose: Purpose) -> StaticString {
    switch self {
    case .doubleFree: purpose.freed
    case .notABlock: "not the start of an object"
    case .overwritten: "block header overwritten"
    }
  }
}

extension UnsafeMutablePointer where Pointee == DensePage {
  /// The unit of the header that an address in this page would have, if it were an object's; nil when none can be there.
  func unit(ofPayload address: UInt) -> UInt? {
    let offset = address - UInt(bitPattern: self)
    guard offset % DensePage.unitBytes == 0, offset > DensePage.unitBytes * DensePage.firstUnit,
      offset <= DensePage.unitBytes * DensePage.endUnit
    else { return nil }
    return offset / DensePage.unitBytes - 1
  }

  /// What speaks against a live block's beginning at `unit`; nil when nothing does. By any thread: looks at nothing that changes while
  /// the block is out.
  ///
  /// The block and the one behind it agree. An address inside a block passes only if what the program wrote there looks like two
  /// headers that fit each other and their places, less than one in 2^28 for arbitrary content; the owner, when it collects the block,
  /// looks closer. Otherwise walks the page to tell what is wrong.
  func faultSeenByOthers(of unit: UInt) -> DenseHeapFault? { looksRight(unit) ? nil : diagnose(unit) }

  @inline(__always)
  func looksRight(_ unit: UInt) -> Bool {
    let block = block(unit), size = UInt(block.word & 0x3ff), next = unit + size
    return block == .out(size, at: address(unit)) && size > 0 && next <= DensePage.endUnit
      && before(unit).isValid(at: address(unit)) && before(next) == DenseBefore(size, at: address(next))
  }

  /// The same, by the owner: O(1), and a search of the index for each free neighbour. The block, its neighbours and theirs agree about
  /// where each begins; less than one in 2^50 for arbitrary content.
  func fault(of unit: UInt) -> DenseHeapFault? {
    let block = block(unit)
    guard block.isOut, isSound(unit), isSoundNext(unit + block.size), isSoundPrevious(unit, before(unit).size) else {
      return diagnose(unit)
    }
    return nil
  }

  /// Whether the block before this one is as long as this one's header says. By the owner.
  @inline(__always)
  func agreesWithPrevious(_ unit: UInt) -> Bool {
    let size = before(unit).size
    return size == 0
      ? unit == DensePage.firstUnit : unit >= DensePage.firstUnit + size && block(unit - size).size == size
  }

  /// Whether the header at `unit` was written for it, and that of the block behind for that, and agrees with it.
  @inline(__always)
  func isSound(_ unit: UInt) -> Bool {
    let header = header(unit), next = unit + header.size
    return header.isValid(at: address(unit)) && header.size > 0 && next <= DensePage.endUnit
      && before(next) == DenseBefore(header.size, at: address(next))
  }

  @inline(__always)
  private func isSoundNext(_ unit: UInt) -> Bool {
    let block = block(unit)
    if unit == DensePage.endUnit { return block == .out(0, at: address(unit)) }
    return isSound(unit) && isSoundNeighbour(unit, block)
  }

  @inline(__always)
  private func isSoundPrevious(_ unit: UInt, _ size: UInt) -> Bool {
    if size == 0 { return unit == DensePage.firstUnit }
    guard unit >= DensePage.firstUnit + size else { return false }
    let previous = unit - size, header = header(previous)
    guard header.size == size, header.isValid(at: address(previous)), isSoundNeighbour(previous, header.block) else {
      return false
    }
    let further = header.previousSize
    if further == 0 { return previous == DensePage.firstUnit }
    guard previous >= DensePage.firstUnit + further else { return false }
    let block = block(previous - further)
    return block.size == further && block.isValid(at: address(previous - further))
  }

  // What is free has to be in the index: it is about to be joined.
  @inline(__always)
  private func isSoundNeighbour(_ unit: UInt, _ block: DenseBlock) -> Bool {
    block.isAllocated || block.size < DensePage.leastListed || freeBlocks.contains(unit)
  }

  /// Walks the page to what lies at `unit`. O(blocks); only when a pointer has been refused. By another thread it may meet the owner's
  /// changes, and then walks once more.
  private func diagnose(_ unit: UInt) -> DenseHeapFault {
    for _ in 0..<64 {
      if let fault = walk(to: unit) { return fault }
      mp_pause()
    }
    return .overwritten
  }

  // Nil: a header is not what it should be.
  private func walk(to unit: UInt) -> DenseHeapFault? {
    var at = DensePage.firstUnit
    while at < DensePage.endUnit && isSound(at) {
      let block = block(at)
      if unit < at + block.size {
        if !block.isOut { return .doubleFree }
        return unit == at ? nil : .notABlock
      }
      at += block.size
    }
    return nil
  }

  /// Visits the blocks in address order until `body` returns false; false when it did, or when a header is wrong.
  func walk(_ body: (_ unit: UInt, _ block: DenseBlock) -> Bool) -> Bool {
    var at = DensePage.firstUnit
    while at < DensePage.endUnit {
      guard isSound(at), isSoundPrevious(at, before(at).size), body(at, block(at)) else { return false }
      at += block(at).size
    }
    return block(at) == .out(0, at: address(at))
  }

  /// Whether blocks, counters, index and list are what they say of each other. O(blocks). By the owner.
  func checkInvariants() -> Bool {
    var (liveBlocks, liveUnits, indexed, freed): (UInt, UInt, UInt, UInt) = (0, 0, 0, 0)
    var previousIsFree = false
    let sound = walk { _, block in
      if !block.isAllocated && previousIsFree { return false }
      previousIsFree = !block.isAllocated
      if block.isFreed { freed += 1 }
      if block.isAllocated {
        liveBlocks += 1
        liveUnits += block.size
      } else if block.size >= DensePage.leastListed {
        indexed += 1
      }
      return true
    }
    return sound && isSealed && UInt(pointee.liveBlocks) == liveBlocks && UInt(pointee.liveUnits) == liveUnits
      && freeBlocks.checkInvariants(count: indexed) && freeBlocks.highest == Int(pointee.room)
  }
}
