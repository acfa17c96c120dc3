/// What came from a buffer pool's fallback: found by its address without touching memory that is not known to be such an object.
///
/// Nodes are the objects; the links lie in front of each, with its size. At most 62 levels deep.
struct FallbackTree: DigitalTree {
  let pool: BufferPoolPointer

  /// What lies in front of an object.
  struct Header {
    var children = DigitalTreeChildren()
    /// The bytes that the object may use.
    var byteCount: UInt = 0
    /// From what the fallback returned to the object.
    var offset: UInt = 0
  }

  static var headerBytes: UInt { UInt(MemoryLayout<Header>.size) }

  // key == address / 8
  static var keyWidth: UInt { 61 }

  var root: UInt {
    get { pool.pointee.fallbackRoot }
    nonmutating set { pool.pointee.fallbackRoot = newValue }
  }

  func header(_ node: UInt) -> UnsafeMutablePointer<Header> {
    UnsafeMutablePointer(bitPattern: node - Self.headerBytes).unsafelyUnwrapped
  }

  func key(of node: UInt) -> UInt { node >> 3 }
  func children(of node: UInt) -> DigitalTreeChildren { header(node).pointee.children }
  func setChildren(of node: UInt, to children: DigitalTreeChildren) { header(node).pointee.children = children }
  func damaged(at node: UInt) -> Never {
    misuse("buffer pool", node, "header of an object of the fallback overwritten")
  }
}
