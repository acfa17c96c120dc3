/// What became of one variable's text.
public enum EnvironmentValue: Equatable, Sendable {
  case value(UInt)
  /// What is wrong, as the warning says it.
  case unreadable(EnvironmentProblem)

  /// Reads `text` as a value of this kind. Paths are not numbers; they have ``StatisticsPath``.
  public init(_ kind: EnvironmentVariable.Kind, _ text: UnsafePointer<UInt8>) {
    switch kind {
    case .number(let minimum, let maximum):
      self = Self.number(text, suffixes: false).within(minimum, maximum, orZero: false)
    case .size(let minimum):
      self = Self.number(text, suffixes: true).within(minimum, UInt(Int.max), orZero: true)
    case .choice(let words):
      self = Self.choice(text, among: words)
    case .path:
      self = .value(0)
    }
  }

  private static func number(_ text: UnsafePointer<UInt8>, suffixes: Bool) -> EnvironmentValue {
    var next = text
    var value: UInt = 0
    while case let digit = next.pointee &- UInt8(ascii: "0"), digit < 10 {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt(digit))
      if overflow || carry { return .unreadable(.tooLarge) }
      value = sum
      next += 1
    }
    if next == text { return .unreadable(suffixes ? .notASize : .notANumber) }
    if suffixes, next.pointee != 0 {
      var shift: UInt = 0
      switch next.pointee | 0x20 {
      case UInt8(ascii: "k"): shift = 10
      case UInt8(ascii: "m"): shift = 20
      case UInt8(ascii: "g"): shift = 30
      case UInt8(ascii: "t"): shift = 40
      default: return .unreadable(.notASize)
      }
      next += 1
      if value.leadingZeroBitCount < shift { return .unreadable(.tooLarge) }
      value <<= shift
    }
    return next.pointee == 0 ? .value(value) : .unreadable(suffixes ? .notASize : .notANumber)
  }

  private func within(_ minimum: UInt, _ maximum: UInt, orZero: Bool) -> EnvironmentValue {
    guard case .value(let value) = self, !(orZero && value == 0) else { return self }
    if value < minimum { return .unreadable(.tooSmall) }
    return value > maximum ? .unreadable(.tooLarge) : self
  }

  private static func choice(_ text: UnsafePointer<UInt8>, among words: StaticString) -> EnvironmentValue {
    var place: UInt = 0
    var start = words.utf8Start
    let end = start + words.utf8CodeUnitCount
    while start < end {
      var next = start
      var candidate = text
      while next < end, next.pointee != UInt8(ascii: "|"), next.pointee == candidate.pointee {
        next += 1
        candidate += 1
      }
      if candidate.pointee == 0, next == end || next.pointee == UInt8(ascii: "|") { return .value(place) }
      while next < end, next.pointee != UInt8(ascii: "|") { next += 1 }
      start = next + 1
      place += 1
    }
    return .unreadable(.notAmongChoices)
  }
}

/// Why a text is not a value.
public enum EnvironmentProblem: Equatable, Sendable {
  case notANumber, notASize, tooSmall, tooLarge, notAmongChoices, tooLong

  /// The end of the warning line, up to the default.
  func append(to line: inout ReportLine, _ kind: EnvironmentVariable.Kind) {
    switch self {
    case .notANumber: line.append("not a whole number")
    case .notASize: line.append("not a size (a whole number of bytes, or one with K, M, G or T)")
    case .tooSmall: line.append("too small; at least ")
    case .tooLarge: line.append("too large; at most ")
    case .notAmongChoices: line.append("not one of ")
    case .tooLong: line.append("too long")
    }
    switch (self, kind) {
    case (.tooSmall, .number(let minimum, _)), (.tooSmall, .size(let minimum)): line.append(decimal: minimum)
    case (.tooLarge, .number(_, let maximum)): line.append(decimal: maximum)
    case (.tooLarge, _): line.append(decimal: UInt(Int.max))
    case (.notAmongChoices, .choice(let words)): line.append(words)
    default: break
    }
  }
}
