import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct SizeClassTests {
  init() { #expect(MemoryPoolPointer.shared.start(), "what fills the table") }

  private let sizes = (0..<SizeClass.count).map { SizeClass.itemSize($0) }

  private func smallest(_ byteCount: UInt, _ alignment: UInt = 1) -> Int? {
    sizes.prefix(SizeClass.smallCount).firstIndex { $0 >= byteCount && $0 % alignment == 0 }
  }

  @Test func sizesRiseAndEndAtTheLargest() {
    for (smaller, larger) in zip(sizes, sizes.dropFirst()) { #expect(smaller < larger) }
    #expect(sizes.first == 8)
    #expect(sizes[SizeClass.smallCount - 1] == SizeClass.largest)
    #expect(SizeClass.largest < Page.byteCount)
    #expect(sizes.last == SizeClass.largestMedium)
  }

  @Test func mediumIndexIsTheSmallestThatFits() throws {
    for byteCount in SizeClass.largest + 1...SizeClass.largestMedium {
      let index = SizeClass.medium(byteCount)
      try demand(index == sizes.firstIndex { $0 >= byteCount }, "\(byteCount) bytes")
      try demand((sizes[index] - byteCount) * 5 < sizes[index], "\(byteCount) bytes waste more than a fifth")
    }
  }

  @Test func indexIsTheSmallestThatFits() throws {
    for byteCount in 0...SizeClass.largest {
      try demand(SizeClass.index(byteCount) == smallest(byteCount), "\(byteCount) bytes")
    }
  }

  @Test func alignedIndexIsTheSmallestThatFitsWithThatAlignment() throws {
    for shift in 0...14 {
      let alignment: UInt = 1 << UInt(shift)
      for byteCount in 0...SizeClass.largest {
        try demand(
          SizeClass.index(byteCount, alignment: alignment) == smallest(byteCount, alignment),
          "\(byteCount) bytes aligned to \(alignment)")
      }
    }
  }

  /// At worst 12.5 % above 128 bytes, 25 % above 32, with one exception: alignment to 16 forces 48 bytes on 33, 34 and 35.
  @Test func waste() {
    var exceptions: [UInt] = []
    for byteCount in UInt(1)...SizeClass.largest {
      let size = SizeClass.itemSize(SizeClass.index(byteCount)), waste = size - byteCount
      if byteCount > 128 {
        #expect(waste * 8 <= size, "\(byteCount) bytes in \(size)")
      } else if byteCount > 32, waste * 4 > size {
        exceptions.append(byteCount)
      } else {
        #expect(waste < 16, "\(byteCount) bytes in \(size)")
      }
    }
    #expect(exceptions == [33, 34, 35])
    for byteCount in exceptions {
      #expect(
        SizeClass.itemSize(SizeClass.index(byteCount)) == (byteCount + 15) & ~15, "the least that alignment allows")
    }
  }

  /// malloc's alignment: 16, but 8 where no object that small needs more.
  @Test func alignment() {
    for (index, size) in sizes.enumerated() {
      #expect(size % (index == 0 ? 8 : 16) == 0, "items of \(size) bytes")
    }
    for byteCount in UInt(9)...SizeClass.largest { #expect(SizeClass.itemSize(SizeClass.index(byteCount)) % 16 == 0) }
  }
}
