import Glibc
import MempoolCore

/// Live blocks in a table that never grows, for code that may allocate from the pool under test alone: under a limit on address space,
/// in a signal handler, in an exit handler.
///
/// Used by one thread at a time. What goes wrong is remembered, not told: telling allocates.
struct Holding {
  private let blocks: UnsafeMutablePointer<Block>
  private let capacity: Int
  private let owner: Int
  private var serial: UInt64 = 0
  private(set) var count = 0
  private(set) var byteCount = 0
  private(set) var refusals = 0
  private(set) var allocations = 0
  /// The first of what was wrong.
  private(set) var wrong: StaticString?

  init(capacity: Int, owner: Int) {
    // Straight from the system, and straight back: nobody keeps what is given back, whoever counts it.
    let pages = mmap(
      nil, capacity * MemoryLayout<Block>.stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    precondition(pages != MAP_FAILED, "no memory for a table")
    blocks = pages!.bindMemory(to: Block.self, capacity: capacity)
    self.capacity = capacity
    self.owner = owner
  }

  /// Gives the table back, not what is in it.
  func deallocateTable() { munmap(blocks, capacity * MemoryLayout<Block>.stride) }

  var isFull: Bool { count == capacity }

  /// Takes a block; false when there was none to be had.
  @discardableResult
  mutating func allocate(_ size: Int, from pool: MemoryPoolPointer) -> Bool {
    guard !isFull else { return false }
    guard let pointer = pool.allocate(UInt(size)) else {
      refusals += 1
      return false
    }
    allocations += 1
    hold(pointer, size)
    return true
  }

  /// Gives one back, that chance chooses.
  mutating func freeAny(to pool: MemoryPoolPointer, _ random: inout SplitMix64) {
    guard count > 0 else { return }
    pool.deallocate(take(at: random.below(count)).pointer)
  }

  /// Resizes one that chance chooses. Refused, it must be what it was.
  mutating func resizeAny(_ size: Int, in pool: MemoryPoolPointer, _ random: inout SplitMix64) {
    guard count > 0 else { return }
    let block = take(at: random.below(count))
    guard let pointer = pool.reallocate(block.pointer, UInt(size)) else {
      refusals += 1
      if block.firstMismatch() != nil { note("a block was changed by a resize that was refused") }
      return hold(block.pointer, block.size)
    }
    if block.firstMismatch(prefix: size, moved: pointer) != nil { note("a block lost content when it was resized") }
    hold(pointer, size)
  }

  mutating func freeAll(to pool: MemoryPoolPointer) {
    while count > 0 { pool.deallocate(take(at: count - 1).pointer) }
  }

  /// What the other one has is this one's; as much as there is room for.
  mutating func takeOver(_ other: inout Holding) {
    while other.count > 0 && !isFull {
      let block = other.take(at: other.count - 1)
      hold(block.pointer, block.size)
    }
  }

  mutating func note(_ what: StaticString) { if wrong == nil { wrong = what } }

  private mutating func hold(_ pointer: UnsafeMutableRawPointer, _ size: Int) {
    serial += 1
    let block = Block(
      address: UInt(bitPattern: pointer), size: size, tag: Tag(owner: owner, serial: serial, size: size))
    block.fill()
    blocks[count] = block
    count += 1
    byteCount += size
  }

  private mutating func take(at index: Int) -> Block {
    let block = blocks[index]
    if block.firstMismatch() != nil { note("a block was overwritten") }
    count -= 1
    byteCount -= block.size
    blocks[index] = blocks[count]
    return block
  }
}
