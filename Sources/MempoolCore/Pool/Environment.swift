import CMempoolShims

/// What the environment says about the shared pool: every variable of ``EnvironmentVariable``, read and checked.
///
/// A plain value of about 1.1 KiB. Reading it does not allocate. A value that cannot be read costs one warning line on standard
/// error, `mempool: MPMAXRETRIES="abc": not a whole number; using 3`, and the default is used.
public struct EnvironmentSettings: Sendable {
  /// Passes that a claim makes over a full bitmap beyond the first.
  public private(set) var maxRetries: UInt = 0
  /// Nanoseconds that it sleeps before each.
  public private(set) var waitNanoseconds: UInt = 0
  /// Bytes of address space of an elastic reservation; 0: the segment chooses.
  public private(set) var reserveByteCount: UInt = 0
  /// Bytes of a fixed segment; 0: elastic.
  public private(set) var fixedByteCount: UInt = 0
  public private(set) var isLocked = false
  public private(set) var isPrefaulted = false
  public private(set) var exhaustion = PoolOptions.Exhaustion.fail
  public private(set) var smallObjects = PoolOptions.SmallObjects.classes
  public private(set) var hardening = Hardening.off
  public private(set) var purgeDelayMilliseconds: UInt = 0
  /// Whether there may be a thread that returns idle pages.
  public private(set) var hasPurgeThread = true
  /// One small allocation in so many is put between guard pages; 0: none.
  public private(set) var guardSampleInterval: UInt = 0
  /// How many of these may be live at once.
  public private(set) var guardSlotCount: UInt = 0
  /// How the statistics are written when the process exits; nil: not at all.
  public private(set) var statisticsFormat: StatisticsFormat?
  /// Where they go then; empty: standard error.
  public private(set) var statisticsPath = StatisticsPath()
  /// The process that writes them; 0: every one.
  public private(set) var statisticsProcess: UInt = 0
  // Bit `rawValue` of each variable that had a readable value.
  private var given: UInt = 0

  /// What holds when no variable is set.
  public init() {
    for index in 0..<EnvironmentVariable.count { setStandard(EnvironmentVariable(rawValue: index).unsafelyUnwrapped) }
  }

  /// Reads the environment, as it is now, through `secure_getenv`: a program that runs with more rights than its user
  /// gets the defaults. Warns of what it cannot read.
  public static func read() -> EnvironmentSettings {
    var settings = EnvironmentSettings()
    for index in 0..<EnvironmentVariable.count {
      let variable = EnvironmentVariable(rawValue: index).unsafelyUnwrapped
      let name = UnsafeRawPointer(variable.row.name.utf8Start).assumingMemoryBound(to: CChar.self)
      guard let text = mp_environment(name), text.pointee != 0 else { continue }
      if let problem = settings.set(variable, UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self)) {
        Self.warn(variable.row, text, problem)
      }
    }
    return settings
  }

  /// Whether `variable` had a readable value, be it the default's.
  public func isGiven(_ variable: EnvironmentVariable) -> Bool { given >> variable.rawValue & 1 != 0 }

  /// How the shared pool is made.
  public var poolOptions: PoolOptions {
    var options = PoolOptions()
    options.backing =
      fixedByteCount != 0
      ? .fixed(size: Int(fixedByteCount), locked: isLocked, prefault: isPrefaulted)
      : .elastic(reserve: Int(reserveByteCount))
    options.exhaustion = exhaustion
    options.smallObjects = smallObjects
    options.hardening = hardening
    options.maxRetries = maxRetries
    options.waitNanoseconds = waitNanoseconds
    options.purgeDelayMilliseconds = purgeDelayMilliseconds
    return options
  }

  /// Takes over a variable's text, or says what is wrong with it and changes nothing.
  mutating func set(_ variable: EnvironmentVariable, _ text: UnsafePointer<UInt8>) -> EnvironmentProblem? {
    switch EnvironmentValue(variable.row.kind, text) {
    case .unreadable(let problem):
      return problem
    case .value(let value):
      if variable != .statisticsFile {
        assign(variable, value)
      } else if !statisticsPath.set(text) {
        return .tooLong
      }
      given |= 1 << variable.rawValue
      return nil
    }
  }

  private mutating func setStandard(_ variable: EnvironmentVariable) {
    if case .value(let value) = EnvironmentValue(variable.row.kind, variable.row.standard.utf8Start) {
      assign(variable, value)
    }
  }

  private mutating func assign(_ variable: EnvironmentVariable, _ value: UInt) {
    switch variable {
    case .maxRetries: maxRetries = value
    case .waitTime: waitNanoseconds = value
    case .reserve: reserveByteCount = value
    case .fixed: fixedByteCount = value
    case .lock: isLocked = value == 1
    case .prefault: isPrefaulted = value == 1
    case .exhaustion: exhaustion = PoolOptions.Exhaustion(rawValue: value).unsafelyUnwrapped
    case .small: smallObjects = PoolOptions.SmallObjects(rawValue: value).unsafelyUnwrapped
    case .harden: hardening = Hardening(rawValue: value).unsafelyUnwrapped
    case .purgeDelay: purgeDelayMilliseconds = value
    case .purgeThread: hasPurgeThread = value == 1
    case .guardSample: guardSampleInterval = value
    case .guardSlots: guardSlotCount = value
    case .showStatistics: statisticsFormat = value == 0 ? nil : value == 3 ? .json : .text
    case .statisticsFile: break
    case .statisticsProcess: statisticsProcess = value
    }
  }

  private static func warn(
    _ row: EnvironmentVariable.Row, _ text: UnsafePointer<CChar>, _ problem: EnvironmentProblem
  ) {
    var line = ReportLine()
    line.append(row.name)
    line.append("=\"")
    line.append(cString: text, atMost: 40)
    line.append("\": ")
    problem.append(to: &line, row.kind)
    line.append("; using ")
    if row.standard.utf8CodeUnitCount > 0 { line.append(row.standard) } else { line.append("standard error") }
    line.write()
  }
}

/// How statistics are written.
public enum StatisticsFormat: Sendable { case text, json }

extension ReportLine {
  /// The first bytes of a string that somebody else owns, control characters as `?`, and `...` when there are more.
  fileprivate mutating func append(cString: UnsafePointer<CChar>, atMost limit: Int) {
    var index = 0
    while index < limit, cString[index] != 0 {
      let byte = UInt8(bitPattern: cString[index])
      append(byte < 32 || byte == 127 ? UInt8(ascii: "?") : byte)
      index += 1
    }
    if cString[index] != 0 { append("...") }
  }
}
