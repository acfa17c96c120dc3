import CMempoolShims

/// How much a pool does against misuse beyond what every pool does. Each level does what those below it do, too, and costs more:
/// docs/hardening.md has what each finds, and what it costs.
public enum Hardening: UInt, Sendable {
  case off = 0
  /// What is given back is zeroed, and must still be zero when it is handed out again; the first item of a slab is a random
  /// one; the size that was asked for is kept.
  case zeroing = 1
  /// The bytes behind an object are checked, and what is given back waits in a ``Quarantine``.
  case canaries = 2
  /// Large objects lie between pages that nobody may access, and such a page follows each slab.
  case guards = 3

  var hasCanaries: Bool { rawValue >= Self.canaries.rawValue }

  /// A number that looks like any other to who does not know `secret`.
  static func scramble(_ secret: UInt, _ value: UInt) -> UInt {
    var word = UInt64(secret ^ value)
    word = (word ^ word &>> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word &>> 27) &* 0x94d0_49bb_1331_11eb
    return UInt(truncatingIfNeeded: word ^ word &>> 31)
  }
}
