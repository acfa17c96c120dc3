import CMempool
import CMempoolHeaders
import Glibc
import MempoolMalloc

/// Sequences of all names of the drop-in malloc that take an argument, and of those of mempool.h that share its pool, with any size,
/// alignment and NULL. What they promise beyond ISO C is in Sources/MempoolMalloc/README.md.
struct MallocDriver {
  // errno of before a call, to see whether it was set.
  private static let unset: Int32 = 77
  private static nonisolated(unsafe) let stream = fopen("/dev/null", "w")!

  // glibc's M_MXFAST; M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX; M_ARENA_TEST, M_ARENA_MAX.
  private static let advice: Set<Int32> = [1, -1, -2, -3, -4, -7, -8]

  private var input: Input
  // A block's kind is the alignment that it was asked for with, 0 for none; its count the bytes.
  private var blocks = Blocks()

  static func run(_ input: Input) throws {
    var driver = MallocDriver(input: input)
    while !driver.input.isEmpty, driver.blocks.count < 300 { try driver.one() }
    while !driver.blocks.isEmpty { try driver.free(driver.blocks.count - 1) }
  }

  private init(input: Input) { self.input = input }

  private mutating func one() throws {
    errno = Self.unset
    switch input.below(16) {
    case 0, 1, 2: try allocate()
    case 3: try allocateZeroed()
    case 4, 5: try allocateAligned()
    case 6, 7, 8: try resize()
    case 9: try resizeThroughPointer()
    case 10: try measure()
    case 11: try tune()
    default:
      if blocks.isEmpty { return try freeNothing() }
      try free(input.below(blocks.count))
    }
  }

  // As much as a program asks for, or what nobody has.
  private mutating func size() -> UInt {
    input.below(16) == 0 ? 1 << UInt(47 + input.below(17)) &+ UInt(input.byte()) &- 128 : input.size()
  }

  // MARK: Allocation

  private mutating func allocate() throws {
    let kind = input.below(8), size = size()
    let block =
      switch kind {
      case 0: mp_try_malloc(Int(bitPattern: size))
      case 1 where size <= 1 << 20: mp_malloc(Int(bitPattern: size))
      default: mempool_malloc(Int(bitPattern: size))
      }
    try keep(block, size)
  }

  private mutating func allocateZeroed() throws {
    let count = size(), size = size()
    let (total, overflow) = count.multipliedReportingOverflow(by: size)
    // What can be had and takes too long to look at.
    if !overflow, total > 2 << 20, total < 1 << 47 { return }
    let block =
      input.below(8) == 0 && total <= 1 << 20 && !overflow
      ? mp_calloc(Int(bitPattern: count), Int(bitPattern: size)) : mempoolCalloc(count, size)
    if let block {
      try demand(!overflow, "calloc of more than there can be")
      let bytes = UnsafeRawBufferPointer(start: block, count: Int(total))
      try demand(bytes.allSatisfy { $0 == 0 }, "calloc is not zero")
    }
    try keep(block, overflow ? UInt.max : total)
  }

  private mutating func allocateAligned() throws {
    let kind = input.below(8)
    let alignment = input.below(4) == 0 ? size() : 1 << UInt(input.below(18)), size = size()
    let page = UInt(getpagesize()), isPower = alignment.nonzeroBitCount == 1
    switch kind {
    case 0, 1, 2:
      let block =
        switch kind {
        case 0: mempoolMemalign(alignment, size)
        case 1 where isPower && size <= 1 << 20 && alignment <= 1 << 20:
          mp_memalign(Int(bitPattern: alignment), Int(bitPattern: size))
        default: mempoolAlignedAlloc(alignment, size)
        }
      if !isPower { return try demand(block == nil && errno == EINVAL, "an alignment of \(alignment)") }
      try keep(block, size, alignment: alignment)
    case 3, 4, 5:
      let nothing = UnsafeMutableRawPointer(bitPattern: 0x5a)
      var block = nothing
      let result = mempoolPosixMemalign(&block, alignment, size)
      try demand(errno == Self.unset, "posix_memalign set errno")
      let isPossible = isPower && alignment >= UInt(MemoryLayout<UInt>.size)
      try demand((result == EINVAL) == !isPossible, "posix_memalign, an alignment of \(alignment): \(result)")
      if result != 0 {
        try demand(block == nothing, "posix_memalign failed and wrote")
        errno = result
        return isPossible ? try keep(nil, size, alignment: alignment) : ()
      }
      try keep(block, size, alignment: alignment)
    case 6: try keep(mempoolValloc(size), size, alignment: page)
    default:
      let (sum, overflow) = max(size, 1).addingReportingOverflow(page - 1)
      try keep(mempoolPvalloc(size), overflow ? UInt.max : sum & ~(page - 1), alignment: page)
    }
  }

  private mutating func keep(_ block: UnsafeMutableRawPointer?, _ size: UInt, alignment: UInt = 0) throws {
    guard let block else {
      try demand(errno == ENOMEM, "\(size) bytes refused, errno \(errno)")
      return try demand(size > 1 << 30 || alignment > 1 << 30, "\(size) bytes refused, aligned to \(alignment)")
    }
    try demand(size <= UInt(Int.max), "\(size) bytes")
    let usable = mempoolUsableSize(block)
    try demand(usable >= size && mempoolSize(block) == usable, "\(usable) usable bytes of \(size)")
    let least: UInt = size >= 16 ? 16 : size >= 8 ? 8 : 4
    // Writing to all of a large block costs more than it finds.
    let written = usable <= 1 << 14 || input.below(16) == 0 ? usable : 1 << 14
    try blocks.add(
      block, Int(written), of: Int(usable), alignment: max(alignment, least), kind: Int(alignment), count: size)
  }

  // MARK: Another size

