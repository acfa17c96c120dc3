import Testing

@testable import MempoolCore

@Suite struct RegionTests {
  private let memory = TestMemory()

  @Test func givesOutEveryByteAndGoesBackToMarks() throws {
    #expect(MemoryLayout<Region>.size <= Int(Region.recordBytes))
    for shift in 0..<16 {
      let buffer = memory.buffer(1000, shift: shift)
      let region = try #require(RegionPointer.make(in: buffer.start, 1000))
      #expect(region.isSealed && region.capacity >= 1000 - 63 && region.mark == 0)
      let first = try #require(region.allocate(10, alignment: 1))
      let second = try #require(region.allocate(7, alignment: 1))
      #expect(second == first + 10 && region.mark == 17)
      let mark = region.mark
      let third = try #require(region.allocateZeroed(100))
      #expect(UInt(bitPattern: third) % 16 == 0 && Pattern.isZero(third, 100))
      #expect(region.owns(first) && region.owns(third + 99) && !region.owns(third + 100) && !region.owns(first - 1))
      let rest = region.capacity - region.mark
      #expect(region.allocate(rest + 1, alignment: 1) == nil)
      let last = try #require(region.allocate(rest, alignment: 1))
      last.initializeMemory(as: UInt8.self, repeating: 0xff, count: Int(rest))
      #expect(region.allocate(0) == nil && region.mark == region.capacity && buffer.isGuarded)
      #expect(region.reset(to: mark))
      #expect(!region.owns(third) && region.peak == region.capacity)
      #expect(!region.reset(to: mark + 1))
      let zero = try #require(region.allocateZeroed(100))
      #expect(zero == third && Pattern.isZero(zero, 100))
      let one = region.allocate(0), other = region.allocate(0)
      #expect(one != nil && one != other)
      #expect(region.reset() && region.mark == 0)
    }
  }

  @Test func whatNoRegionCanHaveIsRefused() {
    let buffer = memory.buffer(200)
    #expect(RegionPointer.make(in: nil, 100) == nil)
    #expect(RegionPointer.make(in: buffer.start, 48) == nil)
    #expect(RegionPointer.make(in: buffer.start, 49)?.capacity == 1)
    #expect(RegionPointer.make(in: buffer.start, .max) == nil)
    #expect(RegionPointer.make(in: UnsafeMutableRawPointer(bitPattern: UInt.max - 7), 4096) == nil)
    let region = RegionPointer.make(in: buffer.start, 200)!
    #expect(region.allocate(.max) == nil && region.allocate(.max, alignment: 1) == nil)
    #expect(region.allocate(1, alignment: 1 << 63) == nil && region.mark == 0)
  }

  /// Against a list of what was given out: nothing overlaps, marks bring back exactly what came after them.
  @Test func agreesWithAModel() throws {
    let seed = SplitMix64.seed("Region.agreesWithAModel")
    var random = SplitMix64(seed: seed)
    let buffer = memory.buffer(5000, shift: 5)
    let region = try #require(RegionPointer.make(in: buffer.start, 5000))
    var live: [(pointer: UnsafeMutableRawPointer, size: Int, tag: UInt64)] = []
    var marks: [(mark: UInt, count: Int)] = []
    for step in 0..<20_000 {
      switch random.below(12) {
      case 0:
        marks.append((region.mark, live.count))
      case 1 where !marks.isEmpty:
        let index = random.below(marks.count)
        try demand(region.reset(to: marks[index].mark), "seed \(seed), step \(step)")
        live.removeLast(live.count - marks[index].count)
        marks.removeLast(marks.count - index)
      case 2 where random.below(20) == 0:
        try demand(region.reset(), "seed \(seed), step \(step)")
        live.removeAll()
        marks.removeAll()
      default:
        let size = random.below(100), alignment = 1 << random.below(7)
        guard let pointer = region.allocate(UInt(size), alignment: UInt(alignment)) else {
          try demand(region.capacity - region.mark < size + alignment + 1, "seed \(seed), step \(step): it had room")
          continue
        }
        try demand(UInt(bitPattern: pointer) % UInt(alignment) == 0, "seed \(seed), step \(step): alignment")
        if let last = live.last {
          try demand(last.pointer + last.size <= pointer, "seed \(seed), step \(step): overlap")
        }
        live.append((pointer, size, random.next()))
        Pattern.fill(pointer, size, live.last!.tag)
      }
      if step % 64 == 0 {
        for object in live {
          try demand(
            Pattern.isIntact(object.pointer, object.size, object.tag), "seed \(seed), step \(step): overwritten")
        }
      }
    }
    #expect(buffer.isGuarded)
  }

  @Test func asAnAllocator() throws {
    let buffer = memory.buffer(1000)
    let region = try #require(RegionPointer.make(in: buffer.start, 1000))
    let allocator = region.allocator
    let first = try #require(allocator.allocate(50))
    Pattern.fill(first, 50, 4)
    let second = try #require(allocator.reallocate(first, 100))
    #expect(second != first && Pattern.isIntact(second, 50, 4))
    let mark = region.mark
    allocator.deallocate(second)
    #expect(region.mark == mark && allocator.allocate(1000) == nil && allocator.reallocate(second, 2000) == nil)
  }
}
