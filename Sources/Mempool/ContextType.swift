public import MempoolCore

/// What a tree knows of a type: its name, and how a value of it ends. One in a process for each type that was put into a tree, never freed.
@usableFromInline
@unsafe
struct ContextType {
  @usableFromInline let key: UInt
  @usableFromInline let name: UnsafePointer<CChar>
  @usableFromInline let alignment: Int
  @usableFromInline let destroy: (UnsafeMutableRawPointer) -> Void
  let next: UnsafeMutablePointer<ContextType>?

  @usableFromInline
  func start(in payload: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    unsafe (payload + ContextPointer.prefix).alignedUp(toMultipleOf: alignment)
  }

  @usableFromInline static let destructor: ContextPointer.Destructor = { payload in
    if let payload = unsafe payload {
      let type = unsafe payload.load(as: UnsafePointer<ContextType>.self)
      unsafe type.pointee.destroy(type.pointee.start(in: payload))
    }
    return 0
  }

  private static let bucketCount = 256
  // Of each, the newest record. Words that threads share, changed by atomic operations only.
  private nonisolated(unsafe) static let buckets: UnsafeMutablePointer<UInt> = {
    let words = UnsafeMutablePointer<UInt>.allocate(capacity: bucketCount)
    unsafe words.initialize(repeating: 0, count: bucketCount)
    return unsafe words
  }()

  /// The record of a type, made if there is none yet.
  @inlinable
  static func record<Element: ~Copyable>(of type: Element.Type) -> UnsafeMutablePointer<ContextType> {
    // Only to name the type: no value is copied by it.
    unsafe record(of: unsafeBitCast(type, to: Any.Type.self), MemoryLayout<Element>.alignment) {
      unsafe $0.assumingMemoryBound(to: Element.self).deinitialize(count: 1)
    }
  }

  @usableFromInline
  static func record(
    of type: Any.Type, _ alignment: Int, _ destroy: @escaping (UnsafeMutableRawPointer) -> Void
  ) -> UnsafeMutablePointer<ContextType> {
    let key = UInt(bitPattern: ObjectIdentifier(type))
    let bucket = unsafe AtomicPointer(buckets + Int((key >> 4 ^ key >> 12) % UInt(bucketCount)))
    return unsafe find(key, bucket) ?? make(type, key, bucket, alignment, destroy)
  }

  private static func find(_ key: UInt, _ bucket: AtomicPointer) -> UnsafeMutablePointer<ContextType>? {
    // acquire: pairs with the swap in make(_:_:_:_:_:)
    var next = unsafe bucket.loadPointerAcquire()?.assumingMemoryBound(to: ContextType.self)
    while let here = unsafe next {
      if unsafe here.pointee.key == key { return unsafe here }
      unsafe next = unsafe here.pointee.next
    }
    return nil
  }

  // Two threads may make one each: which of them a value has does not matter.
  private static func make(
    _ type: Any.Type, _ key: UInt, _ bucket: AtomicPointer, _ alignment: Int,
    _ destroy: @escaping (UnsafeMutableRawPointer) -> Void
  ) -> UnsafeMutablePointer<ContextType> {
    let text = Array(String(describing: type).utf8CString)
    let name = UnsafeMutablePointer<CChar>.allocate(capacity: text.count)
    unsafe name.initialize(from: text, count: text.count)
    let record = UnsafeMutablePointer<ContextType>.allocate(capacity: 1)
    while true {
      let head = bucket.loadRelaxed()
      unsafe record.initialize(
        to: ContextType(
          key: key, name: name, alignment: alignment, destroy: destroy,
          next: UnsafeMutablePointer(bitPattern: head)))
      // release: pairs with the acquire in find(_:_:)
      if bucket.compareAndSwapRelease(head, UInt(bitPattern: record)) == head { return unsafe record }
      unsafe record.deinitialize(count: 1)
    }
  }
}
