import CMempoolShims

/// Free blocks of a shard's regions, to its index.
extension CompactHold: FreeBlocks {
  // Where a free block with links is; nil when there is none of this number.
  private func find(_ number: UInt32) -> (memory: CompactMemory, unit: UInt, header: CompactHeader)? {
    let block = CompactBlock(number)
    guard block.region > 0, block.region <= pool.lastRegion, let record = pool.record(block.region),
      record.owner.loadRelaxed() == owner(CompactRegion.Kind.blocks)
    else { return nil }
    let memory = bytes(block.region), header = memory.header(block.unit)
    guard header.isFree, header.size >= CompactRegion.leastListed, block.unit + header.size <= pool.endUnit else {
      return nil
    }
    return (memory, block.unit, header)
  }

  func size(of block: UInt32) -> UInt { find(block)?.header.size ?? 0 }

  func links(of block: UInt32) -> FreeBlockLinks? {
    find(block).map { FreeBlockLinks(next: $0.memory[$0.unit + 1], previous: $0.memory[$0.unit + 2]) }
  }

  func setNext(of block: UInt32, to next: UInt32) {
    let block = CompactBlock(block)
    bytes(block.region)[block.unit + 1] = next
  }

  func setPrevious(of block: UInt32, to previous: UInt32) {
    let block = CompactBlock(block)
    bytes(block.region)[block.unit + 2] = previous
  }

  func damaged(at block: UInt32) -> Never {
    let block = CompactBlock(block)
    pool.report("compact pool", pool.handle(block.region, (block.unit + 1) * 4), "free block overwritten")
  }
}

// MARK: Blocks of a region

extension CompactHold {
  /// Writes a free block of `units` units, 0 for none, tells the block behind it, and enters it in the index if it is large enough.
  func makeFree(_ memory: CompactMemory, _ region: UInt, _ unit: UInt, _ units: UInt, previousUnits: UInt) {
    if units == 0 { return setPrevious(memory, unit, previousUnits) }
    memory.setHeader(unit, CompactHeader(freeUnits: units, previousUnits: previousUnits))
    setPrevious(memory, unit + units, units)
    if units >= CompactRegion.leastListed {
      shard.index.insert(CompactBlock(region: region, unit: unit).number, in: self)
    }
  }

  private func setPrevious(_ memory: CompactMemory, _ unit: UInt, _ units: UInt) {
    guard unit < pool.endUnit else { return }
    memory.setHeader(unit, memory.header(unit).with(previousUnits: units))
  }

  /// Takes a free block out of the index.
  func unlist(_ memory: CompactMemory, _ region: UInt, _ unit: UInt) {
    if memory.header(unit).size >= CompactRegion.leastListed {
      shard.index.remove(CompactBlock(region: region, unit: unit).number, in: self)
    }
  }

  /// Units of the block at `unit`, as its header has them.
  func units(_ header: CompactHeader) -> UInt { header.isFree ? header.size : pool.units(header.size) }

  /// Makes the first `units` units of a free block, which is in no list any more, an object of `byteCount` bytes.
  func carve(_ memory: CompactMemory, _ region: UInt, _ unit: UInt, _ units: UInt, _ byteCount: UInt) {
    let old = memory.header(unit)
    memory.setHeader(unit, CompactHeader(byteCount: byteCount, previousUnits: old.previousUnits))
    makeFree(memory, region, unit + units, old.size - units, previousUnits: units)
    record(region).pointee.liveBlocks += 1
    shard.pointee.liveObjects += 1
    shard.pointee.liveBytes += byteCount
    shard.pointee.liveUnits += units
    if !pool.isFile { Memcheck.open(memory.address(unit + 1), byteCount) }
  }

  /// Makes an object, with which ``fault(_:_:)`` has found nothing wrong, a free block with its free neighbours, in no list. Where that is.
  func release(_ memory: CompactMemory, _ region: UInt, _ unit: UInt) -> (unit: UInt, units: UInt, previous: UInt) {
    let header = memory.header(unit)
    var (start, size, previous) = (unit, units(header), header.previousUnits)
    if !pool.isFile { Memcheck.close(memory.address(unit + 1), header.size) }
    record(region).pointee.liveBlocks -= 1
    shard.pointee.liveObjects -= 1
    shard.pointee.liveBytes -= header.size
    shard.pointee.liveUnits -= size
    let next = unit + size
    if next < pool.endUnit, memory.header(next).isFree {
      unlist(memory, region, next)
      size += memory.header(next).size
      memory.setHeader(next, .none)
    }
    memory.setHeader(unit, .none)
    if previous > 0, memory.header(unit - previous).isFree {
      start -= previous
      unlist(memory, region, start)
      size += previous
      previous = memory.header(start).previousUnits
      memory.setHeader(start, .none)
    }
    return (start, size, previous)
  }

  // MARK: What is wrong

  /// What speaks against an object beginning at `unit`; nil when nothing does. O(1) then: its neighbours agree with it.
  func fault(_ memory: CompactMemory, _ unit: UInt) -> CompactFault? {
    guard unit >= pool.firstUnit, unit < pool.endUnit, (unit - pool.firstUnit) % pool.pointee.granule == 0 else {
      return .notAnObject
    }
    if memory.header(unit).isAllocated, isSound(memory, unit) { return nil }
    return diagnose(memory, unit)
  }

  private func isSound(_ memory: CompactMemory, _ unit: UInt) -> Bool {
    let header = memory.header(unit)
    guard header.isAllocated || header.isFree, header.size > 0, !header.isAllocated || header.size <= pool.largestBlock
    else { return false }
    let next = unit + units(header)
    guard next <= pool.endUnit else { return false }
    if next < pool.endUnit {
      let behind = memory.header(next)
      guard behind.isAllocated || behind.isFree, behind.previousUnits == next - unit else { return false }
    }
    if header.previousUnits == 0 { return unit == pool.firstUnit }
    guard unit >= pool.firstUnit + header.previousUnits else { return false }
    let before = memory.header(unit - header.previousUnits)
    return (before.isAllocated || before.isFree) && units(before) == header.previousUnits
  }

  // Walks the region to what lies at `unit`. Only when an object has been refused.
  private func diagnose(_ memory: CompactMemory, _ unit: UInt) -> CompactFault {
    var at = pool.firstUnit
    while at < pool.endUnit, isSound(memory, at) {
      let header = memory.header(at)
      if unit < at + units(header) {
        if header.isFree { return .free }
        return unit == at ? .overwritten : .notAnObject
      }
      at += units(header)
    }
    return .overwritten
  }

  /// Visits a region's blocks in order until `body` returns false; false when it did, or when a header is wrong.
  func walk(_ memory: CompactMemory, _ body: (_ unit: UInt, _ header: CompactHeader) -> Bool) -> Bool {
    var at = pool.firstUnit
    while at < pool.endUnit {
      let header = memory.header(at)
      guard isSound(memory, at), body(at, header) else { return false }
      at += units(header)
    }
    return true
  }
}