  private mutating func resize() throws {
    let kind = input.below(6), count = kind == 2 ? size() : 1, size = size()
    let (total, overflow) = count.multipliedReportingOverflow(by: size)
    if !overflow, total > 2 << 20, total < 1 << 47 { return }
    let index = input.below(8) == 0 || blocks.isEmpty ? nil : input.below(blocks.count)
    let old = index.map { blocks.live[$0] }
    let block =
      switch kind {
      case 0: mempoolReallocf(old?.start, size)
      case 1 where size > 0 && size <= 1 << 20: mp_realloc(old?.start, Int(bitPattern: size))
      case 2: mempoolReallocarray(old?.start, count, size)
      default: mempoolRealloc(old?.start, size)
      }
    guard let old, let index else { return try keep(block, overflow ? UInt.max : total) }
    if block == nil, total == 0, !overflow {
      blocks.forget(index)
      return try demand(errno == Self.unset, "realloc that frees set errno")
    }
    guard let block else {
      try demand(errno == ENOMEM && (overflow || total > 1 << 30), "realloc to \(total) bytes refused, errno \(errno)")
      if kind == 0 { return blocks.forget(index) }
      return try demand(blocks.isIntact(old, at: old.start, old.written), "a refusal changed something")
    }
    try replace(index, by: block, overflow ? UInt.max : total)
  }

  // NetBSD's: the address of the pointer, which need not be aligned.
  private mutating func resizeThroughPointer() throws {
    let count = input.below(4) == 0 ? size() : 1, size = size(), offset = input.below(8)
    let (total, overflow) = count.multipliedReportingOverflow(by: size)
    if !overflow, total > 2 << 20, total < 1 << 47 { return }
    let index = input.below(8) == 0 || blocks.isEmpty ? nil : input.below(blocks.count)
    let old = index.map { blocks.live[$0] }
    let (result, place) = withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { bytes in
      let place = bytes.baseAddress! + offset
      place.storeBytes(of: UInt(bitPattern: old?.start), as: UInt.self)
      return (mempoolReallocarr(place, count, size), place.loadUnaligned(as: UInt.self))
    }
    try demand(errno == Self.unset, "reallocarr set errno")
    try demand((result == EOVERFLOW) == overflow, "reallocarr of \(count) * \(size): \(result)")
    if result != 0 {
      try demand(place == UInt(bitPattern: old?.start), "reallocarr failed and wrote")
      try demand(overflow || result == ENOMEM && total > 1 << 30, "reallocarr to \(total) bytes: \(result)")
      if let old { try demand(blocks.isIntact(old, at: old.start, old.written), "a refusal changed something") }
      return
    }
    let block = UnsafeMutableRawPointer(bitPattern: place)
    try demand((block == nil) == (total == 0), "reallocarr to \(total) bytes left \(place)")
    if let index {
      guard let block else { return blocks.forget(index) }
      try replace(index, by: block, total)
    } else if block != nil {
      try keep(block, total)
    }
  }

  private mutating func replace(_ index: Int, by block: UnsafeMutableRawPointer, _ size: UInt) throws {
    let old = blocks.live[index]
    try demand(blocks.isIntact(old, at: block, Int(min(size, UInt(old.written)))), "resizing to \(size) lost content")
    blocks.forget(index)
    try keep(block, size)
  }

  // MARK: The rest

  private mutating func free(_ index: Int) throws {
    let kind = input.below(6), block = try blocks.remove(index)
    errno = Self.unset
    switch kind {
    case 0: mempoolCfree(block.start)
    case 1: mempoolVfree(block.start)
    case 2: mp_free(block.start)
    // Who asked for it knows how much it was, however often it was resized.
    case 3 where block.kind == 0: mempoolFreeSized(block.start, block.count)
    case 4 where block.kind != 0: mempoolFreeAlignedSized(block.start, UInt(block.kind), block.count)
    default: mempool_free(block.start)
    }
    try demand(errno == Self.unset, "a free set errno")
  }

  private mutating func freeNothing() throws {
    let size = size()
    mempool_free(nil)
    mempoolCfree(nil)
    mempoolVfree(nil)
    mempoolFreeSized(nil, size)
    mempoolFreeAlignedSized(nil, UInt(input.byte()), size)
    try demand(mempoolUsableSize(nil) == 0 && mempoolSize(nil) == 0 && mp_get_size(nil) == 0, "NULL has a size")
    try demand(errno == Self.unset, "nothing to free, and set errno")
  }

  private mutating func measure() throws {
    let size = size(), good = mempoolGoodSize(size)
    try demand(good >= size, "\(size) bytes are rounded down to \(good)")
    guard size <= 1 << 20 else { return }
    // A sampled guard has just what was asked for.
    try demand(mempoolGoodSize(good) == good, "\(good) bytes are rounded up from \(size), and again")
    guard let block = mempool_malloc(Int(size)) else { throw Wrong(description: "\(size) bytes refused") }
    let usable = mempoolUsableSize(block)
    mempool_free(block)
    try demand(usable >= good || usable == size, "\(size) bytes are \(usable), and should be \(good)")
  }

  private mutating func tune() throws {
    let value = Int32(truncatingIfNeeded: size())
    if input.below(2) == 0 {
      let gave = mempoolTrim(UInt(bitPattern: Int(value)))
      return try demand(gave == 0 || gave == 1, "malloc_trim: \(gave)")
    }
    let parameter = Int32(input.byte()) - 128
    try demand(mempoolMallopt(parameter, value) == (Self.advice.contains(parameter) ? 1 : 0), "mallopt(\(parameter))")
    let options = parameter | 1
    try demand(mempoolMallocInfo(options, Self.stream) == EINVAL, "malloc_info with options \(options)")
  }
}
