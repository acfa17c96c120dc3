import CMempool
import CMempoolHeaders
import Glibc

/// Regions in memory of any size and place: objects, marks and what goes back to them, also marks that there never were.
struct RegionDriver {
  private static let most = 4096
  private static let fence = 64
  private static nonisolated(unsafe) let memory: UnsafeMutableRawPointer = .allocate(
    byteCount: most + 2 * fence, alignment: 64)

  private let region: OpaquePointer
  private var input: Input
  private var blocks = Blocks()
  /// Marks, each with how many objects there were.
  private var marks: [(mark: Int, count: Int)] = []

  static func run(_ input: Input) throws {
    var input = input
    let lead = input.below(fence / 2), size = min(Int(input.byte()) << 4 | input.below(16), most)
    memory.initializeMemory(as: UInt8.self, repeating: 0xa5, count: most + 2 * fence)
    errno = 0
    if let handle = mp_region_init(memory + fence + lead, size) {
      let capacity = mp_region_capacity(handle)
      try demand(capacity > 0 && capacity + 63 >= size && capacity < size, "\(capacity) bytes of \(size)")
      var driver = RegionDriver(region: handle, input: input)
      try driver.perform()
    } else {
      try demand(errno == EINVAL && size <= 63, "no region in \(size) bytes")
    }
    let isIntact = { (part: Range<Int>) in part.allSatisfy { memory.load(fromByteOffset: $0, as: UInt8.self) == 0xa5 } }
    try demand(isIntact(0..<fence + lead), "wrote before the caller's memory")
    try demand(isIntact(fence + lead + size..<most + 2 * fence), "wrote behind the caller's memory")
  }

  private init(region: OpaquePointer, input: Input) { (self.region, self.input) = (region, input) }

  private var mark: Int { mp_region_mark(region) }

  private mutating func perform() throws {
    var peak = 0
    while !input.isEmpty, blocks.count < 200 {
      try one()
      peak = max(peak, mark)
      try demand(mark <= mp_region_capacity(region) && mp_region_peak(region) == peak, "a wrong mark or peak")
    }
    while !blocks.isEmpty { _ = try blocks.remove(blocks.count - 1) }
    try demand(mp_region_reset(region, 0) == 0 && mark == 0, "not empty")
    let capacity = mp_region_capacity(region)
    try demand(mp_region_memalign(region, 1, capacity) != nil && mark == capacity, "an empty region is not whole")
    try demand(mp_region_alloc(region, 0) == nil, "took more than there is")
  }

  private mutating func one() throws {
    switch input.below(8) {
    case 0: marks.append((mark, blocks.count))
    case 1:
      // Also marks that are ahead of now.
      if input.below(4) == 0 {
        let before = mark
        errno = 0
        try demand(mp_region_reset(region, before + 1 + input.byte()) == -1 && errno == EINVAL, "went ahead")
        return try demand(mark == before, "went somewhere")
      }
      guard !marks.isEmpty else { return }
      let index = input.below(marks.count), (mark, count) = marks[index]
      while blocks.count > count { _ = try blocks.remove(blocks.count - 1) }
      try demand(mp_region_reset(region, mark) == 0 && self.mark == mark, "did not go back")
      marks.removeSubrange(index...)
    default: try take()
    }
  }

  private mutating func take() throws {
    let alignment = 1 << input.below(9), kind = input.below(3), before = mark
    let size = input.below(8) == 0 ? Int(bitPattern: input.size()) : input.below(200)
    errno = 0
    let pointer =
      switch kind {
      case 0: mp_region_alloc(region, size)
      case 1: mp_region_calloc(region, 1, size)
      default: mp_region_memalign(region, alignment, size)
      }
    guard let pointer else { return try demand(errno == ENOMEM && mark == before, "no memory, and no reason") }
    if kind == 1 {
      let bytes = UnsafeRawBufferPointer(start: pointer, count: size)
      try demand(bytes.allSatisfy { $0 == 0 }, "\(size) bytes are not zero")
    }
    try demand(mp_region_owns(region, pointer) != 0, "\(pointer) is not its own")
    try demand(mark >= before + max(size, 1), "\(size) bytes moved the mark by \(mark - before)")
    try blocks.add(pointer, max(size, 1), of: max(size, 1), alignment: UInt(kind == 2 ? alignment : 16))
  }
}
