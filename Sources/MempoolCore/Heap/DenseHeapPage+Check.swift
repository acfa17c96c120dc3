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
  /// What speaks against an address being that of a live block; nil when nothing does.
  ///
  /// When all is well, O(1) and a search of the tree for each free neighbour: the block, its neighbours and theirs agree
  /// about where each begins. An address inside a block passes only if what the program wrote there looks like three headers
  /// that fit each other and their places, less than one in 2^45 for arbitrary content. Otherwise walks the page to tell what
  /// is wrong.
  func fault(atPayload address: UInt) -> DenseHeapFault? {
    guard isSealed else { return .notABlock }
    let offset = address - UInt(bitPattern: self)
    guard offset % DensePage.unitBytes == 0 else { return .notABlock }
    let (unit, underflow) = (offset / DensePage.unitBytes).subtractingReportingOverflow(1)
    guard !underflow, unit >= DensePage.firstUnit, unit < DensePage.endUnit else { return .notABlock }
    let block = header(unit)
    if block.isAllocated && isSound(unit) && isSoundNeighbour(unit + block.size)
      && (block.previousSize == 0 || isSoundNeighbour(unit - block.previousSize))
    {
      return nil
    }
    return diagnose(unit)
  }

  /// Whether the header at `unit` was written for it, and those of both neighbours were for them and agree with it.
  private func isSound(_ unit: UInt) -> Bool {
    let block = header(unit)
    let next = unit + block.size
    guard block.isValid(at: address(unit)), block.size > 0, next <= DensePage.endUnit,
      header(next).isValid(at: address(next)), header(next).previousSize == block.size
    else { return false }
    if block.previousSize == 0 { return unit == DensePage.firstUnit }
    guard unit >= DensePage.firstUnit + block.previousSize else { return false }
    let previous = unit - block.previousSize
    return header(previous).isValid(at: address(previous)) && header(previous).size == block.previousSize
  }

  /// Whether a block that is about to be joined with its neighbour, or not, can rely on what that one says.
  private func isSoundNeighbour(_ unit: UInt) -> Bool {
    if unit == DensePage.endUnit { return true }
    let block = header(unit)
    return isSound(unit) && (block.isAllocated || block.size < FreeTree.minUnits || freeTree.contains(unit))
  }

  /// Walks the page to what lies at `unit`. O(blocks); only when a pointer has been refused.
  private func diagnose(_ unit: UInt) -> DenseHeapFault {
    var at = DensePage.firstUnit
    while at < DensePage.endUnit && isSound(at) {
      let block = header(at)
      if unit < at + block.size {
        if !block.isAllocated { return .doubleFree }
        return unit == at ? .overwritten : .notABlock
      }
      at += block.size
    }
    return .overwritten
  }

  /// Visits the blocks in address order until `body` returns false; false when it did, or when a header is wrong.
  func walk(_ body: (_ unit: UInt, _ block: DenseHeader) -> Bool) -> Bool {
    var at = DensePage.firstUnit
    while at < DensePage.endUnit {
      guard isSound(at), body(at, header(at)) else { return false }
      at += header(at).size
    }
    return header(at).isValid(at: address(at)) && header(at).size == 0 && header(at).isAllocated
  }

  /// Whether blocks, counters and tree are what they say of each other. O(blocks).
  func checkInvariants() -> Bool {
    var liveBlocks: UInt = 0
    var liveUnits: UInt = 0
    var inTree: UInt = 0
    var largest: UInt = 0
    var previousIsFree = false
    let sound = walk { _, block in
      if !block.isAllocated && previousIsFree { return false }
      previousIsFree = !block.isAllocated
      if block.isAllocated {
        liveBlocks += 1
        liveUnits += block.size
      } else if block.size >= FreeTree.minUnits {
        inTree += 1
        largest = max(largest, block.size)
      }
      return true
    }
    return sound && isSealed && UInt(pointee.liveBlocks) == liveBlocks && UInt(pointee.liveUnits) == liveUnits
      && freeTree.checkInvariants(count: inTree) && freeTree.largest == largest && UInt(pointee.largestRun) == largest
  }
}
