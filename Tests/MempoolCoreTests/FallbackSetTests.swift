import CMempoolShims
import Testing

@testable import MempoolCore

@Suite struct FallbackSetTests {
  /// Objects come and go at random; a plain dictionary says what is known of each.
  @Test(arguments: [1, 2, 3] as [UInt64]) func agreesWithAModel(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let set = FallbackSetPointer.allocate(capacity: 1)
    set.initialize(to: FallbackSet())
    defer { set.deallocate() }
    var live: [UInt] = []
    var kinds: [UInt: FallbackSet.Kind] = [:]
    var former: Set<UInt> = []
    // Grows and shrinks in turn, over several sizes of the table.
    for step in 0..<20_000 {
      let isGrowing = step / 4_000 % 2 == 0
      if live.isEmpty || random.next() % 4 < (isGrowing ? 3 : 1) {
        let address = UInt(bitPattern: mp_system_malloc(Int(random.next() % 200)))
        try demand(set.finding(address) != .live, "handed out twice")
        let kind = [FallbackSet.Kind.small, .run, .span][Int(random.next() % 3)]
        try demand(set.insert(address, kind), "no memory")
        live.append(address)
        kinds[address] = kind
        former.remove(address)
      } else {
        let address = live.remove(at: Int(random.next() % UInt64(live.count)))
        try demand(set.take(address), "not there")
        try demand(!set.take(address), "there twice")
        try demand(set.finding(address) == .former, "forgotten at once")
        try demand(set.kind(of: address) == nil, "of a kind still")
        former.insert(address)
        mp_system_free(UnsafeMutableRawPointer(bitPattern: address))
      }
      try demand(set.pointee.live == UInt(live.count), "\(set.pointee.live) live, and should be \(live.count)")
      try demand(set.pointee.used * 2 <= set.pointee.capacity, "too full")
      guard step % 500 == 0 else { continue }
      for address in live { try demand(set.finding(address) == .live, "lost") }
      for address in live { try demand(set.kind(of: address) == kinds[address], "of another kind") }
      for address in live { try demand(set.finding(address + 1) == .inside, "not inside") }
      // What was given back may be forgotten, and may lie in what the system has handed out since.
      for address in former { try demand(set.finding(address) != .live, "not given back") }
    }
    set.destroy()
    #expect(set.pointee.table == nil && set.pointee.live == 0)
  }
}
