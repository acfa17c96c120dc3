import Glibc
import MempoolCore
import Synchronization

/// One of the threads of a scenario: its numbers, its shadow table, and the checked ways to allocate and free.
///
/// Used by one thread at a time: by its own during a round, by the driver between rounds. Only `operations` is read by others.
final class Worker: @unchecked Sendable {
  let index: Int
  let run: Run
  var random: SplitMix64
  var shadow = ShadowTable()
  var counters = Counters()
  private var serial: UInt64 = 0

  /// The pool of this round, and whether it may run dry.
  var pool: MemoryPoolPointer = .shared
  var poolMayExhaust = false

  /// Steps so far; this thread alone writes it.
  let operations = Atomic<UInt64>(0)

  init(index: Int, run: Run) {
    self.index = index
    self.run = run
    random = SplitMix64(seed: mix(run.setting.seed &+ UInt64(index) &* 0x9e37_79b9_7f4a_7c15))
  }

  /// Counts a step; false when the round is over.
  @inline(__always)
  func step() -> Bool {
    operations.store(operations.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    return !run.isRoundOver
  }

  /// Counts steps that somebody else has done for it.
  func count(_ steps: UInt64) {
    operations.store(operations.load(ordering: .relaxed) &+ steps, ordering: .relaxed)
  }

  /// Whether it holds as much as it may.
  var isFull: Bool { shadow.byteCount >= run.setting.byteBudget / run.setting.threads }

  // MARK: Blocks

  func nextTag(size: Int) -> Tag {
    serial += 1
    return Tag(owner: index, serial: serial, size: size)
  }

  /// Allocates in one of the ways there are, checks what came, and fills it. Nil when a pool that may is exhausted, or after a
  /// failure.
  func allocate(_ size: Int) -> Block? {
    let pointer: UnsafeMutableRawPointer?
    var alignment = size >= 16 ? 16 : size >= 8 ? 8 : 1
    switch random.below(32) {
    case 0..<4:
      let count = size > 0 && size % 4 == 0 ? 4 : 1
      pointer = pool.allocateZeroed(count: UInt(count), byteCount: UInt(size / count))
      counters[.zeroed] += 1
      if let pointer, let offset = firstNonZero(pointer, size) {
        run.fail("allocateZeroed of \(size) bytes at \(pointer): byte \(offset) is not zero", in: self)
        return nil
      }
    case 4:
      alignment = 1 << random.within(4...12)
      pointer = pool.allocateAligned(UInt(size), alignment: UInt(alignment))
      counters[.aligned] += 1
    default:
      pointer = pool.allocate(UInt(size))
      counters[.allocations] += 1
    }
    guard let pointer else {
      counters[.exhausted] += 1
      if !poolMayExhaust { run.fail("no memory for \(size) bytes; \(shadow.byteCount) bytes held here", in: self) }
      return nil
    }
    if UInt(bitPattern: pointer) % UInt(alignment) != 0 {
      run.fail("\(size) bytes at \(pointer) are not aligned to \(alignment)", in: self)
      return nil
    }
    return fill(pointer, usable(pointer, size))
  }

  /// What to write of a block: `size` bytes as a rule, now and then all that the allocator says may be used.
  private func usable(_ pointer: UnsafeMutableRawPointer, _ size: Int) -> Int {
    guard size > 0, size < 16384, random.oneIn(16) else { return size }
    let usable = Int(pool.usableSize(of: pointer))
    if usable < size {
      run.fail("usable size of \(pointer) is \(usable), \(size) were asked for", in: self)
      return size
    }
    return min(usable, 0x7fff)
  }

  /// Makes `size` bytes at `pointer` this thread's, pattern and tag.
  func fill(_ pointer: UnsafeMutableRawPointer, _ size: Int) -> Block {
    let block = Block(address: UInt(bitPattern: pointer), size: size, tag: nextTag(size: size))
    block.fill()
    return block
  }

  /// Checks a block and gives it back.
  func free(_ block: Block) {
    guard check(block, "free") else { return }
    counters[block.tag.owner == index ? .frees : .remoteFrees] += 1
    pool.deallocate(block.pointer)
  }

  /// Whether a block holds its pattern; a failure when not.
  @discardableResult
  func check(_ block: Block, _ call: String) -> Bool {
    guard let offset = block.firstMismatch() else { return true }
    run.fail("\(call): " + describe(block, mismatch: offset), in: self)
    return false
  }

  /// Resizes a block; the old pattern must have survived. Nil after a failure; the old block when the pool is exhausted.
  func reallocate(_ block: Block, _ size: Int) -> Block? {
    guard check(block, "reallocate") else { return nil }
    counters[.reallocations] += 1
    guard let pointer = pool.reallocate(block.pointer, UInt(size)) else {
      counters[.exhausted] += 1
      if poolMayExhaust { return block }
      run.fail("no memory to resize \(block.pointer) from \(block.size) to \(size) bytes", in: self)
      return nil
    }
    if pointer != block.pointer { counters[.moves] += 1 }
    if let offset = block.firstMismatch(prefix: size, moved: pointer) {
      run.fail("reallocate to \(size) bytes at \(pointer): " + describe(block, mismatch: offset), in: self)
      return nil
    }
    return fill(pointer, usable(pointer, size))
  }

  /// Sends a block on, as this thread's; keeps it when there is no room.
  func handOff(_ block: Block, _ send: (Block) -> Bool) {
    let block = block.tag.owner == index ? block : fill(block.pointer, block.size)
    if send(block) {
      counters[.handoffs] += 1
    } else {
      counters[.refused] += 1
      shadow.add(block)
    }
  }

  /// Lets others have the processor when there is nothing to do here.
  func idle() { sched_yield() }

  func freeAll() {
    while !run.hasFailed, let block = shadow.takeLast() { free(block) }
  }

  private func describe(_ block: Block, mismatch offset: Int) -> String {
    "block of \(block.size) bytes at \(block.pointer), number \(block.tag.serial) of thread \(block.tag.owner):"
      + " overwritten at offset \(offset)"
  }

  private func firstNonZero(_ pointer: UnsafeMutableRawPointer, _ size: Int) -> Int? {
    let step = size <= 32768 ? 1 : 64
    var i = 0
    while i + 8 <= size {
      if pointer.load(fromByteOffset: i, as: UInt64.self) != 0 { return i }
      i += 8 * step
    }
    return (size & ~7..<size).first { pointer.load(fromByteOffset: $0, as: UInt8.self) != 0 }
  }
}
