public import MempoolCore
internal import Synchronization

/// An object pool of the engine's, and what keeps its memory pool for as long as its objects need it.
@safe @usableFromInline
final class ObjectPoolOwner: Sendable {
  // Sendable: the record is made for any thread; the pointer never changes.
  @usableFromInline nonisolated(unsafe) let core: ObjectPoolPointer
  private let id: UInt
  private let pool: MemoryPool
  private let name: String

  init(
    _ itemSize: Int, _ alignment: Int, _ count: Int, _ pool: MemoryPool, _ name: String, _ fallback: ObjectPoolFallback
  ) throws(PoolError) {
    Self.dropPools()
    guard itemSize > 0, count > 0, MemoryPool.isAlignment(alignment) else { throw .invalidArgument }
    var options = MempoolCore.ObjectPool.Options()
    options.fallback = fallback == .system ? .system : .segment
    let result: Result<ObjectPoolPointer, MempoolCore.PoolError> = unsafe name.withCString { name in
      do throws(MempoolCore.PoolError) {
        return unsafe .success(
          try pool.core.makeObjectPool(
            itemSize: UInt(itemSize), count: UInt(count), alignment: UInt(alignment), name: name, options))
      } catch {
        return unsafe .failure(error)
      }
    }
    switch unsafe result {
    case .success(let made): unsafe core = unsafe made
    case .failure(let error): throw PoolError(error)
    }
    unsafe id = core.id
    self.pool = pool
    self.name = name
  }

  deinit {
    unsafe core.orphan()
    if pool != .shared, ObjectPools.isThere(id) { Self.kept.withLock { $0.append((id, pool)) } }
    Self.dropPools()
  }

  // Memory pools of object pools that have objects out, and nothing else.
  private static let kept = Mutex<[(id: UInt, pool: MemoryPool)]>([])

  // Lets those go whose last object has been released.
  private static func dropPools() {
    // They end outside of the lock.
    var dropped: [MemoryPool] = []
    kept.withLock { kept in
      kept.removeAll { entry in
        if ObjectPools.isThere(entry.id) { return false }
        dropped.append(entry.pool)
        return true
      }
    }
  }

  func statistics() -> ObjectPoolStatistics { unsafe ObjectPoolStatistics(name, core.statistics()) }
}
