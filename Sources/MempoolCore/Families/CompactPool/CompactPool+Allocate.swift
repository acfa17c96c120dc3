import CMempoolShims

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// The handle of `byteCount` bytes, not zeroed, that are the caller's until they are freed. Nil and errno: EINVAL for 0 bytes, or more
  /// than the pool's limit, ENOMEM when no memory is left, or when none of what the pool holds would do and `grows` is false.
  ///
  /// Any thread. O(1) and one lock, seldom one more for each other shard; what comes from the system is a page at a time, and an engine's
  /// run of 64 KiB.
  public func allocate(_ byteCount: UInt, grows: Bool = true) -> CompactHandle? {
    guard byteCount > 0, byteCount <= largest, isOwner else {
      mp_errno_set(Int32(MP_EINVAL))
      return nil
    }
    let saved = mp_errno_get()
    var handle = tryAllocate(byteCount, grows)
    // Pages that are kept may be what is missing.
    if handle == nil, grows, trim() > 0 { handle = tryAllocate(byteCount, grows) }
    if handle == nil { _ = refusals.fetchAddRelaxed(1) }
    mp_errno_set(handle == nil ? Int32(MP_ENOMEM) : saved)
    return handle
  }

  private func tryAllocate(_ byteCount: UInt, _ grows: Bool) -> CompactHandle? {
    byteCount > largestBlock ? (grows ? allocateRun(byteCount) : nil) : allocateBlock(byteCount, grows)
  }

  private func allocateBlock(_ byteCount: UInt, _ grows: Bool) -> CompactHandle? {
    let units = units(byteCount), own = ownShard()
    if let handle = take(own, units, byteCount, grows) { return handle }
    // What others have comes before new pages. Who is busy needs it himself.
    for index in 1..<pointee.shardCount {
      let other = (own + index) % pointee.shardCount
      guard shard(other).room.loadRelaxed() >= units else { continue }
      if grows {
        guard let hold = CompactHold(ifFree: self, other) else { continue }
        defer { hold.end() }
        if let handle = hold.take(units, byteCount, grows: true) { return handle }
      } else if let handle = take(other, units, byteCount, false) {
        return handle
      }
    }
    guard grows else { return nil }
    if let handle = grow(own, units, byteCount) { return handle }
    // Nothing is left but what others have, or have freed meanwhile.
    for index in 0..<pointee.shardCount {
      if let handle = take((own + index) % pointee.shardCount, units, byteCount, true) { return handle }
    }
    return nil
  }

  private func take(_ index: UInt, _ units: UInt, _ byteCount: UInt, _ grows: Bool) -> CompactHandle? {
    let hold = CompactHold(self, index)
    defer { hold.end() }
    return hold.take(units, byteCount, grows: grows)
  }

  // A new region's first object, unless somebody freed one meanwhile. Under one lock: nobody else gets what was made for it.
  private func grow(_ index: UInt, _ units: UInt, _ byteCount: UInt) -> CompactHandle? {
    let hold = CompactHold(self, index)
    defer { hold.end() }
    if let handle = hold.take(units, byteCount, grows: true) { return handle }
    return hold.takeNewRegion(units, byteCount)
  }
}

extension CompactHold {
  // Lists that a search looks at: its own and the next one; where few blocks will do, more.
  private static var lists: Int { 2 }
  private static var listsWithoutGrowth: Int { 16 }
  // Blocks of a list that are looked at. In a shard with more objects than this each of them lies in a page that no cache has, and there is
  // such a choice of lists that the second look is worth as much as the eighth.
  private static var many: UInt { 1 << 15 }
  private var probes: Int { shard.pointee.liveObjects > Self.many ? 2 : SegregatedFit.probes }

  /// An object out of this shard's free blocks. `grows` false: of pages that hold memory already.
  func take(_ units: UInt, _ byteCount: UInt, grows: Bool) -> CompactHandle? {
    if shard.index.isEmpty { return nil }
    let lists = grows ? Self.lists : Self.listsWithoutGrowth
    let found = shard.index.fit(units, in: self, lists: lists, probes: probes) { block in
      isWithinReach(block) && (grows || isHeld(block, units))
    }
    guard let found else { return nil }
    let block = CompactBlock(found), memory = bytes(block.region)
    let total = memory.header(block.unit).size
    guard isWithinReach(rest(total - units)) else { return nil }
    var slot: UInt32 = 0
    if pool.isMovable {
      guard let taken = CompactSlots(pool: pool).take(self, grows: grows) else { return nil }
      slot = taken
    }
    guard hold(block.region, block.unit, units, of: total) else {
      if slot != 0 { CompactSlots(pool: pool).putBack(slot, self) }
      return nil
    }
    shard.index.remove(found, in: self)
    return make(memory, block, units, byteCount, slot)
  }

  /// The same, out of a new region.
  func takeNewRegion(_ units: UInt, _ byteCount: UInt) -> CompactHandle? {
    var slot: UInt32 = 0
    if pool.isMovable {
      guard let taken = CompactSlots(pool: pool).take(self, grows: true) else { return nil }
      slot = taken
    }
    if let region = claimRegion() {
      let total = pool.endUnit - pool.firstUnit
      if hold(region, pool.firstUnit, units, of: total), isWithinReach(rest(total - units)) {
        return make(bytes(region), CompactBlock(region: region, unit: pool.firstUnit), units, byteCount, slot)
      }
      releaseRegion(region, record(region))
    }
    if slot != 0 { CompactSlots(pool: pool).putBack(slot, self) }
    return nil
  }

  private func make(
    _ memory: CompactMemory, _ block: CompactBlock, _ units: UInt, _ byteCount: UInt, _ slot: UInt32
  ) -> CompactHandle {
    carve(memory, block.region, block.unit, units, byteCount)
    guard slot != 0 else {
      return pool.handle(block.region, (block.unit + 1) * CompactRegion.unitBytes)
    }
    memory[block.unit + units - 1] = slot
    return CompactSlots(pool: pool).fill(slot, block)
  }

  private func isHeld(_ number: UInt32, _ units: UInt) -> Bool {
    let block = CompactBlock(number)
    return isHeld(block.region, block.unit, units, of: bytes(block.region).header(block.unit).size)
  }

  // The first block of the list that what is left of a block will join; 0: there is none.
  private func rest(_ units: UInt) -> UInt32 {
    units >= CompactRegion.leastListed ? shard.index.pointee.heads[SegregatedFit.list(units)] : 0
  }

  // Of a file: whether a block and those beside it in its list can be mapped, so that a change of it cannot fail. What its links are
  // worth is the index's matter.
  private func isWithinReach(_ number: UInt32) -> Bool {
    guard pool.isFile, number != 0 else { return true }
    func canMap(_ number: UInt32) -> Bool {
      let region = CompactBlock(number).region
      guard number != 0, region <= pool.lastRegion, let record = pool.record(region),
        record.owner.loadRelaxed() == owner(CompactRegion.Kind.blocks)
      else { return true }
      return reach(region) != nil
    }
    guard canMap(number), let links = links(of: number) else { return false }
    return canMap(links.next) && canMap(links.previous)
  }
}
