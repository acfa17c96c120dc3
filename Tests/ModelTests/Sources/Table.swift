import ModelMachine

/// What happened in a run, a line an event, a column a thread.
enum Table {
  static func print(_ threads: Int) {
    HeapBench.nameNewSlabs()
    let width = threads > 2 ? 30 : 40
    var header = "  "
    for thread in 0..<threads { header += pad("thread \(thread)", thread + 1 < threads ? width : 0) }
    Swift.print(header)
    for index in 0..<Int(mp_machine_event_count()) {
      let event = mp_machine_event(Int32(index)).pointee
      Swift.print("  " + pad("", width * Int(event.thread)) + text(event))
    }
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func text(_ event: mp_event) -> String {
    let place = Names.of(UInt(event.address))
    let found = Names.value(UInt(event.found)), operand = Names.value(UInt(event.operand))
    let order = ["", " (acquire)", " (release)", " (acquire-release)"][Int(event.order.rawValue)]
    switch event.operation {
    case MP_LOAD: return "\(place) is \(found)\(event.age > 0 ? ", \(event.age) older than the newest" : "")\(order)"
    case MP_STORE: return "\(place) := \(operand)\(order)"
    case MP_SWAP:
      if event.found != event.expected {
        return "\(place) is not \(Names.value(UInt(event.expected))) but \(found): no swap"
      }
      return "\(place): \(found) swapped for \(operand)\(order)"
    case MP_EXCHANGE: return "\(place): \(found) exchanged for \(operand)\(order)"
    case MP_AND: return "\(place) &= \(operand), was \(found)\(order)"
    case MP_OR: return "\(place) |= \(operand), was \(found)\(order)"
    case MP_ADD: return "\(place) += \(Int(bitPattern: UInt(event.operand))), was \(found)\(order)"
    case MP_FENCE: return event.address == 1 ? "full fence" : "acquire-release fence"
    case MP_PAUSE: return "pauses"
    case MP_SLEEP: return "sleeps"
    case MP_WAIT: return "waits on \(place) while it is \(Names.value(UInt(event.expected))), is \(found)"
    case MP_WAKE: return "wakes who waits on \(place)"
    default:
      let note = event.note.map { String(cString: $0) } ?? ""
      guard let mark = note.firstIndex(of: "%") else { return "— \(note)" }
      return "— " + note[..<mark] + Names.of(UInt(event.operand)) + note[note.index(after: mark)...]
    }
  }
}
