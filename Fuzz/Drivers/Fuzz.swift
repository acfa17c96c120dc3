/// What the fuzzer and the replay of its corpus call: an input's first byte says which driver reads the rest, and, for a pool of its
/// own, how hardened that is.
///
/// A driver makes calls as the input says, each of them one that a caller may make, and compares what comes of it with a plain
/// model. Nothing of it stays.
public enum Fuzz: UInt8, CaseIterable, Sendable {
  case poolInBuffer, densePool, fixedPool, elasticPool, sharedPool, cache, bitmap, hintedBitmap, environment, options
  case bufferPool, compact, objectPool, region, book

  /// Which driver reads an input that begins with this byte.
  public init(firstByte: UInt8) { self = Self.allCases[Int(firstByte) % Self.allCases.count] }

  /// The level of hardening of a pool, 0…3, in an input that begins with this byte.
  public static func level(firstByte: UInt8) -> Int { Int(firstByte) / allCases.count % 4 }

  /// Which byte an input of this driver, for a pool of this level, begins with.
  public func firstByte(level: Int) -> UInt8 { UInt8(Int(rawValue) + level * Self.allCases.count) }

  /// Whether the driver makes a pool of its own, of any level.
  public var hasLevels: Bool {
    switch self {
    case .poolInBuffer, .densePool, .fixedPool, .elasticPool: true
    default: false
    }
  }

  /// Nil, or what was wrong.
  public static func run(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    guard let first = bytes.first else { return nil }
    let driver = Fuzz(firstByte: first)
    do {
      try driver.run(Input(UnsafeBufferPointer(rebasing: bytes.dropFirst())), level: level(firstByte: first))
      return nil
    } catch {
      return "\(driver): \(error)"
    }
  }

  private func run(_ input: Input, level: Int) throws {
    switch self {
    case .poolInBuffer, .densePool, .fixedPool, .elasticPool, .sharedPool:
      try PoolDriver.run(input, self, level: hasLevels ? level : 0)
    case .cache: try CacheDriver.run(input)
    case .bitmap: try BitmapDriver.run(input)
    case .hintedBitmap: try HintedBitmapDriver.run(input)
    case .environment: try EnvironmentDriver.run(input)
    case .options: try OptionsDriver.run(input)
    case .region: try RegionDriver.run(input)
    case .book: try BookDriver.run(input)
    case .bufferPool: try BufferPoolDriver.run(input)
    case .compact: try CompactDriver.run(input)
    case .objectPool: try ObjectPoolDriver.run(input)
    }
  }
}

/// The name under which libFuzzer looks for it.
@c(LLVMFuzzerTestOneInput)
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  if let wrong = Fuzz.run(UnsafeBufferPointer(start: bytes, count: count)) { fatalError(wrong) }
  return 0
}
