import CMempoolShims
import Testing

@testable import MempoolCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The address map knows granules of 1 MiB. In the last one of a span or segment there may lie memory of others: of the
/// system's allocator, say, to which an exhausted pool turns.
@Suite struct NeighbourTests {
  // Maps one page in the granule of `end`, behind it; nil where somebody else was faster.
  private func mapBehind(_ end: UInt) -> UnsafeMutableRawPointer? {
    let page = UInt(mp_system_page_size()), granule = AddressMap.granule
    var place = (end + page - 1) & ~(page - 1)
    while place & (granule - 1) != 0 {
      let wanted = UnsafeMutableRawPointer(bitPattern: place)!
      let flags = MAP_PRIVATE | MAP_ANONYMOUS | 0x100000  // MAP_FIXED_NOREPLACE
      let found = mmap(wanted, Int(page), PROT_READ | PROT_WRITE, flags, -1, 0)!
      if found == wanted { return found }
      if found != MAP_FAILED { munmap(found, Int(page)) }
      place += page
    }
    return nil
  }

  // What the pool says of a pointer behind `end`, in the same granule, before and after it has got it from the system.
  private func check(_ pool: MemoryPoolPointer, behind end: UInt, _ what: String) throws {
    let page = try #require(mapBehind(end), "no room behind a \(what)")
    defer { munmap(page, mp_system_page_size()) }
    let object = page + 16
    #expect(AddressMap.owner(of: UInt(bitPattern: object)) != nil, "\(what): not in its granule")
    #expect(!pool.owns(object), "\(what): owns its neighbour")
    #expect(pool.fallbackSet.insert(UInt(bitPattern: object), .run))
    if case .system = pool.locate(object, "test") {} else { Issue.record("\(what): does not know its neighbour") }
    // Not an object that could be given back at the end.
    #expect(pool.fallbackSet.take(UInt(bitPattern: object)))
  }

  // In a process of its own, where no other test maps anything.
  @Test func inTheLastGranule() async {
    await #expect(processExitsWith: .success) {
      do { try NeighbourTests().lookInTheLastGranule() } catch { Issue.record("\(error)") }
    }
  }

  private func lookInTheLastGranule() throws {
    let test = try TestPool(.elastic)
    let pool = test.pool
    let span = try #require(pool.allocate((33 << 20) + 4096))
    try check(pool, behind: UInt(bitPattern: span) + pool.usableSize(of: span), "span")
    // Its reservation is longer by less than a granule than its pages are.
    let segment = try #require(pool.segments.newest)
    _ = try #require(pool.allocate(1000))
    while segment.grow(by: 1, known: segment.pageCount.loadRelaxed()) {}
    try check(pool, behind: segment.pointee.start + segment.pointee.byteCount, "segment")
    // Another pool's is no different.
    let another = try TestPool(.elastic)
    try check(another.pool, behind: UInt(bitPattern: span) + pool.usableSize(of: span), "another's span")
    pool.deallocate(span)
  }
}
