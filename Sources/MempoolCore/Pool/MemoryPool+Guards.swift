import CMempoolShims

// Sampled guards: one small allocation in N of the shared pool gets a page of its own. While they are on, threads' blocks name the
// empty heap as the one to allocate from, so that each allocation takes the slow path, where a count goes down. Frees take
// their usual way, by the block's other word.

extension UnsafeMutablePointer where Pointee == MemoryPool {
  /// Starts what `MEMPOOL_GUARD_SAMPLE` asks for, if it does. Once, with the pool ready, when the caller holds no lock and the loader
  /// is at rest: this loads the unwinder, and may allocate. Threads that have a heap by then are not sampled, but the caller.
  public func startGuards() {
    let settings = EnvironmentSettings.process.pointee
    let region = GuardRegionPointer.process
    guard settings.guardSampleInterval != 0, start() else { return }
    if isHardened { return ignore() }
    let saved = mp_errno_get()
    guard region.start(slotCount: settings.guardSlotCount),
      mp_faults_watch({ GuardRegionPointer.process.report(faultAt: $0, access: $1) ? 1 : 0 }) == 0
    else {
      ignore(errno: mp_errno_get())
      return mp_errno_set(saved)
    }
    Backtrace.loadUnwinder()
    region.turnOn(settings.guardSampleInterval)
    let block = threadBlock()
    if block.pointee.state == UInt(MP_THREAD_LIVE) { startSampling(block) }
    mp_errno_set(saved)
  }

  // A hardened pool looks after all of its objects.
  private func ignore(errno: Int32? = nil) {
    var line = ReportLine()
    line.append("MEMPOOL_GUARD_SAMPLE=\"")
    line.append(decimal: EnvironmentSettings.process.pointee.guardSampleInterval)
    if let errno {
      line.append("\": the system refuses it (errno ")
      line.append(decimal: UInt(errno))
      line.append("); using 0")
    } else {
      line.append("\": not beside MEMPOOL_HARDEN; using 0")
    }
    line.write()
  }

  /// From now on samples what this thread allocates, if guards are on. It has just got its heap.
  func startSampling(_ block: ThreadBlock) {
    let region = GuardRegionPointer.process
    guard region.isOn else { return }
    block.pointee.guard_countdown = region.firstGap
    block.pointee.heap = UInt(bitPattern: mp_empty_heap_address())
  }

  /// A thread's first small object, which may be sampled like any other.
  @inline(never)
  func allocateFirst(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    _ = threadHeap()
    let block = threadBlock()
    if block.pointee.guard_countdown == 1 { return allocateGuarded(byteCount, call) }
    if block.pointee.guard_countdown > 1 { block.pointee.guard_countdown -= 1 }
    return allocateSmall(byteCount, SizeClass.index(byteCount))
  }

  /// A small object whose turn it is: on a page of its own, if there is one.
  @inline(never)
  func allocateGuarded(_ byteCount: UInt, _ call: StaticString) -> UnsafeMutableRawPointer? {
    let region = GuardRegionPointer.process, block = threadBlock()
    // What the unwinder might allocate is not sampled.
    block.pointee.guard_countdown = UInt.max
    let pointer = region.allocate(byteCount)
    block.pointee.guard_countdown = region.gap
    guard let pointer else { return allocateSlow(byteCount, call) }
    block.realHeapRecord.assumingMemoryBound(to: ThreadHeap.self).requested.addUnshared(byteCount)
    return pointer
  }
}
