import CMempoolShims

/// The environment as this process read it, once: a record in static memory, complete from the first call on.
///
/// Any thread. Whoever comes first reads while it holds the lock; nobody allocates. Key paths do not compile in Embedded
/// Swift, so the record says at which word of itself each part lives.
enum EnvironmentRecord {
  // 1: the settings are complete and do not change any more.
  static var ready: AtomicPointer { AtomicPointer(start.assumingMemoryBound(to: UInt.self), word: 0) }
  static var lock: MutexPointer { (start + wordSize).assumingMemoryBound(to: Mutex.self) }
  static var settings: UnsafeMutablePointer<EnvironmentSettings> {
    (start + 2 * wordSize).assumingMemoryBound(to: EnvironmentSettings.self)
  }

  static var byteCount: Int { 2 * wordSize + MemoryLayout<EnvironmentSettings>.size }

  private static var start: UnsafeMutableRawPointer { mp_environment_address() }
  private static var wordSize: Int { MemoryLayout<UInt>.size }
}

extension EnvironmentSettings {
  /// The settings that this process runs with, read on the first call.
  public static var process: UnsafePointer<EnvironmentSettings> {
    if EnvironmentRecord.ready.loadAcquire() == 0 {  // acquire: pairs with the release in readOnce()
      readOnce()
    }
    return UnsafePointer(EnvironmentRecord.settings)
  }

  private static func readOnce() {
    EnvironmentRecord.lock.withLock {
      guard EnvironmentRecord.ready.loadRelaxed() == 0 else { return }
      let settings = EnvironmentSettings.read()
      if settings.statisticsFormat != nil, settings.statisticsPath.isEmpty { mp_error_output_keep() }
      EnvironmentRecord.settings.initialize(to: settings)
      EnvironmentRecord.ready.storeRelease(1)  // release: pairs with the acquire in process
    }
  }
}
