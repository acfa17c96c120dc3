/// A machine of many cores, by discrete events: what one core after the other does to words in cache lines, and when.
///
/// A line is at one core at a time, or at several that only read it. An access to a line that the core has takes
/// ``SimulatedCosts/hit``, another ``SimulatedCosts/transfer``; a line serves one access after the other, in the order in
/// which they were asked for. Everything else takes no time but what a program asks for. There is one thread a core, and
/// nothing is drawn by chance: the same programs take the same time.
///
/// Left out: a core that keeps a line for several accesses while others ask for it, distances between cores, caches that
/// are full, memory's own bandwidth, and a scheduler.
package struct SimulatedMachine<Program: SimulatedProgram> {
  package let costs: SimulatedCosts
  package private(set) var programs: [Program]
  /// Nanoseconds since the start.
  package private(set) var now = 0.0
  private var words: [UInt]
  private let wordsPerLine: Int
  private var lines: [Line]
  private var events = EventQueue()

  private struct Line {
    // Who has it for itself; -1: nobody, or several. owner ≥ 0 ⇒ readers is empty.
    var owner = -1
    var readers = CoreSet()
    // When the last access that was asked for is over.
    var freeAt = 0.0
  }

  package init(words: [UInt], wordsPerLine: Int = 1, costs: SimulatedCosts, programs: [Program]) {
    self.words = words
    self.wordsPerLine = wordsPerLine
    self.costs = costs
    self.programs = programs
    lines = [Line](repeating: Line(), count: (words.count + wordsPerLine - 1) / wordsPerLine)
    for core in programs.indices { events.push(.init(time: 0, core: core, action: .resume(0))) }
  }

  package func word(_ index: Int) -> UInt { words[index] }

  /// Goes on until `isOver` says so, which is asked after each step of a program, or until nothing is left to do.
  package mutating func run(until isOver: (SimulatedMachine) -> Bool) {
    while let event = events.pop() {
      now = event.time
      let found: UInt
      switch event.action {
      case .resume(let value): found = value
      case .access(let word, let access): found = apply(access, to: word)
      }
      switch programs[event.core].next(found, at: now) {
      case .end: break
      case .spend(let nanoseconds):
        events.push(.init(time: now + nanoseconds, core: event.core, action: .resume(found)))
      case .access(let word, let access):
        let end = reserve(word / wordsPerLine, for: event.core, isRead: access.isRead)
        events.push(.init(time: end, core: event.core, action: .access(word, access)))
      }
      if isOver(self) { return }
    }
  }

  /// When the access will be over; from now on the line is on its way to this core.
  private mutating func reserve(_ index: Int, for core: Int, isRead: Bool) -> Double {
    let start = max(now, lines[index].freeAt)
    let cost: Double
    if lines[index].owner == core {
      cost = isRead ? costs.load : costs.hit
    } else if isRead {
      // Others may be fetching a copy meanwhile: they do not take this one away.
      if lines[index].readers.contains(core) { return now + costs.load }
      cost = costs.transfer
      if lines[index].owner >= 0 { lines[index].readers.insert(lines[index].owner) }
      lines[index].owner = -1
      lines[index].readers.insert(core)
    } else {
      cost = costs.transfer
      lines[index].owner = core
      lines[index].readers = CoreSet()
    }
    lines[index].freeAt = start + cost
    return start + cost
  }

  private mutating func apply(_ access: SimulatedAccess, to word: Int) -> UInt {
    let found = words[word]
    switch access {
    case .load: break
    case .exchange(let value): words[word] = value
    case .and(let mask): words[word] = found & mask
    case .compareAndSwap(let expected, let desired): if found == expected { words[word] = desired }
    case .add(let value): words[word] = found &+ value
    }
    return found
  }
}

/// What a core does. Called when what it asked for last is over.
package protocol SimulatedProgram {
  /// - Parameter found: The value that the word had before the access.
  mutating func next(_ found: UInt, at now: Double) -> SimulatedStep
}

package enum SimulatedStep {
  /// Time in which the core touches nothing that is shared.
  case spend(Double)
  case access(Int, SimulatedAccess)
  /// The core stops.
  case end
}

package enum SimulatedAccess {
  case load
  case exchange(UInt)
  case and(UInt)
  case compareAndSwap(UInt, UInt)
  case add(UInt)

  var isRead: Bool { if case .load = self { true } else { false } }
}

/// Up to 256 cores.
struct CoreSet {
  private var words = SIMD4<UInt64>()

  func contains(_ core: Int) -> Bool { words[core >> 6] & 1 << UInt64(core & 63) != 0 }
  mutating func insert(_ core: Int) { words[core >> 6] |= 1 << UInt64(core & 63) }
}

/// What is to happen, the earliest first; of what is at the same time, what was asked for first.
struct EventQueue {
  enum Action {
    case resume(UInt)
    case access(Int, SimulatedAccess)
  }

  struct Event {
    var time: Double
    var core: Int
    var action: Action
    var order = 0
  }

  // A binary heap: no event is before its parent.
  private var heap: [Event] = []
  private var orders = 0

  private func isBefore(_ first: Int, _ second: Int) -> Bool {
    (heap[first].time, heap[first].order) < (heap[second].time, heap[second].order)
  }

  mutating func push(_ event: Event) {
    heap.append(event)
    orders += 1
    heap[heap.count - 1].order = orders
    var child = heap.count - 1
    while child > 0, isBefore(child, (child - 1) / 2) {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func pop() -> Event? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    guard !heap.isEmpty else { return first }
    heap[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) { least = child }
      if least == parent { return first }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
