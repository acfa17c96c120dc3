import Glibc

/// What the fuzzer and the replay of its corpus call: an input's first byte says which driver reads the rest in its low six bits, and
/// how hardened that one's pool is, if it is a pool of its own, in the two above. A new driver comes last, so that all inputs stay
/// what they are.
///
/// A driver makes calls as the input says, each of them one that a caller may make, and compares what comes of it with a plain
/// model. Nothing of it stays.
public enum Fuzz: UInt8, CaseIterable, Sendable {
  case poolInBuffer, densePool, fixedPool, elasticPool, sharedPool, cache, bitmap, hintedBitmap, environment, options
  case bufferPool, compact, region, book, malloc, passThroughPool, fallbackPool, swiftFace, objectPool, context

  private static let levelShift: UInt8 = 6

  /// Which driver reads an input that begins with this byte; nil if there is none.
  public init?(firstByte: UInt8) { self.init(rawValue: firstByte & (1 << Self.levelShift - 1)) }

  /// The level of hardening of a pool, 0…3, in an input that begins with this byte.
  public static func level(firstByte: UInt8) -> Int { Int(firstByte >> levelShift) }

  /// Which byte an input of this driver, for a pool of this level, begins with.
  public func firstByte(level: Int) -> UInt8 { rawValue | UInt8(level) << Self.levelShift }

  /// Whether the driver makes a pool of its own, of any level.
  public var hasLevels: Bool {
    switch self {
    case .poolInBuffer, .densePool, .fixedPool, .elasticPool: true
    default: false
    }
  }

  /// What came of an input.
  public enum Outcome: Equatable {
    case agreed
    case wrong(String)
    /// It is empty, or there is no such driver.
    case unread
  }

  public static func run(_ bytes: UnsafeBufferPointer<UInt8>) -> Outcome {
    guard let first = bytes.first, let driver = Fuzz(firstByte: first) else { return .unread }
    do {
      try driver.run(Input(UnsafeBufferPointer(rebasing: bytes.dropFirst())), level: level(firstByte: first))
      return .agreed
    } catch {
      return .wrong("\(driver): \(error)")
    }
  }

  private func run(_ input: Input, level: Int) throws {
    switch self {
    case .poolInBuffer, .densePool, .fixedPool, .elasticPool, .sharedPool, .passThroughPool, .fallbackPool:
      try PoolDriver.run(input, self, level: hasLevels ? level : 0)
    case .cache: try CacheDriver.run(input)
    case .bitmap: try BitmapDriver.run(input)
    case .hintedBitmap: try HintedBitmapDriver.run(input)
    case .environment: try EnvironmentDriver.run(input)
    case .options: try OptionsDriver.run(input)
    case .bufferPool: try BufferPoolDriver.run(input)
    case .compact: try CompactDriver.run(input)
    case .region: try RegionDriver.run(input)
    case .book: try BookDriver.run(input)
    case .malloc: try MallocDriver.run(input)
    case .swiftFace: try SwiftFaceDriver.run(input)
    case .objectPool: try ObjectPoolDriver.run(input)
    case .context: try ContextDriver.run(input)
    }
  }
}

// The only driver whose inputs are read, if the environment names one.
private let only: Fuzz? = {
  guard let name = getenv("MEMPOOL_FUZZ_DRIVER").map({ String(cString: $0) }), !name.isEmpty else { return nil }
  guard let driver = Fuzz.allCases.first(where: { "\($0)" == name }) else { fatalError("no driver: \(name)") }
  return driver
}()

/// The name under which libFuzzer looks for it. An input that it answers with -1 is not kept.
@c(LLVMFuzzerTestOneInput)
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  if let only, let bytes, count > 0, Fuzz(firstByte: bytes[0]) != only { return -1 }
  return switch Fuzz.run(UnsafeBufferPointer(start: bytes, count: count)) {
  case .agreed: 0
  case .unread: -1
  case .wrong(let what): fatalError(what)
  }
}
