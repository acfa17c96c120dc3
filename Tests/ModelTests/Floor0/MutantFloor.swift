public import CMempoolShims
import ModelMachine

// Compiled into the engine's copy: what mutants need of it.

/// Whether this mutant is at work.
@inlinable @inline(__always)
public func mutant(_ number: Int32) -> Bool { mp_mutant(number) != 0 }

/// For a mutant: a thread was told of what it may not see.
func notSeen() -> Never { mp_model_fail("is told of what it may not see") }

/// Fences that order less than the engine's.
@inlinable @inline(__always)
func fenceAcquireRelease() { mp_fence_acq_rel() }

// Weaker operations than the engine has, and each of its ordered ones with its number.
extension AtomicPointer {
  @inlinable @inline(__always)
  public func exchangeRelaxed(_ value: UInt) -> UInt { mp_exchange_relaxed(word, value) }
  @inlinable @inline(__always)
  public func fetchOrRelease(_ mask: UInt) -> UInt { mp_fetch_or_release(word, mask) }

  /// A store where the engine has a read-modify-write; pretends that all was taken.
  @inlinable @inline(__always)
  public func overwrite(_ value: UInt) -> UInt {
    storeRelease(value)
    return ~0
  }

  @inlinable @inline(__always)
  public func loadAcquire(at site: Int32) -> UInt {
    mp_model_site(site)
    return loadAcquire()
  }
  @inlinable @inline(__always)
  public func loadPointerAcquire(at site: Int32) -> UnsafeMutableRawPointer? {
    mp_model_site(site)
    return loadPointerAcquire()
  }
  @inlinable @inline(__always)
  public func storeRelease(at site: Int32, _ value: UInt) {
    mp_model_site(site)
    storeRelease(value)
  }
  @inlinable @inline(__always)
  public func compareAndSwapAcquire(at site: Int32, _ expected: UInt, _ desired: UInt) -> UInt {
    mp_model_site(site)
    return compareAndSwapAcquire(expected, desired)
  }
  @inlinable @inline(__always)
  public func compareAndSwapRelease(at site: Int32, _ expected: UInt, _ desired: UInt) -> UInt {
    mp_model_site(site)
    return compareAndSwapRelease(expected, desired)
  }
  @inlinable @inline(__always)
  public func compareAndSwapAcquireRelease(at site: Int32, _ expected: UInt, _ desired: UInt) -> UInt {
    mp_model_site(site)
    return compareAndSwapAcquireRelease(expected, desired)
  }
  @inlinable @inline(__always)
  public func exchangeAcquire(at site: Int32, _ value: UInt) -> UInt {
    mp_model_site(site)
    return exchangeAcquire(value)
  }
  @inlinable @inline(__always)
  public func exchangeRelease(at site: Int32, _ value: UInt) -> UInt {
    mp_model_site(site)
    return exchangeRelease(value)
  }
  @inlinable @inline(__always)
  public func exchangeAcquireRelease(at site: Int32, _ value: UInt) -> UInt {
    mp_model_site(site)
    return exchangeAcquireRelease(value)
  }
  @inlinable @inline(__always)
  public func fetchAndRelease(at site: Int32, _ mask: UInt) -> UInt {
    mp_model_site(site)
    return fetchAndRelease(mask)
  }
  @inlinable @inline(__always)
  public func fetchAndAcquireRelease(at site: Int32, _ mask: UInt) -> UInt {
    mp_model_site(site)
    return fetchAndAcquireRelease(mask)
  }
  @inlinable @inline(__always)
  public func fetchOrAcquire(at site: Int32, _ mask: UInt) -> UInt {
    mp_model_site(site)
    return fetchOrAcquire(mask)
  }
  @inlinable @inline(__always)
  public func fetchOrAcquireRelease(at site: Int32, _ mask: UInt) -> UInt {
    mp_model_site(site)
    return fetchOrAcquireRelease(mask)
  }
  @inlinable @inline(__always)
  public func fetchAddAcquireRelease(at site: Int32, _ value: UInt) -> UInt {
    mp_model_site(site)
    return fetchAddAcquireRelease(value)
  }
}

extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// For a mutant: takes one slab off the pending list; by `acquire`, having seen all that was pushed with it.
  func popOne(acquire: Bool) -> UInt {
    while true {
      let head = acquire ? pending.loadAcquire() : pending.loadRelaxed()
      if head == 0 { return 0 }
      let slab = UnsafeMutableRawPointer(bitPattern: head).unsafelyUnwrapped.assumingMemoryBound(to: Slab.self)
      let next = slab.pendingNext.loadRelaxed()
      if pending.compareAndSwapRelaxed(head, next) == head { return head }
    }
  }

  /// For a mutant: makes the free sets of all slabs with room free bits of their cells, for whoever comes.
  func publishFreeSets() {
    for sizeClass in 0..<SizeClass.count {
      let head = pointee.room[sizeClass]
      var next = head
      // Without room they are in no list.
      pointee.room[sizeClass] = nil
      pointee.classesWithRoom &= ~(1 << UInt(sizeClass))
      while let slab = next {
        next = slab.pointee.next == head ? nil : slab.pointee.next  // a ring
        slab.setPlace(.full)
        var item = UInt(slab.pointee.head)
        slab.pointee.head = 0
        while item != 0 {
          let following = UInt(slab.link(item))
          slab.setLink(item, SlabPointer.taken)
          slab.pointee.left &+= 1
          _ = slab.cell(item).fetchAndRelease(~(1 << (item & 63)))
          item = following
        }
      }
    }
  }

  /// And takes them back, with whatever else is free there.
  func takeFreeSetsBack() {
    pointee.registry.pointee.segments.first { segment in
      for page in 0..<segment.pageCount.loadRelaxed() {
        let entry = segment.entry(page)
        guard entry.isSlab, let record = entry.slab.loadPointerRelaxed() else { continue }
        let slab = record.assumingMemoryBound(to: Slab.self)
        guard slab.address == segment.address(ofPage: page), slab.pointee.heap == self else { continue }
        for index in 0..<slab.cellCount {
          var freed = ~slab.cell(index << 6).exchangeAcquire(Cell.busy)
          while freed != 0 {
            let item = index << 6 + UInt(freed.trailingZeroBitCount)
            freed &= freed &- 1
            slab.setLink(item, slab.pointee.head)
            slab.pointee.head = UInt16(truncatingIfNeeded: item)
            slab.pointee.left &-= 1
          }
        }
        settle(slab)
      }
      return false
    }
  }
}
