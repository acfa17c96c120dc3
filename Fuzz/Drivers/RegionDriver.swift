import CMempool
import CMempoolHeaders
import Glibc

/// Regions in memory of any size and place: objects, marks and what goes back to them, also marks that there never were; and a region as
/// another's allocator.
struct RegionDriver {
  private static let most = 4096
  private static let fence = 64
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: most + 2 * fence, alignment: 64)

  private let region: OpaquePointer
  private let capacity: Int
  private var input: Input
  private var blocks = Blocks()
  private var peak = 0
  /// Marks, each with how many objects there were.
  private var marks: [(mark: Int, count: Int)] = []

  static func run(_ input: Input) throws {
    var input = input
    let lead = input.below(fence / 2), size = min(Int(input.byte()) << 4 | input.below(16), most)
    memory.initializeMemory(as: UInt8.self, repeating: 0xa5, count: most + 2 * fence)
    try refuseAbsurdMemory(input.size())
    errno = 0
    if let handle = mp_region_init(memory + fence + lead, size) {
      let capacity = mp_region_capacity(handle)
      try demand(capacity > 0 && capacity + 63 >= size && capacity < size, "\(capacity) bytes of \(size)")
      var driver = RegionDriver(region: handle, capacity: capacity, input: input)
      try driver.perform()
    } else {
      try demand(errno == EINVAL && size <= 63, "no region in \(size) bytes")
    }
    let isIntact = { (part: Range<Int>) in part.allSatisfy { memory.load(fromByteOffset: $0, as: UInt8.self) == 0xa5 } }
    try demand(isIntact(0..<fence + lead), "wrote before the caller's memory")
    try demand(isIntact(fence + lead + size..<most + 2 * fence), "wrote behind the caller's memory")
  }

  private init(region: OpaquePointer, capacity: Int, input: Input) {
    (self.region, self.capacity, self.input) = (region, capacity, input)
  }

  // No memory, and sizes beyond the end of the address space.
  private static func refuseAbsurdMemory(_ size: UInt) throws {
    errno = 0
    try demand(mp_region_init(nil, Int(bitPattern: size)) == nil && errno == EINVAL, "a region in no memory")
    guard size > 1 << 62 else { return }
    errno = 0
    try demand(mp_region_init(memory, Int(bitPattern: size)) == nil && errno == EINVAL, "a region in \(size) bytes")
  }

  private var mark: Int { mp_region_mark(region) }

  private mutating func perform() throws {
    while !input.isEmpty, blocks.count < 200 {
      try one()
      peak = max(peak, mark)
      try demand(mark <= capacity && mp_region_peak(region) == peak, "a wrong mark or peak")
    }
    while !blocks.isEmpty { _ = try blocks.remove(blocks.count - 1) }
    try demand(mp_region_reset(region, 0) == 0 && mark == 0, "not empty")
    try demand(mp_region_memalign(region, 1, capacity) != nil && mark == capacity, "an empty region is not whole")
    try demand(mp_region_alloc(region, 0) == nil, "took more than there is")
  }

  private mutating func one() throws {
    switch input.below(9) {
    case 0: marks.append((mark, blocks.count))
    case 1: try goBack()
    case 2: try resize()
    case 3:
      let pointer = blocks.isEmpty ? UnsafeMutableRawPointer(region) : blocks.live[input.below(blocks.count)].start
      let other = pointer + input.byte() * 8
      let isInside = blocks.live.contains { $0.start <= other && other < $0.start + $0.byteCount }
      try demand(!isInside || mp_region_owns(region, other) != 0, "\(other) is not its own")
      try demand(mp_region_owns(region, nil) == 0 && mp_region_owns(region, Self.memory) == 0, "owns what it has not")
    default: try take()
    }
  }

  private mutating func goBack() throws {
    // Also marks that are ahead of now.
    if input.below(4) == 0 {
      let before = mark, ahead = input.below(2) == 0 ? before + 1 + input.byte() : -1 - input.byte()
      errno = 0
      try demand(mp_region_reset(region, ahead) == -1 && errno == EINVAL, "went ahead")
      return try demand(mark == before, "went somewhere")
    }
    guard !marks.isEmpty else { return }
    let index = input.below(marks.count), (mark, count) = marks[index]
    while blocks.count > count { _ = try blocks.remove(blocks.count - 1) }
    try demand(mp_region_reset(region, mark) == 0 && self.mark == mark, "did not go back")
    marks.removeSubrange(index...)
  }

  private mutating func take() throws {
    let kind = input.below(3), before = mark
    let alignment = input.below(8) == 0 ? input.size() : 1 << UInt(input.below(9))
    let size = input.below(8) == 0 ? input.size() : UInt(input.below(200))
    let count = kind == 1 && input.below(4) == 0 ? input.size() : 1
    let (total, overflow) = count.multipliedReportingOverflow(by: size)
    errno = 0
    let pointer =
      switch kind {
      case 0: mp_region_alloc(region, Int(bitPattern: size))
      case 1: mp_region_calloc(region, Int(bitPattern: count), Int(bitPattern: size))
      default: mp_region_memalign(region, Int(bitPattern: alignment), Int(bitPattern: size))
      }
    if kind == 2, alignment.nonzeroBitCount != 1 {
      return try demand(pointer == nil && errno == EINVAL && mark == before, "an odd alignment")
    }
    let natural: UInt = kind == 2 ? alignment : total >= 16 ? 16 : 8
    guard let pointer else {
      try demand(errno == ENOMEM && mark == before, "no memory, and no reason")
      let room = UInt(capacity - before)
      let mayBe = !overflow && total <= room && natural <= room && max(total, 1) + natural - 1 <= room
      return try demand(!mayBe, "\(total) bytes refused of \(room)")
    }
    try demand(!overflow, "a product that overflows")
    try enter(pointer, Int(total), before, isZero: kind == 1, alignment: natural)
  }

  private mutating func enter(
    _ pointer: UnsafeMutableRawPointer, _ size: Int, _ before: Int, isZero: Bool, alignment: UInt
  ) throws {
    if isZero {
      let bytes = UnsafeRawBufferPointer(start: pointer, count: size)
      try demand(bytes.allSatisfy { $0 == 0 }, "\(size) bytes are not zero")
    }
    let byteCount = max(size, 1)
    try demand(mp_region_owns(region, pointer) != 0, "\(pointer) is not its own")
    let moved = mark - before
    try demand(moved >= byteCount && moved < byteCount + Int(alignment), "\(size) bytes moved the mark by \(moved)")
    try blocks.add(pointer, byteCount, of: byteCount, alignment: alignment)
  }

  // As an allocator: what is resized is taken anew, what is freed stays.
  private mutating func resize() throws {
    let allocator = mp_region_allocator(region), before = mark
    guard !blocks.isEmpty else { return }
    let index = input.below(blocks.count), old = blocks.live[index]
    let size = input.below(8) == 0 ? Int(bitPattern: input.size()) : 1 + input.below(200)
    let new = allocator.resize(allocator.state, old.start, size)
    try demand(blocks.isIntact(old, at: old.start, old.written), "an object that was resized changed")
    guard let new else {
      return try demand(mark == before && (size < 1 || size > capacity - before - 15), "\(size) bytes refused")
    }
    try demand(blocks.isIntact(old, at: new, size), "lost content")
    try enter(new, size, before, isZero: false, alignment: 16)
  }
}
