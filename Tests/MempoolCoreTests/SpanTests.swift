import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct SpanTests {
  /// A list of spans whose records lie in a segment of its own.
  private final class TestSpans {
    let spans: SpanListPointer
    let test: TestSegment
    private let segments: SegmentListPointer

    init() {
      test = TestSegment(elastic: 16 << 20)!
      segments = .allocate(capacity: 1)
      segments.initialize(to: SegmentList())
      segments.insert(test.segment)
      spans = .allocate(capacity: 1)
      spans.initialize(to: SpanList(segments: segments))
    }

    deinit {
      spans.destroy()
      spans.deallocate()
      segments.deallocate()
    }
  }

  private func owner(_ address: UInt) -> SpanPointer? {
    if case .span(let span)? = AddressMap.owner(of: address) { return span }
    return nil
  }

  private func memory(_ span: SpanPointer) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: span.pointee.address)!
  }

  /// Every address of a span leads to it, and none after it is gone; the memory is zero.
  @Test(arguments: [1, 4096, 1_048_576, 1_048_577, 3_145_727, 10_485_760] as [UInt])
  func spanOf(byteCount: UInt) throws {
    let test = TestSpans()
    let span = try #require(test.spans.allocate(byteCount, alignment: 1))
    let address = span.pointee.address, size = span.pointee.byteCount
    #expect(size >= byteCount && size < byteCount + UInt(mp_system_page_size()))
    #expect(Pattern.isZero(memory(span), Int(size)))
    memory(span).initializeMemory(as: UInt8.self, repeating: 1, count: Int(size))
    for offset in stride(from: 0, to: size, by: 65521) { #expect(owner(address + offset) == span) }
    #expect(owner(address + size - 1) == span)
    #expect(test.spans.liveCount.loadRelaxed() == 1 && test.spans.liveBytes.loadRelaxed() == size)
    #expect(test.spans.take(span))
    #expect(!test.spans.take(span), "a span is freed once")
    test.spans.deallocate(span)
    // A span of another test's may lie there by now.
    #expect(owner(address) != span && owner(address + size - 1) != span)
    #expect(test.spans.liveCount.loadRelaxed() == 0 && test.spans.liveBytes.loadRelaxed() == 0)
    #expect(test.test.segment.arena.usedBytes.loadRelaxed() == 0, "its record came back")
  }

  @Test func alignments() throws {
    let test = TestSpans()
    var alignment: UInt = 1
    while alignment <= 256 << 20 {
      let span = try #require(test.spans.allocate(2 << 20, alignment: alignment))
      #expect(span.pointee.address % alignment == 0)
      memory(span).storeBytes(of: 1, toByteOffset: 2 << 20 - 8, as: UInt64.self)
      alignment *= 2
    }
  }

  /// A place is remembered when its span is gone, for as long as no other is there.
  @Test func whereSpansLay() throws {
    let test = TestSpans()
    let span = try #require(test.spans.allocate(3 << 20, alignment: 1))
    let address = span.pointee.address
    #expect(!test.spans.wasSpan(address))
    #expect(test.spans.take(span))
    test.spans.deallocate(span)
    #expect(test.spans.wasSpan(address) && !test.spans.wasSpan(address + 1))
    // Another that comes to lie there; whether one does is the system's choice.
    for _ in 0..<20 {
      let next = try #require(test.spans.allocate(3 << 20, alignment: 1))
      #expect(!test.spans.wasSpan(next.pointee.address))
      let before = next.pointee.address
      let after = try #require(test.spans.resize(next, to: 50 << 20))
      #expect(!test.spans.wasSpan(after) && (after == before || test.spans.wasSpan(before)))
      #expect(test.spans.take(next))
      test.spans.deallocate(next)
      #expect(test.spans.wasSpan(after))
    }
  }

  @Test func sizesThatNoMappingCanHave() {
    let test = TestSpans()
    for byteCount in [UInt.max, UInt.max - 4095, UInt(Int.max), UInt(Int.max) - 100, 1 << 62, 1 << 48] {
      #expect(test.spans.allocate(byteCount, alignment: 1) == nil, "\(byteCount)")
    }
    #expect(test.spans.liveCount.loadRelaxed() == 0 && test.test.segment.arena.usedBytes.loadRelaxed() == 0)
  }

  /// Made longer and shorter at random, in place or not, against a list of what each holds.
  @Test func resizingAgainstAShadow() throws {
    var random = SplitMix64(seed: SplitMix64.seed("SpanTests.resizing"))
    let test = TestSpans()
    var live: [(span: SpanPointer, tag: UInt64)] = []
    func size() -> UInt { UInt(random.below(2) == 0 ? 1 + random.below(3 << 20) : (1 + random.below(12)) << 20) }
    for step in 0..<600 {
      if live.count < 10, random.below(3) == 0 {
        let span = try #require(test.spans.allocate(size(), alignment: 1))
        try demand(Pattern.isZero(memory(span), Int(span.pointee.byteCount)), "step \(step): not zero")
        live.append((span, random.next()))
        Pattern.fill(memory(span), Int(span.pointee.byteCount), live.last!.tag)
      } else if !live.isEmpty {
        let index = random.below(live.count)
        let (span, tag) = live[index]
        let old = span.pointee.byteCount, address = span.pointee.address
        if random.below(4) == 0 {
          try demand(Pattern.isIntact(memory(span), Int(old), tag), "step \(step): overwritten")
          try demand(test.spans.take(span), "step \(step): not in the map")
          test.spans.deallocate(span)
          live.remove(at: index)
          try demand(owner(address) == nil && owner(address + old - 1) == nil, "step \(step): still in the map")
        } else {
          let wanted = size()
          let moved = try #require(test.spans.resize(span, to: wanted))
          try demand(moved == span.pointee.address && moved % AddressMap.granule == 0, "step \(step): lost")
          try demand(span.pointee.byteCount >= wanted, "step \(step): too small")
          let kept = Int(min(old, span.pointee.byteCount))
          try demand(
            Pattern.isIntact(memory(span), kept, filled: Int(old), tag), "step \(step): content lost by resizing")
          if span.pointee.byteCount > old {
            try demand(
              Pattern.isZero(memory(span) + Int(old), Int(span.pointee.byteCount - old)),
              "step \(step): new part not zero")
          }
          live[index].tag = random.next()
          Pattern.fill(memory(span), Int(span.pointee.byteCount), live[index].tag)
          if step % 10 == 0 { try demand(test.spans.checkInvariants(), "step \(step): broken") }
          let end = moved + span.pointee.byteCount
          try demand(owner(moved) == span && owner(end - 1) == span, "step \(step): not in the map")
          // What it left, where nobody else is by now.
          for left in [address, address + old - 1]
          where left < moved || left >= (end + AddressMap.granule - 1) & ~(AddressMap.granule - 1) {
            try demand(owner(left) != span, "step \(step): the map still knows what it left")
          }
        }
      }
      let bytes = live.reduce(0) { $0 + $1.span.pointee.byteCount }
      try demand(
        test.spans.liveCount.loadRelaxed() == UInt(live.count) && test.spans.liveBytes.loadRelaxed() == bytes,
        "step \(step): a wrong count")
    }
    for one in live {
      try demand(Pattern.isIntact(memory(one.span), Int(one.span.pointee.byteCount), one.tag), "at the end")
    }
  }

  /// Threads with spans of one list; the list and its counts stay whole.
  @Test func threadsAtOnce() {
    let seed = SplitMix64.seed("SpanTests.threadsAtOnce")
    let test = TestSpans()
    let shared = Shared(test.spans)
    let findings = Findings()
    TestThread.run(4) { number in
      findings.report {
        let spans = shared.value
        var random = SplitMix64(seed: seed &+ UInt64(number))
        var live: [SpanPointer] = []
        for _ in 0..<300 {
          if live.count < 5, random.below(2) == 0 {
            guard let span = spans.allocate(UInt(1 + random.below(4 << 20)), alignment: 1) else {
              throw Broken(description: "no span")
            }
            let words = UnsafeMutablePointer<UInt>(bitPattern: span.pointee.address)!
            try demand(words[0] == 0, "not zero")
            words[0] = UInt(number)
            live.append(span)
          } else if !live.isEmpty {
            let span = live.remove(at: random.below(live.count))
            if random.below(2) == 0 {
              guard spans.resize(span, to: UInt(1 + random.below(4 << 20))) != nil else {
                throw Broken(description: "not resized")
              }
            }
            let words = UnsafeMutablePointer<UInt>(bitPattern: span.pointee.address)!
            try demand(words[0] == UInt(number), "overwritten")
            try demand(spans.take(span), "not in the map")
            spans.deallocate(span)
          }
        }
        for span in live {
          try demand(spans.take(span), "not in the map")
          spans.deallocate(span)
        }
      }
    }
    #expect(findings.all == [])
    #expect(test.spans.liveCount.loadRelaxed() == 0 && test.spans.liveBytes.loadRelaxed() == 0)
    #expect(test.spans.pointee.head == nil)
    #expect(test.test.segment.arena.usedBytes.loadRelaxed() == 0)
  }
}
