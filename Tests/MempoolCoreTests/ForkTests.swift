import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// What a fork finds half done. Each test forks in a process of its own: the locks are those of all its pools.
@Suite struct ForkTests {
  /// Forked inside a call that holds locks: these stay held, in the parent and in the child, and all others are free.
  @Test func locksOfTheForkingThreadStayHeld() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let test = try TestPool(.elastic)
        let pool = test.pool
        let held = [pool.segments.mutex, pool.spans.mutex, pool.pointee.first.growth]
        for mutex in held { mutex.lock() }
        func isAsBefore() -> Bool {
          guard held.allSatisfy({ $0.isHeldByThisThread }) else { return false }
          for mutex in held {
            mutex.unlock()
            guard mutex.tryLock() else { return false }
            mutex.unlock()
          }
          let others = [Process.lock, pool.registry.creation, pool.registry.lateLock, pool.pointee.first.arena.mutex]
          for mutex in others + held {
            guard mutex.tryLock() else { return false }
            mutex.unlock()
          }
          return Forks.canAllocate(pool)
        }
        let status = Forks.child { isAsBefore() ? 0 : 1 }
        guard isAsBefore() else { throw Broken(description: "the parent's locks are not as before") }
        try demand(status == 0, "the child's locks are not as before: status \(status)")
      }
    }
  }

  /// Other fork handlers run while all locks are taken, and may allocate: whatever that needs.
  @Test func handlersMayAllocateBetweenTheHandlers() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let test = try TestPool(.elastic)
        alarm(20)  // else it waits for ever
        Process.prepareFork()
        let didAllocate = Forks.canAllocate(test.pool)
        let found = Shared(test.pool.spans.mutex)
        let findings = Findings()
        TestThread.run { if found.value.tryLock() { findings.report("free to others") } }
        Process.forkedParent()
        try demand(didAllocate, "no memory between the handlers")
        try demand(findings.all == [], "a lock was given back too early")
        try demand(test.pool.spans.mutex.tryLock(), "a lock stayed taken")
        test.pool.spans.mutex.unlock()
        try demand(Forks.canAllocate(test.pool) && test.pool.checkInvariants(), "broken")
      }
    }
  }

  /// A heap that the late heap had adopted is abandoned in the child, as all others are: nobody else may still allocate from it.
  @Test func whatTheLateHeapAdopted() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let test = try TestPool(.elastic)
        let pool = Shared(test.pool), findings = Findings()
        TestThread.run {
          if pool.value.allocate(3_000) == nil { findings.report("no memory") }
        }
        TestThread.run {
          // As past its exit handlers.
          threadBlock().pointee.state = UInt(MP_THREAD_DEAD)
          if pool.value.allocate(3_000) == nil { findings.report("no memory past the exit handlers") }
        }
        try demand(findings.all == [], "\(findings.all)")
        try demand(test.pool.registry.late.pointee.nextOwned != nil, "the late heap has not adopted the first thread's")
        let status = Forks.child {
          guard test.pool.registry.late.pointee.nextOwned == nil else { return 1 }
          return test.pool.checkInvariants() && Forks.canAllocate(test.pool) ? 0 : 2
        }
        try demand(status == 0, "the child: status \(status)")
      }
    }
  }

  /// What a full pool took from the system: the child knows of it, and has the lock over it.
  @Test func fallbacks() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let test = try TestPool(.fixed) {
          $0.backing = .fixed(size: 2 << 20, locked: false, prefault: false)
          $0.exhaustion = .system
          $0.maxRetries = 0
        }
        let pool = test.pool
        let objects = (0..<1000).map { _ in pool.allocate(5_000) }
        try demand(pool.fallbackSet.pointee.live > 100, "not full")
        let status = Forks.child {
          for object in objects { pool.deallocate(object) }
          return pool.fallbackSet.pointee.live == 0 && pool.fallbackSet.mutex.tryLock() ? 0 : 1
        }
        try demand(status == 0, "status \(status)")
        try demand(pool.fallbackSet.pointee.live > 100, "the child's frees were seen here")
        Process.prepareFork()
        try demand(pool.fallbackSet.mutex.isHeldByThisThread, "not among the locks of a fork")
        Process.forkedParent()
        try demand(!pool.fallbackSet.mutex.isHeldByThisThread, "kept")
      }
    }
  }

  /// Forked while another thread starts the shared pool, and holds locks over it: the child starts it itself.
  @Test func aStartThatStayedInTheParent() async {
    await #expect(processExitsWith: .success) {
      try Forks.inside {
        let shared = MemoryPoolPointer.shared
        try demand(shared.state.loadRelaxed() == MemoryPool.State.new, "started already")
        // A thread that has come as far as entering the pool into the list of pools.
        TestThread.run {
          Process.enter(MemoryPoolPointer.shared)
          Process.lock.lock()
          EnvironmentRecord.lock.lock()
        }
        shared.state.storeRelaxed(MemoryPool.State.starting | mp_process_id() << MemoryPool.State.processShift)
        let status = Forks.child {
          guard Forks.canAllocate(shared), shared.checkInvariants() else { return 1 }
          // And its own child has what it has.
          return Forks.child { Forks.canAllocate(shared) ? 0 : 2 }
        }
        try demand(status == 0, "the child: status \(status)")
      }
    }
  }
}

/// For tests that fork.
enum Forks {
  // Swift does not import it.
  private static let fork = unsafeBitCast(dlsym(nil, "fork"), to: (@convention(c) () -> pid_t).self)

  /// An error thrown by an exit test's body ends its process without a word to the parent; a recorded issue gets there.
  static func inside(_ body: () throws -> Void) throws {
    do { try body() } catch { Issue.record("\(error)") }
  }

  /// The exit status of a child that runs `body`; negative when it did not come to an end.
  static func child(_ body: () -> Int32) -> Int32 {
    let fork = fork
    let child = fork()
    if child == 0 {
      // The runner's threads block signals, and a child would wait for ever with what it inherits.
      var none = sigset_t()
      sigemptyset(&none)
      pthread_sigmask(SIG_SETMASK, &none, nil)
      alarm(20)
      _exit(body())
    }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    return status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
  }

  /// Items, runs, more pages than there are, a further record, a span.
  static func canAllocate(_ pool: MemoryPoolPointer) -> Bool {
    for size in [16, 100, 3_000, 9_000, 200_000, 900_000, 3 << 20, 33 << 20] {
      for _ in 0..<10 {
        guard let pointer = pool.allocate(UInt(size)) else { return false }
        pointer.storeBytes(of: 1, as: UInt8.self)
        if size > 1_000_000 { pool.deallocate(pointer) }
      }
    }
    return pool.pointee.first.allocateMetadata(100_000) != nil
  }
}
