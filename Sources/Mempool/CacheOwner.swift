public import MempoolCore
internal import Synchronization

/// What keeps a typed cache until it and all of its items are gone.
///
/// One for each ``SlabCache``, from the system's allocator. An item points to it and does not count: it looks at `isOrphaned`,
/// which is written once, when nobody refers to the cache any more. From then on whoever gives an item back tries to destroy
/// the cache, under one lock for all orphans; it was last whose try succeeds.
@safe @usableFromInline
struct CacheOwner {
  // Written once, from 0 to 1; word 0.
  @usableFromInline var isOrphaned: UInt = 0
  @usableFromInline let core: SlabCachePointer
  let pool: MemoryPool
}

extension UnsafeMutablePointer where Pointee == CacheOwner {
  /// Gives an item's place back. Nothing here may be touched after that, if the cache was not orphaned before.
  @inlinable @inline(__always)
  func put(_ pointer: UnsafeMutableRawPointer) {
    // Before: while the item is out, the owner is there.
    let isOrphaned = unsafe AtomicPointer(self, word: 0).loadRelaxed() != 0
    unsafe pointee.core.put(pointer)
    if isOrphaned { CacheOwner.destroyOrphans() }
  }

  /// Destroys the cache, now or when its last item is given back. Once, by the cache's end.
  func orphan() {
    unsafe AtomicPointer(self, word: 0).storeRelaxed(1)
    let address = UInt(bitPattern: self)
    CacheOwner.orphans.withLock { $0.append(address) }
    CacheOwner.destroyOrphans()
  }
}

extension CacheOwner {
  // The addresses of all orphans. An item that was just being given back when its cache became one may have been the last and
  // not have seen that; the next cache that ends or begins finds it.
  fileprivate static let orphans = Mutex<[UInt]>([])

  /// Tries to destroy every orphan.
  @usableFromInline
  static func destroyOrphans() {
    // Pools end outside of the lock: their last reference may be among these.
    var pools: [MemoryPool] = []
    orphans.withLock { orphans in
      orphans.removeAll { address in
        let owner = unsafe UnsafeMutablePointer<CacheOwner>(bitPattern: address).unsafelyUnwrapped
        guard unsafe owner.pointee.core.destroyIfUnused() else { return false }
        unsafe pools.append(owner.pointee.pool)
        unsafe owner.deinitialize(count: 1)
        unsafe owner.deallocate()
        return true
      }
    }
  }

  static func make(
    _ pool: MemoryPool, _ itemSize: Int, _ alignment: Int, _ name: String
  ) throws(PoolError) -> UnsafeMutablePointer<CacheOwner> {
    destroyOrphans()
    let core = try unsafe pool.makeCache(itemSize, alignment, name)
    let owner = UnsafeMutablePointer<CacheOwner>.allocate(capacity: 1)
    unsafe owner.initialize(to: CacheOwner(core: core, pool: pool))
    return unsafe owner
  }
}

extension MemoryPool {
  /// The engine's cache, sizes checked and errors said in the face's words.
  func makeCache(_ itemSize: Int, _ alignment: Int, _ name: String) throws(PoolError) -> SlabCachePointer {
    guard itemSize > 0, Self.isAlignment(alignment) else { throw .invalidArgument }
    let result: Result<SlabCachePointer, MempoolCore.PoolError> = unsafe name.withCString { name in
      do throws(MempoolCore.PoolError) {
        return unsafe .success(
          try core.makeCache(itemSize: UInt(itemSize), alignment: UInt(alignment), name: name))
      } catch {
        return unsafe .failure(error)
      }
    }
    switch unsafe result {
    case .success(let cache): return unsafe cache
    case .failure(let error): throw PoolError(error)
    }
  }
}
