import Testing

@testable import MempoolCore

/// Blocks that are entries of an array: the index knows nothing of pages or handles.
private final class ArrayBlocks: FreeBlocks {
  var sizes: [UInt] = [0]
  private var lists: [FreeBlockLinks] = [FreeBlockLinks(next: 0, previous: 0)]

  func add(_ size: UInt) -> UInt32 {
    sizes.append(size)
    lists.append(FreeBlockLinks(next: ~0, previous: ~0))
    return UInt32(sizes.count - 1)
  }

  func size(of block: UInt32) -> UInt { sizes[Int(block)] }
  func links(of block: UInt32) -> FreeBlockLinks? { lists[Int(block)] }
  func setNext(of block: UInt32, to next: UInt32) { lists[Int(block)].next = next }
  func setPrevious(of block: UInt32, to previous: UInt32) { lists[Int(block)].previous = previous }
  func damaged(at block: UInt32) -> Never { fatalError("block \(block)") }
}

@Suite struct SegregatedFitTests {
  private func withIndex(_ body: (SegregatedFitPointer) throws -> Void) rethrows {
    let index = SegregatedFitPointer.allocate(capacity: 1)
    index.initialize(to: SegregatedFit())
    defer { index.deallocate() }
    try body(index)
  }

  @Test("lists rise with sizes, and blocks of one list differ by less than a 64th")
  func lists() {
    var least: [Int: UInt] = [:]
    var last = 0
    for size in 1...SegregatedFit.largest {
      let list = SegregatedFit.list(size)
      #expect(list >= last && list < 640)
      if let least = least[list] { #expect((size - least) * 64 < least) } else { least[list] = size }
      last = list
    }
  }

  @Test("C7: every list index is found, also the last of a word")
  func everyListIsFound() {
    let blocks = ArrayBlocks()
    withIndex { index in
      for size in 1...SegregatedFit.largest where SegregatedFit.list(size) != SegregatedFit.list(size - 1) {
        let block = blocks.add(size)
        index.insert(block, in: blocks)
        #expect(index.largestBound >= size && SegregatedFit.list(index.largestBound) == SegregatedFit.list(size))
        #expect(index.fit(size, in: blocks) == block)
        #expect(index.fit(1, in: blocks) == block)
        #expect(index.fit(size + 1, in: blocks) == nil)
        index.remove(block, in: blocks)
        #expect(index.isEmpty && index.largestBound == 0 && index.fit(1, in: blocks) == nil)
      }
    }
  }

  @Test("a fit is large enough, next to none is smaller, and nothing is lost")
  func agreesWithAPlainModel() throws {
    let seed = SplitMix64.seed("SegregatedFit.agreesWithAPlainModel")
    var random = SplitMix64(seed: seed)
    let blocks = ArrayBlocks()
    try withIndex { index in
      var inside: [UInt32] = []
      for step in 0..<50_000 {
        let isGrowing = step / 500 % 2 == 0
        if random.below(10) < (isGrowing ? 6 : 4) {
          let block = blocks.add(1 + UInt(random.below(random.below(2) == 0 ? 200 : Int(SegregatedFit.largest))))
          index.insert(block, in: blocks)
          inside.append(block)
        } else if random.below(2) == 0, !inside.isEmpty {
          index.remove(inside.remove(at: random.below(inside.count)), in: blocks)
        } else {
          let units = 1 + UInt(random.below(Int(SegregatedFit.largest) + 10))
          let best = inside.map { blocks.sizes[Int($0)] }.filter { $0 >= units }.min()
          let found = index.fit(units, in: blocks)
          if let found {
            let size = blocks.sizes[Int(found)]
            try #require(inside.contains(found) && size >= units, "seed \(seed), step \(step)")
            try #require(SegregatedFit.list(size) <= SegregatedFit.list(best!) + 64, "seed \(seed), step \(step)")
          } else if let best {
            // Only blocks of its own list may be missed, by who looks at eight of them.
            try #require(SegregatedFit.list(best) == SegregatedFit.list(units), "seed \(seed), step \(step)")
          }
        }
        if step % 64 == 0 {
          var count = 0
          let sound = index.countOfWellPlacedBlocks(in: blocks) { block in
            count += 1
            return inside.contains(block)
          }
          try #require(sound == UInt(inside.count) && count == inside.count, "seed \(seed), step \(step)")
        }
      }
    }
  }

  @Test("blocks may be refused, and no more lists are looked at than was said")
  func refusals() {
    let blocks = ArrayBlocks()
    withIndex { index in
      let all = (0..<20).map { blocks.add(100 + UInt($0) * 100) }
      for block in all { index.insert(block, in: blocks) }
      var asked: [UInt32] = []
      let none = index.fit(100, in: blocks, lists: 5) { block in
        asked.append(block)
        return false
      }
      #expect(none == nil && asked == Array(all[0..<5]))
      #expect(index.fit(100, in: blocks, lists: 5) { $0 == all[3] } == all[3])
      #expect(index.fit(100, in: blocks, lists: 3) { $0 == all[3] } == nil)
    }
  }

  @Test("no more blocks of a list are looked at than was said, and the smallest of them is taken")
  func probes() {
    let blocks = ArrayBlocks()
    withIndex { index in
      // One list has them all; the last one in, which is the largest, comes first.
      let all = (0..<12).map { blocks.add(8192 + UInt($0)) }
      for block in all { index.insert(block, in: blocks) }
      for probes in 1...12 { #expect(index.fit(8192, in: blocks, probes: probes) { _ in true } == all[12 - probes]) }
      #expect(index.fit(8192, in: blocks) == all[12 - SegregatedFit.probes])
    }
  }

  @Test("what was written to a free block is noticed when it is next linked or unlinked")
  func overwrittenLinks() async {
    for change in [0, 1, 2] {
      await #expect(processExitsWith: .failure) { [change = change as Int] in
        let blocks = ArrayBlocks()
        let index = SegregatedFitPointer.allocate(capacity: 1)
        index.initialize(to: SegregatedFit())
        let all = (0..<4).map { _ in blocks.add(10) }
        for block in all { index.insert(block, in: blocks) }
        if change == 0 { blocks.setNext(of: all[1], to: all[3]) }
        if change == 1 { blocks.setPrevious(of: all[1], to: all[0]) }
        if change == 2 { blocks.setPrevious(of: all[3], to: all[0]) }
        if change == 2 { index.insert(blocks.add(10), in: blocks) } else { index.remove(all[1], in: blocks) }
      }
    }
  }
}
