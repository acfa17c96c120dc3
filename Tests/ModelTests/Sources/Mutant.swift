import ModelMachine

/// A small, named change of the engine, made in the copy that is checked: see the folder `Mutants`.
struct Mutant: Sendable {
  let number: Int32
  let name: String
  let what: String
  /// It cannot be noticed, and must not be.
  let isHarmless: Bool
  /// Where it is looked for first.
  let scenarios: [String]
  /// One of these is in what is wrong when it is noticed. What is noticed for another reason was not looked for, and may be no fault of
  /// this kind.
  let shows: [String]

  static func named(_ name: String) -> Mutant? { mutants.first { $0.name == name } }
}

/// An atomic operation of the engine's that is not relaxed.
struct OrderedOperation: Sendable {
  let number: Int32
  /// Its file, its function, and what it is.
  let place: String

  /// The parts of its order, each of which it may lack.
  var parts: [(name: String, order: mp_order)] {
    let operation = place.split(separator: " ").last { $0.first != "(" }!
    var parts: [(String, mp_order)] = []
    if operation.contains("Acquire") { parts.append(("acquire", MP_ACQUIRE)) }
    if operation.contains("Release") { parts.append(("release", MP_RELEASE)) }
    return parts
  }
}
