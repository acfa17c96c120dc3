/// What few blocks have: references, a limit, or a destructor beside one of these. Of a pool it is the beginning of its record.
struct ContextExtras {
  var destructor: UInt = 0
  // The newest reference to the block.
  var reference: ContextPointer?
  // 0: none. == the most that may be charged to the block and all below it
  var limit: UInt = 0
  // == sum of the charges of the block and all below it, while it has a limit
  var charged: UInt = 0
}

typealias ContextExtrasPointer = UnsafeMutablePointer<ContextExtras>

extension UnsafeMutablePointer where Pointee == ContextBlock {
  var extras: ContextExtrasPointer? {
    isMarked(ContextBlock.Mark.hasExtras) ? ContextExtrasPointer(bitPattern: pointee.tail) : nil
  }

  /// The record, made if there is none; nil when there is no memory for it.
  func makeExtras() -> ContextExtrasPointer? {
    if let extras { return extras }
    let byteCount = UInt(MemoryLayout<ContextExtras>.stride)
    guard let memory = MemoryPoolPointer.shared.allocate(byteCount, call: "context") else { return nil }
    let extras = memory.bindMemory(to: ContextExtras.self, capacity: 1)
    extras.initialize(to: ContextExtras(destructor: pointee.tail))
    pointee.tail = UInt(bitPattern: extras)
    set(ContextBlock.Mark.hasExtras)
    home?.pointee.isPlain = false
    return extras
  }

  func dropExtras() {
    forgetReferences()
    if !isPool, let extras { MemoryPoolPointer.shared.deallocate(UnsafeMutableRawPointer(extras), call: "context") }
  }

  /// Called with the payload before a block is freed: -1 keeps it.
  public typealias Destructor = @convention(c) (UnsafeMutableRawPointer?) -> Int32

  /// The destructor's address; 0: none.
  var destructor: UInt {
    get { extras?.pointee.destructor ?? pointee.tail }
    nonmutating set {
      if let extras { extras.pointee.destructor = newValue } else { pointee.tail = newValue }
    }
  }

  /// Nil takes it away. While the destructor runs, too: then the new one is called when the block is freed again.
  public func setDestructor(_ function: Destructor?) {
    clear(ContextBlock.Mark.destructing)
    destructor = function.map { unsafeBitCast($0, to: UInt.self) } ?? 0
    if function != nil { home?.pointee.isPlain = false }
  }
}
