import Glibc
import MempoolCore

/// A process in a control group with little memory. The kernel does not refuse memory there, it kills: so what was given back must
/// serve again, whatever size it had and whichever thread had it, and what nobody uses must go back to the system.
///
/// Phase after phase takes a third of the limit in blocks of another size, on threads that come and go, and gives it all back: several times the
/// limit in all. Then the kernel's own count must fall to what it was. A fixed pool that fits runs full: nil, and no kill. Where the kernel can be
/// told to refuse, a locked pool that does not fit is an error, and leaves nothing behind.
enum MemoryErrand: Errand {
  static let name = "memory"

  /// A sanitizer keeps records of each byte; ThreadSanitizer four times as much, also of memory that went back.
  private static let records = Sanitizer.current == .thread ? 15 : Sanitizer.current == .address ? 2 : 1
  // ThreadSanitizer takes its time, too.
  private static let liveBytes = Sanitizer.current == .thread ? 8 << 20 : 32 << 20
  private static var useful: Int { 3 * liveBytes }
  static var limit: Int { records * useful + (Sanitizer.current == .none ? 0 : 64 << 20) }

  private static let threads = 6

  static func perform(_ arguments: [String]) -> String? {
    guard arguments.count == 3, let seed = UInt64(arguments[0]) else { return "no seed and no group" }
    let group = MemoryGroup(path: arguments[1], isSecondVersion: arguments[2] == "true")
    guard group.join() else { return "cannot join \(group.path): \(String(cString: strerror(errno)))" }
    guard group.usedBytes != nil else { return "the kernel does not say what \(group.path) uses" }
    for kind in [PoolKind.shared, .own] {
      let pool: MemoryPoolPointer
      do { pool = try kind.make() } catch { return "cannot make a pool: \(error)" }
      let before = group.usedBytes!
      if let wrong = runPhases(pool, seed) { return "\(kind) pool: \(wrong)" }
      pool.purge()
      // ThreadSanitizer keeps its records of memory that went back.
      let kept = group.usedBytes! - before, most = liveBytes / 4
      if Sanitizer.current != .thread && kept > most {
        return "\(kind) pool: \(kept) bytes were not given back to the system; at most \(most) should be kept"
      }
      if kind != .shared { pool.destroy() }
    }
    return fillFixedPool() ?? lockTooMuch(group)
  }

  private static func runPhases(_ pool: MemoryPoolPointer, _ seed: UInt64) -> StaticString? {
    let sizes: [ClosedRange<Int>] = [
      40...60, 900...1100, 3000...3800, 15_000...30_000, 10...600, 100 * 4096...300 * 4096, 5000...7000,
    ]
    nonisolated(unsafe) let pool = pool  // made to be shared
    var left: [Holding] = []
    for (phase, range) in sizes.enumerated() {
      let holdings = UnsafeMutablePointer<Holding>.allocate(capacity: threads)
      let perThread = liveBytes / threads
      for index in 0..<threads {
        (holdings + index).initialize(to: Holding(capacity: perThread / range.lowerBound + 1, owner: index))
      }
      // Every other phase's blocks are freed by the next one's threads: half of each phase is live then.
      var before = left
      left = []
      var started: [OwnThread] = []
      for index in 0..<threads {
        let mine = UInt(bitPattern: holdings + index)
        nonisolated(unsafe) var inherited = before.popLast()
        let thread = OwnThread {
          let holding = UnsafeMutablePointer<Holding>(bitPattern: mine)!
          var random = SplitMix64(seed: mix(seed &+ UInt64(phase * threads + index)))
          inherited?.freeAll(to: pool)
          if let wrong = inherited?.wrong { holding.pointee.note(wrong) }
          inherited?.deallocateTable()
          let goal = phase % 2 == 0 ? perThread : perThread / 2
          while holding.pointee.byteCount < goal && !holding.pointee.isFull {
            let size = random.within(range)
            let unit = size > 0x7fff ? Parcel.largeUnit : 1
            if !holding.pointee.allocate(size / unit * unit, from: pool) { holding.pointee.note("no memory") }
            if holding.pointee.wrong != nil { break }
          }
          if phase % 2 == 0 { holding.pointee.freeAll(to: pool) }
        }
        guard let thread else { return "no thread could be started" }
        started.append(thread)
      }
      for thread in started { thread.join() }
      for index in 0..<threads {
        if let wrong = holdings[index].wrong { return wrong }
        if holdings[index].count > 0 { left.append(holdings[index]) } else { holdings[index].deallocateTable() }
      }
      holdings.deallocate()
    }
    for var holding in left {
      holding.freeAll(to: pool)
      if let wrong = holding.wrong { return wrong }
      holding.deallocateTable()
    }
    return nil
  }

  /// Its memory fits the group: it runs full, which is nil, and works again.
  private static func fillFixedPool() -> String? {
    var options = PoolOptions()
    options.backing = .fixed(size: liveBytes, locked: false, prefault: true)
    let pool: MemoryPoolPointer
    do { pool = try .create(options) } catch { return "cannot make a fixed pool: \(error)" }
    var holding = Holding(capacity: liveBytes / 1000, owner: 0)
    while holding.allocate(1000, from: pool) {}
    if holding.refusals != 1 || holding.byteCount < liveBytes / 2 {
      return "a fixed pool is full at \(holding.byteCount) bytes"
    }
    var random = SplitMix64(seed: 1)
    holding.freeAny(to: pool, &random)
    if !holding.allocate(1000, from: pool) { return "a full pool has no room for what was given back" }
    holding.freeAll(to: pool)
    if let wrong = holding.wrong { return "fixed pool: \(wrong)" }
    if !pool.checkInvariants() { return "a fixed pool's invariants do not hold" }
    pool.destroy()
    return nil
  }

  private static func lockTooMuch(_ group: MemoryGroup) -> String? {
    let what = "a locked pool that does not fit its control group"
    guard Sanitizer.current == .none else {
      print("\(OwnProcess.notRun)\(what): under a sanitizer nothing is locked")
      return nil
    }
    guard group.refuseInsteadOfKilling() else {
      print("\(OwnProcess.notRun)\(what): this kernel kills, and cannot be told to refuse")
      return nil
    }
    let before = group.usedBytes!
    var options = PoolOptions()
    options.backing = .fixed(size: 2 * limit, locked: true, prefault: true)
    if let pool = try? MemoryPoolPointer.create(options) {
      pool.destroy()
      return "twice the limit could be locked"
    }
    let kept = group.usedBytes! - before
    if Sanitizer.current != .thread && kept > 4 << 20 {
      return "\(kept) bytes are left of a locked pool that did not fit"
    }
    options.backing = .fixed(size: liveBytes / 4, locked: true, prefault: true)
    guard let pool = try? MemoryPoolPointer.create(options) else { return "a locked pool that fits cannot be made" }
    defer { pool.destroy() }
    return pool.allocate(1000) == nil ? "a locked pool has no room" : nil
  }
}
