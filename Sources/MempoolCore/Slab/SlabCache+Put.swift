extension UnsafeMutablePointer where Pointee == SlabCache {
  /// Gives an item back. Nil is nothing to do; anything that is not an item of this cache and out is reported on one line,
  /// and the process aborts. Any thread. Into a cell that the thread leases it is some fifty instructions, without a call, a lock
  /// or an atomic read-modify-write; otherwise one read-modify-write, and nothing is touched after it.
  ///
  /// Memory ordering: what the caller wrote to the item is visible to whoever gets it next.
  @inlinable @inline(__always)
  public func put(_ pointer: UnsafeMutableRawPointer?, call: StaticString = "put") {
    let address = UInt(bitPattern: pointer)
    if Memcheck.isRunning, address != 0 { Memcheck.freed(address, in: UInt(bitPattern: self)) }
    let offset = address &- pointee.base
    if let leases = rememberedLeases, offset < pointee.byteCount {
      let entry = pointee.entries + Int(bitPattern: offset >> Page.shift)
      if entry.heap.loadRelaxed() & 0xff == PageEntryPointer.cacheKind {
        let page = entry.slab.loadPointerRelaxed().unsafelyUnwrapped.assumingMemoryBound(to: CachePage.self)
        let (item, rest) = page.item(address)
        let cell = item >> 6
        if page.pointee.cacheID == pointee.id, rest < page.pointee.reciprocal,
          page.lessee(cell).loadRelaxed() == UInt(bitPattern: leases),
          page.putHeld(cell, 1 &<< (item & 63))
        {
          return
        }
      }
    }
    putSlow(pointer, call)
  }

  @inline(never) @usableFromInline
  func putSlow(_ pointer: UnsafeMutableRawPointer?, _ call: StaticString) {
    guard let pointer else { return }
    let address = UInt(bitPattern: pointer)
    let leases = ownLeases()
    // First: if the item is not out, its page may go by this.
    if let leases { noticeShrink(leases) }
    let (page, item) = find(address, call)
    if let leases, page.lessee(item >> 6).loadRelaxed() == UInt(bitPattern: leases) {
      if !page.putHeld(item >> 6, 1 << (item & 63)) { misuse(call, address, "double free") }
    } else {
      page.putRemotely(item >> 6, 1 << (item & 63), call)
    }
  }

  /// The page and the number of the item that begins at `address`; what is no item of this cache is reported.
  func find(_ address: UInt, _ call: StaticString) -> (page: CachePagePointer, item: UInt) {
    switch place(address) {
    case .foreign: misuse(call, address, "not memory of this allocator")
    case .ours: misuse(call, address, "not an item of a slab cache")
    case .page(let page):
      if page.pointee.cacheID != pointee.id { misuse(call, address, "an item of another cache") }
      let (item, rest) = page.item(address)
      if rest >= page.pointee.reciprocal || item >= page.pointee.itemCount {
        misuse(call, address, "not the start of an item")
      }
      return (page, item)
    }
  }
}

extension UnsafeMutablePointer where Pointee == PageEntry {
  /// ``PageKind/cache``, as a constant of the code that it is inlined into.
  @inlinable @inline(__always) static var cacheKind: UInt { 3 }
}

extension UnsafeMutablePointer where Pointee == CachePage {
  /// The item that holds `address`, which lies in the page; it begins there when `rest < reciprocal`.
  @inlinable @inline(__always)
  func item(_ address: UInt) -> (item: UInt, rest: UInt) {
    let (item, rest) = ((address &- pointee.base) &* 2).multipliedFullWidth(by: pointee.reciprocal)
    return (item, rest)
  }

  /// Puts items into a cell's free set, by its lessee: no read-modify-write. False, and nothing changed: not all were out.
  @inlinable @inline(__always)
  func putHeld(_ index: UInt, _ bits: UInt) -> Bool {
    let held = self.held(index).loadRelaxed()
    guard ~cell(index).loadRelaxed() & bits | held & bits == 0 else { return false }
    self.held(index).storeRelease(held | bits)  // release: pairs with the acquire in itemsOut()
    return true
  }

  /// Frees items of a cell that the calling thread does not lease.
  func putRemotely(_ index: UInt, _ bits: UInt, _ call: StaticString) {
    if held(index).loadRelaxed() & bits != 0 { freedTwice(index, bits, call) }
    let address = pointee.base, stride = pointee.stride
    // release: pairs with a claim, and with itemsOut()
    let old = cell(index).fetchAndRelease(~bits)
    if old & bits == bits { return }
    let item = index << 6 + UInt((~old & bits).trailingZeroBitCount)
    misuse(call, address &+ item &* stride, "double free")
  }

  /// Reports the first of a cell's items that is not out.
  func freedTwice(_ index: UInt, _ bits: UInt, _ call: StaticString) -> Never {
    let free = bits & (~cell(index).loadRelaxed() | held(index).loadRelaxed())
    misuse(call, address(ofItem: index << 6 + UInt(free.trailingZeroBitCount)), "double free")
  }
}
