import CMempoolShims

/// Giving up: what its owner keeps, then the heap itself.
extension UnsafeMutablePointer where Pointee == ThreadHeap {
  /// Puts current slabs back in their lists; before the owner gives the heap up.
  func unseat() {
    releaseQuarantine(CallName("free"))
    releaseRuns()
    pointee.short = 0
    _ = dense.defragment(to: densePages)
    for sizeClass in 0..<SizeClass.count {
      let slab = current(sizeClass)
      pointee.made[sizeClass] = 0
      pointee.relieved[sizeClass] = 0
      if slab != Self.emptySlab { leaveSeats(slab) }
    }
    releaseSpares()
  }

  /// Gives back what the owner keeps for itself and nobody uses, before the pool counts as exhausted: what others have freed,
  /// kept runs, empty current slabs, empty dense pages; and what others keep of slabs. Whether there was any. By the owner.
  func reclaim() -> Bool {
    let slabsBefore = slabs.loadRelaxed(), hadSpares = spareBytes.loadRelaxed() > 0
    let hadRuns = cachedRunBytes.loadRelaxed() > 0
    let hadWaiting = pointee.registry.releaseQuarantines(CallName("free")) > 0
    let wasTold = drain() || drainReturned()
    let wasDense = dense.reclaim(to: densePages)
    unseat()
    var others: UInt = 0
    let registry = pointee.registry
    for index in 1..<max(registry.count, 1) { others += registry.heap(index)?.releaseSpares() ?? 0 }
    return wasTold || hadWaiting || hadRuns || hadSpares || others > 0 || wasDense
      || slabs.loadRelaxed() != slabsBefore
  }

  /// Gives the heap up, its free sets as they are, for whoever adopts it. By the owner, after ``unseat()``. After a visit to an
  /// abandoned heap only what is new must be told of.
  func abandon(afterVisit isVisit: Bool = false) {
    let registry = pointee.registry
    repeat {
      drain()
      _ = dense.defragment(to: densePages)
      releaseSpares()
      pointee.nextOwned = nil
      pointee.isAdoptedBeside = false
      pointee.ownedCount = 0
      var classes = isVisit ? pointee.classesWithRoom & pointee.newsOfRoom : pointee.classesWithRoom
      pointee.newsOfRoom = 0
      while classes != 0 {
        registry.hint(classes.trailingZeroBitCount, pointee.index)
        classes &= classes - 1
      }
      owner.storeRelaxed(0)
      registry.giveUp(pointee.index)
      fenceFull()  // pairs with the fences in enqueue(_:) and deallocateDense(_:)
    } while (pending.loadRelaxed() | dense.pending.loadRelaxed()) != 0 && registry.tryAdopt(pointee.index)
  }

  /// Gives up this heap and all that its owner adopted beside it.
  func abandonAll() {
    unseat()
    noteBeside(0)
    var heap = pointee.nextOwned
    while let adopted = heap {
      heap = adopted.pointee.nextOwned
      adopted.abandon()
    }
    abandon()
  }
}
