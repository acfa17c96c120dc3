import CMempoolShims
import Testing

@testable import MempoolCore

/// The map is one for the process: these tests enter words for address space that they have reserved, so nobody else's.
@Suite struct AddressMapTests {
  private let granule = AddressMap.granule

  private final class Reservation {
    let start: UInt
    private let byteCount: Int

    init(granules: Int) {
      byteCount = granules << Int(AddressMap.granuleShift)
      start = UInt(bitPattern: mp_pages_reserve(byteCount, Int(AddressMap.granule))!)
    }

    deinit {
      AddressMap.set(0, from: start, to: start + UInt(byteCount))
      _ = mp_pages_release(UnsafeMutableRawPointer(bitPattern: start)!, byteCount)
    }
  }

  private func isSegment(_ address: UInt, _ record: SegmentPointer) -> Bool {
    if case .segment(let found)? = AddressMap.owner(of: address) { return found == record }
    return false
  }

  private func isSpan(_ address: UInt, _ record: SpanPointer) -> Bool {
    if case .span(let found)? = AddressMap.owner(of: address) { return found == record }
    return false
  }

  // Records are looked at by their owners, never by the map: any address that is aligned will do.
  private let segment = SegmentPointer(bitPattern: 0x10040)!
  private let span = SpanPointer(bitPattern: 0x20080)!

  @Test func whatIsEnteredIsFoundFromAnyOfItsAddresses() {
    let place = Reservation(granules: 10)
    AddressMap.set(AddressMap.word(segment), from: place.start + granule, to: place.start + 4 * granule)
    AddressMap.set(AddressMap.word(span), from: place.start + 4 * granule, to: place.start + 6 * granule + 1)
    #expect(AddressMap.owner(of: place.start + granule - 1) == nil)
    for offset in [granule, granule + 1, 2 * granule, 4 * granule - 1] {
      #expect(isSegment(place.start + offset, segment))
    }
    for offset in [4 * granule, 5 * granule + 17, 6 * granule, 7 * granule - 1] {
      #expect(isSpan(place.start + offset, span))
    }
    #expect(AddressMap.owner(of: place.start + 7 * granule) == nil)
    AddressMap.set(0, from: place.start + 2 * granule, to: place.start + 3 * granule)
    #expect(AddressMap.owner(of: place.start + 2 * granule) == nil)
    #expect(isSegment(place.start + granule, segment))
    #expect(isSegment(place.start + 3 * granule, segment))
  }

  @Test func takenByExactlyOneThread() throws {
    let place = Reservation(granules: 1)
    let word = AddressMap.word(span), start = place.start
    for _ in 0..<200 {
      AddressMap.set(word, from: start, to: start + 1)
      let winners = Findings()
      TestThread.run(3) { _ in if AddressMap.take(word, at: start) { winners.report("won") } }
      try demand(winners.all.count == 1, "\(winners.all.count) threads took it")
      try demand(AddressMap.owner(of: start) == nil, "still there")
    }
    AddressMap.set(AddressMap.word(segment), from: start, to: start + 1)
    #expect(!AddressMap.take(word, at: start), "somebody else's")
    #expect(isSegment(start, segment))
  }

  /// No address is ever followed: the ends of the address space, kernel addresses and unmapped ones are nobody's.
  @Test func anyAddressMayBeAskedFor() {
    for shift in 0..<64 {
      for address in [UInt(1) << UInt(shift), UInt(1) << UInt(shift) &- 1, ~(UInt(1) << UInt(shift))] {
        if address >> 48 != 0 {
          #expect(AddressMap.owner(of: address) == nil)
        } else {
          _ = AddressMap.owner(of: address)
        }
      }
    }
    #expect(AddressMap.owner(of: 0) == nil)
    #expect(AddressMap.owner(of: .max) == nil)
    var local = 0
    withUnsafeMutablePointer(to: &local) { #expect(AddressMap.owner(of: UInt(bitPattern: $0)) == nil) }
    #expect(!AddressMap.set(AddressMap.word(segment), from: 1 << 50, to: 1 << 50 + granule), "addresses have 48 bits")
  }

  /// Against a dictionary, over a range that crosses leaves.
  @Test func randomEntriesAgainstAShadow() throws {
    var random = SplitMix64(seed: SplitMix64.seed("AddressMap"))
    let count = 1 << 15  // 32 GiB of address space: at least two leaves
    let place = Reservation(granules: count)
    var shadow = [UInt](repeating: 0, count: count)
    for step in 0..<2_000 {
      let first = random.below(count), length = min(count - first, 1 + random.below(random.below(10) == 0 ? 3000 : 20))
      let record = UInt(1 + random.below(1000)) << 6
      let word = [0, record, record | 1][random.below(3)]
      let start = place.start + UInt(first) * granule
      try demand(AddressMap.set(word, from: start, to: start + UInt(length) * granule - 5), "refused")
      for index in first..<first + length { shadow[index] = word }
      for index in [first, first + length - 1, min(first + length, count - 1), max(first - 1, 0), random.below(count)] {
        let found: UInt
        switch AddressMap.owner(of: place.start + UInt(index) * granule + UInt(random.below(Int(granule)))) {
        case .segment(let record): found = UInt(bitPattern: record)
        case .span(let record): found = UInt(bitPattern: record) | 1
        case nil: found = 0
        }
        try demand(found == shadow[index], "step \(step), granule \(index): \(found), is \(shadow[index])")
      }
    }
  }
}
