import CMempoolShims

extension ObjectPools {
  private enum Sweeper {
    static var none: UInt { 0 }
    static var running: UInt { 1 }
    static var stopping: UInt { 2 }
  }

  /// Whether there is a thread that sweeps.
  public static var hasSweeper: Bool { sweeperState.loadRelaxed() != Sweeper.none }

  /// Starts a thread that sweeps all pools every so often, or changes how often it does; with 0 stops it, and returns when it
  /// has ended. There is none before. False: no thread could be started. Any thread but the sweeper.
  ///
  /// What it gives back to the system is what nobody needed since it last looked; the rest may be needed again. A child
  /// process made by a fork has no sweeper.
  public static func sweep(every milliseconds: UInt) -> Bool {
    while true {
      let state = sweeperState.loadAcquire()  // acquire: pairs with the release at the end of run()
      switch (state, milliseconds) {
      case (Sweeper.none, 0): return true
      case (Sweeper.none, _):
        sweeperPeriod.storeRelaxed(min(milliseconds, 86_400_000))
        guard sweeperState.compareAndSwapRelaxed(Sweeper.none, Sweeper.running) == Sweeper.none else { continue }
        guard register(), mp_background_start({ ObjectPools.run() }) == 0 else {
          sweeperState.storeRelaxed(Sweeper.none)
          return false
        }
        return true
      case (Sweeper.running, 0):
        if sweeperState.compareAndSwapRelaxed(Sweeper.running, Sweeper.stopping) == Sweeper.running {
          mp_futex_wake(sweeperState.word, .max)
        }
      case (Sweeper.running, _):
        sweeperPeriod.storeRelaxed(min(milliseconds, 86_400_000))
        return true
      default:
        mp_futex_wait(sweeperState.word, Sweeper.stopping)
      }
    }
  }

  private static func run() {
    while sweeperState.loadRelaxed() == Sweeper.running {
      let start = mp_clock_nanoseconds()
      while sweeperState.loadRelaxed() == Sweeper.running {
        let passed = mp_clock_nanoseconds() - start, period = UInt64(sweeperPeriod.loadRelaxed()) * 1_000_000
        if passed >= period { break }
        // A new period is noticed within a second.
        mp_futex_wait_for(sweeperState.word, Sweeper.running, min(period - passed, 1_000_000_000))
      }
      if sweeperState.loadRelaxed() == Sweeper.running { sweepGently() }
    }
    sweeperState.storeRelease(Sweeper.none)  // release: pairs with the acquire in sweep(every:)
    mp_futex_wake(sweeperState.word, .max)
  }

  private static func sweepGently() {
    destroyOrphans()
    // Under the lock: a pool that is being destroyed is out of the list.
    forEach { pool in
      pool.giveBackLeases()
      if pool.passesThrough { return }
      pool.pointee.memory.segments.first { segment in
        segment.purgeUnneeded()
        return false
      }
    }
  }
}
