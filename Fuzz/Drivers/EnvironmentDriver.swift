import MempoolCore

/// Values of the environment, of each kind and with any bounds, against a reader that does it the long way.
struct EnvironmentDriver {
  static func run(_ input: Input) throws {
    var input = input
    let kind: EnvironmentVariable.Kind
    var words: [String] = []
    var minimum: UInt = 0, maximum = UInt(Int.max)
    switch input.below(6) {
    case 0, 1:
      minimum = input.size()
      maximum = input.size()
      kind = .number(minimum: minimum, maximum: maximum)
    case 2, 3:
      minimum = input.size()
      kind = .size(minimum: minimum)
    case 4:
      words = ["fail", "abort", "system"]
      kind = .choice("fail|abort|system")
    default:
      words = ["0", "1", "text", "json"]
      kind = .choice("0|1|text|json")
    }
    let text = input.text()
    let found = text.withUnsafeBufferPointer { EnvironmentValue(kind, $0.baseAddress!) }
    let bytes = text.dropLast()
    let expected =
      words.isEmpty ? number(bytes, kind, minimum, maximum) : choice(String(decoding: bytes, as: UTF8.self), words)
    try demand(found == expected, "\(bytes) is \(found), and should be \(expected)")
  }

  private static func choice(_ text: String, _ words: [String]) -> EnvironmentValue {
    words.firstIndex(of: text).map { .value(UInt($0)) } ?? .unreadable(.notAmongChoices)
  }

  private static func number(
    _ text: ArraySlice<UInt8>, _ kind: EnvironmentVariable.Kind, _ minimum: UInt, _ maximum: UInt
  ) -> EnvironmentValue {
    var isSize = false
    if case .size = kind { isSize = true }
    let digits = text.prefix { (48...57).contains($0) }, rest = text.dropFirst(digits.count)
    if digits.isEmpty { return .unreadable(isSize ? .notASize : .notANumber) }
    // Of what is both too large and followed by something else, the size is told.
    guard let value = UInt(String(decoding: digits, as: UTF8.self)) else { return .unreadable(.tooLarge) }
    var result = value
    if isSize, let unit = rest.first {
      let units = "kmgt", letter = Character(UnicodeScalar(unit)).lowercased()
      guard let place = units.firstIndex(of: Character(letter)) else { return .unreadable(.notASize) }
      let power = 10 * (units.distance(from: units.startIndex, to: place) + 1)
      let (high, low) = value.multipliedFullWidth(by: 1 << UInt(power))
      if high != 0 { return .unreadable(.tooLarge) }
      if rest.count > 1 { return .unreadable(.notASize) }
      result = low
    } else if !rest.isEmpty {
      return .unreadable(.notANumber)
    }
    if isSize, result == 0 { return .value(0) }
    if result < minimum { return .unreadable(.tooSmall) }
    return result > maximum ? .unreadable(.tooLarge) : .value(result)
  }
}
