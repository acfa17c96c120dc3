import ModelMachine

/// A small, named change of the engine, made in the copy that is checked: see the file `mutants`.
struct Mutant: Sendable {
  let number: Int32
  let name: String
  let what: String
  /// It cannot be noticed, and must not be.
  let isHarmless: Bool
  /// Where it is looked for first.
  let scenarios: [String]

  static func named(_ name: String) -> Mutant? { mutants.first { $0.name == name } }
}

/// An atomic operation of the engine's that is not relaxed.
struct OrderedOperation: Sendable {
  let number: Int32
  let file: String
  let operation: String

  /// The parts of its order, each of which it may lack.
  var parts: [(name: String, order: mp_order)] {
    var parts: [(String, mp_order)] = []
    if operation.contains("Acquire") { parts.append(("acquire", MP_ACQUIRE)) }
    if operation.contains("Release") { parts.append(("release", MP_RELEASE)) }
    return parts
  }
}
