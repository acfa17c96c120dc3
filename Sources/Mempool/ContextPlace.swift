public import MempoolCore

/// Where a value lies, and who is at it: in front of it the record of its type, and a word.
@usableFromInline
@unsafe
struct ContextPlace<Element: ~Copyable> {
  @usableFromInline let block: ContextPointer
  @usableFromInline let pointer: UnsafeMutablePointer<Element>

  @inlinable
  init(_ block: ContextPointer, _ pointer: UnsafeMutablePointer<Element>) {
    unsafe self.block = unsafe block
    unsafe self.pointer = unsafe pointer
  }

  // -1: being changed; otherwise how many read it.
  @inlinable
  var access: UnsafeMutablePointer<Int> {
    unsafe (block.payload + MemoryLayout<UInt>.size).assumingMemoryBound(to: Int.self)
  }

  @inlinable
  func beginReading() {
    if unsafe access.pointee < 0 { unsafe conflict() }
    unsafe access.pointee += 1
  }

  @inlinable
  func endReading() { unsafe access.pointee -= 1 }

  @inlinable
  func beginChanging() {
    if unsafe access.pointee != 0 { unsafe conflict() }
    unsafe access.pointee = -1
  }

  @inlinable
  func endChanging() { unsafe access.pointee = 0 }

  @usableFromInline
  func conflict() -> Never {
    unsafe misuse("PoolContext.Value.value", UInt(bitPattern: pointer), "read or changed while it is being changed")
  }
}

extension UnsafeMutablePointer where Pointee == ContextBlock {
  // The record of the type, the word of who is at it; then the value, at its alignment.
  @inlinable static var prefix: Int { 2 * MemoryLayout<UInt>.size }

  /// Puts a value below this block, to be deinitialised with it.
  @inlinable
  func put<Element: ~Copyable>(_ value: consuming Element) throws(PoolError) -> ContextPlace<Element> {
    let place = unsafe try putPlain(value)
    unsafe place.block.setDestructor(ContextType.destructor)
    return unsafe place
  }

  /// Puts a value with which nothing is to be done when it goes.
  @inlinable
  func putPlain<Element: ~Copyable>(_ value: consuming Element) throws(PoolError) -> ContextPlace<Element> {
    let type = unsafe ContextType.record(of: Element.self)
    let size = unsafe Self.prefix + MemoryLayout<Element>.size + max(MemoryLayout<Element>.alignment - 16, 0)
    guard let block = unsafe Self.allocate(UInt(size), under: self, name: type.pointee.name, isStrict: false) else {
      throw .outOfMemory
    }
    let words = unsafe block.payload.bindMemory(to: UInt.self, capacity: 2)
    unsafe words[0] = UInt(bitPattern: type)
    unsafe words[1] = 0
    let pointer = unsafe type.pointee.start(in: block.payload).bindMemory(to: Element.self, capacity: 1)
    unsafe pointer.initialize(to: value)
    return unsafe ContextPlace(block, pointer)
  }

  /// Memory for `count` elements below this block.
  @inlinable
  func space<Element: BitwiseCopyable>(
    for element: Element.Type, _ count: Int
  ) throws(PoolError) -> UnsafeMutablePointer<Element> {
    guard count >= 0, MemoryLayout<Element>.alignment <= 16 else { throw .invalidArgument }
    let (size, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard !overflow, UInt(size) < ContextBlock.largest else { throw .invalidArgument }
    let type = unsafe ContextType.record(of: element)
    guard let block = unsafe Self.allocate(UInt(size), under: self, name: type.pointee.name, isStrict: false) else {
      throw .outOfMemory
    }
    return unsafe block.payload.bindMemory(to: Element.self, capacity: count)
  }

  /// Makes a context, with a pool or without.
  static func make(_ name: StaticString?, _ pool: ByteCount?, under parent: Self?) throws(PoolError) -> Self {
    let name = unsafe name.flatMap { text -> UnsafePointer<CChar>? in
      guard text.hasPointerRepresentation else { return nil }
      return unsafe UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }
    let made: Self?
    if let pool {
      guard pool.byteCount >= 0, UInt(pool.byteCount) <= ContextBlock.largestPool else { throw .invalidArgument }
      unsafe made = unsafe allocatePool(0, capacity: UInt(pool.byteCount), under: parent, name: name, isStrict: false)
    } else {
      unsafe made = unsafe allocate(0, under: parent, name: name, isStrict: false)
    }
    guard let made = unsafe made else { throw .outOfMemory }
    return unsafe made
  }

  /// Gives it a name of its own, in a block below it, as a formatted name has.
  func copyName(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard let block = unsafe Self.allocate(UInt(bytes.count + 1), under: self, isStrict: false) else { return false }
    let start = unsafe block.payload.bindMemory(to: UInt8.self, capacity: bytes.count + 1)
    for index in bytes.indices { unsafe start[index] = bytes[index] }
    unsafe start[bytes.count] = 0
    unsafe name = unsafe UnsafeRawPointer(start).assumingMemoryBound(to: CChar.self)
    return true
  }
}
