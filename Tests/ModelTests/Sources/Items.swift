import ModelMachine

/// What threads hold, by its address: nobody gets what somebody else has, and what its last user wrote has arrived.
enum Items {
  private struct Item {
    var owner: Int32
    var mark: UInt
  }

  nonisolated(unsafe) private static var held: [UInt: Item] = [:]
  nonisolated(unsafe) private static var start: [UInt: Item] = [:]
  nonisolated(unsafe) private static var marks: UInt = 0
  /// Taken or given back in this run.
  nonisolated(unsafe) private(set) static var touched: [UInt] = []
  /// What each thread has given back last, and not yet put where it goes; 0: nothing.
  nonisolated(unsafe) static var given = [UInt](repeating: 0, count: Int(MP_MODEL_THREADS))

  /// Forgets all; before a scenario is set up.
  static func clear() {
    held = [:]
    start = [:]
    marks = 0
  }

  /// Each run starts with what was taken during set-up.
  static func keep() { start = held }
  static func reset() {
    held = start
    touched.removeAll(keepingCapacity: true)
    for thread in given.indices { given[thread] = 0 }
  }

  static var count: Int { held.count }

  static func isHeld(_ address: UInt) -> Bool { held[address] != nil }

  /// What is wrong with what is held, of the items that this run has touched: the others can have changed no place.
  static func first(where fault: (UInt) -> String?) -> String? {
    for address in touched where held[address] != nil {
      if let what = fault(address) { return "\(Names.of(address)) \(what)" }
    }
    return nil
  }

  /// A thread has got what lies at `address`, and uses it. `writes`: it may be written to, as memory that nobody else has.
  static func take(_ address: UInt, writes: Bool = true) {
    if held[address] != nil { mp_model_fail("two have the same") }
    marks += 1
    held[address] = Item(owner: mp_model_thread(), mark: marks)
    touched.append(address)
    mp_model_note("has %", address)
    if writes { mp_model_write(UnsafeMutableRawPointer(bitPattern: address)!, marks) }
  }

  /// It is about to give it back.
  static func give(_ address: UInt, writes: Bool = true) {
    guard let item = held.removeValue(forKey: address) else { mp_model_fail("gives back what it has not") }
    touched.append(address)
    if mp_model_thread() >= 0 { given[Int(mp_model_thread())] = address }
    mp_model_note("gives back %", address)
    if writes, mp_model_read(UnsafeRawPointer(bitPattern: address)!) != item.mark {
      mp_model_fail("what it held has changed")
    }
  }

  /// What is wrong at the end of a run with what is still held.
  static func check() -> String? {
    for (address, item) in held {
      let found = mp_model_read(UnsafeRawPointer(bitPattern: address)!)
      if item.mark != 0, found != item.mark { return "\(Names.of(address)) has changed while somebody holds it" }
    }
    return nil
  }
}
