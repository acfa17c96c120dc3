/// What a run counts beside what it does. A type, not a flag: what is off is not compiled.
package protocol Tally: Sendable {
  static var counts: Bool { get }
  static var checksOwners: Bool { get }
}

/// Nothing but operations and failures.
package enum NoTally: Tally {
  @inlinable package static var counts: Bool { false }
  @inlinable package static var checksOwners: Bool { false }
}

/// Everything in ``ClaimCounters``.
package enum FullTally: Tally {
  @inlinable package static var counts: Bool { true }
  @inlinable package static var checksOwners: Bool { false }
}

/// The same, and that an item has one owner at a time. For tests: the check takes more time than the claim.
package enum CheckedTally: Tally {
  @inlinable package static var counts: Bool { true }
  @inlinable package static var checksOwners: Bool { true }
}
