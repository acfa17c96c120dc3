import Testing

/// A check for inner loops, where `#expect` would cost more than what it checks. Fails the test and ends it.
struct Broken: Error, CustomStringConvertible {
  let description: String
}

@inline(__always)
func demand(_ isTrue: Bool, _ what: @autoclosure () -> String) throws {
  if !isTrue { throw Broken(description: what()) }
}
