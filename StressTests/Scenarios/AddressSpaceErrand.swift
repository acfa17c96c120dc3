import Glibc
import MempoolCore
import Synchronization

/// Six threads allocate, resize and free while the process's address space ends just above what it has, a little lower or higher every
/// time, for a second; on pools of each kind that grows. What fails is nil; what is live stays; afterwards everything works.
enum AddressSpaceErrand: Errand {
  static let name = "address-space"

  private static let threads = 6
  private static let kinds: [PoolKind] = [.shared, .own, .dense, .zeroing, .canaries, .guards]
  private static let secondsForAll = 1.2

  private static let isOver = Atomic<Bool>(false)
  private static let working = Atomic<Int>(0)

  static func perform(_ arguments: [String]) -> String? {
    guard let seed = arguments.first.flatMap({ UInt64($0) }) else { return "no seed" }
    var refusals = 0
    for kind in kinds {
      do {
        let pool = try make(kind)
        refusals += try squeeze(pool, seed, isShared: kind == .shared)
      } catch let error as Wrong {
        return "\(kind) pool: \(error.message)"
      } catch {
        return "cannot make a pool: \(error)"
      }
    }
    return refusals == 0 ? "no allocation was refused: this has shown nothing" : nil
  }

  private struct Wrong: Error { let message: String }

  /// With reservations so small that each refill soon needs another.
  private static func make(_ kind: PoolKind) throws(PoolError) -> MemoryPoolPointer {
    var options = kind.options
    if kind == .shared { return .shared }
    options.backing = .elastic(reserve: 2 << 20)
    return try .create(options)
  }

  private static func squeeze(_ pool: MemoryPoolPointer, _ seed: UInt64, isShared: Bool) throws(Wrong) -> Int {
    // Everything that is not the pool's memory is had before: nothing else may need any while it is short.
    let holdings = UnsafeMutablePointer<Holding>.allocate(capacity: threads)
    defer { holdings.deallocate() }
    for index in 0..<threads { (holdings + index).initialize(to: Holding(capacity: 4000, owner: index)) }
    nonisolated(unsafe) let pool = pool  // made to be shared
    let start = Gate(threads: threads + 1)
    isOver.store(false, ordering: .relaxed)
    working.store(threads, ordering: .relaxed)
    var started: [OwnThread] = []
    for index in 0..<threads {
      let mine = UInt(bitPattern: holdings + index)
      let thread = OwnThread {
        start.pass()
        load(UnsafeMutablePointer(bitPattern: mine)!, pool, SplitMix64(seed: mix(seed &+ UInt64(index))))
        working.wrappingSubtract(1, ordering: .releasing)
      }
      guard let thread else { throw Wrong(message: "no thread could be started") }
      started.append(thread)
    }
    start.pass()
    var all = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &all)
    let over = monotonicSeconds() + secondsForAll / Double(kinds.count)
    var round = 0
    while monotonicSeconds() < over {
      var low = rlimit(rlim_cur: rlim_t(addressSpace() + round % 7 * 500_000), rlim_max: all.rlim_max)
      setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &low)
      usleep(2000)
      setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &all)
      usleep(300)
      round += 1
    }
    isOver.store(true, ordering: .relaxed)
    while working.load(ordering: .acquiring) > 0 { usleep(200) }
    for thread in started { thread.join() }

    var refusals = 0
    for index in 0..<threads {
      refusals += holdings[index].refusals
      // Now there is room: all that is live, and more.
      var random = SplitMix64(seed: seed)
      for _ in 0..<200 where !holdings[index].isFull {
        if !holdings[index].allocate(Sizes.any(&random), from: pool) { throw Wrong(message: "no memory, and there is") }
      }
      holdings[index].freeAll(to: pool)
      if let wrong = holdings[index].wrong { throw Wrong(message: "\(wrong)") }
      holdings[index].deallocateTable()
    }
    if !pool.checkInvariants() { throw Wrong(message: "its invariants do not hold") }
    let left = pool.statisticsAtRest().allocatedBytes
    if left != 0 { throw Wrong(message: "\(left) bytes are counted that nobody has") }
    if !isShared { pool.destroy() }
    return refusals
  }

  private static func load(_ holding: UnsafeMutablePointer<Holding>, _ pool: MemoryPoolPointer, _ seeded: SplitMix64) {
    var random = seeded
    while !isOver.load(ordering: .relaxed) {
      let grows = holding.pointee.byteCount < 16 << 20 && !holding.pointee.isFull
      switch random.below(16) {
      case 0: holding.pointee.resizeAny(max(1, Sizes.any(&random)), in: pool, &random)
      case 1..<9 where grows: holding.pointee.allocate(Sizes.any(&random), from: pool)
      case 9 where grows: holding.pointee.allocate(random.within(8...600) * Parcel.largeUnit, from: pool)
      case 10 where random.oneIn(200): holding.pointee.freeAll(to: pool)
      default: holding.pointee.freeAny(to: pool, &random)
      }
    }
  }

  /// What the process has now; allocates nothing.
  private static func addressSpace() -> Int {
    let file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32) { text in
      let count = read(file, text.baseAddress, text.count)
      var pages = 0
      for i in 0..<max(count, 0) {
        guard text[i] >= 0x30, text[i] <= 0x39 else { break }
        pages = pages * 10 + Int(text[i] - 0x30)
      }
      return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
  }
}
