import ModelMachine

/// A few threads that use one thing together, and what must hold when they are done.
struct Scenario: @unchecked Sendable {
  let name: String
  let summary: String
  /// What each thread does.
  let bodies: [() -> Void]
  /// Makes the thing that they use, in the machine's memory.
  let setUp: () -> Void
  /// What is wrong after a run; nil: nothing. Runs as thread 0.
  let check: () -> String?
  /// Deviations from "everybody goes on until he must wait, and reads the newest" that are explored exhaustively: each is a preemption, a
  /// stale value, a sleep cut short, or a thread stopped. In a test, and in a full run.
  var bound = 3
  var fullBound = 4
  /// Operations on shared words that a run takes at most: without progress it would take more.
  var steps = 2000
  /// A thread that may be stopped for ever anywhere, while all others must come to their end.
  var stoppable: Int?
  /// What is wrong in the middle of a run, between any two operations on shared words; nil: nothing. Reads as nobody, and what was written
  /// last. Of what ``check`` looks at, this is what holds although threads are under way.
  var always: (() -> String?)?
  /// What is wrong with a change of a watched word.
  var changed: ((_ thread: Int, _ address: UInt, _ before: UInt, _ after: UInt) -> String?)?

  /// The same, looked at in the middle of each run, too.
  func watched(by always: @escaping () -> String?, changed: ((Int, UInt, UInt, UInt) -> String?)? = nil) -> Scenario {
    var scenario = self
    scenario.always = always
    scenario.changed = changed
    return scenario
  }

  nonisolated(unsafe) private static var current = all[0]
  nonisolated(unsafe) private static var fault: String?

  /// Makes it the one that runs.
  func begin() {
    Scenario.current = self
    mp_machine_begin()
    Names.reset()
    HeapBench.isMade = false
    HeapBench.forgetCells()
    setUp()
    mp_machine_as(0)
    mp_machine_ready()
  }

  func settings(records: Bool = false) -> mp_run {
    mp_run(
      threads: Int32(bodies.count), steps: Int32(steps), stoppable: Int32(stoppable ?? -1), records: records ? 1 : 0,
      weak: 1, look: always == nil ? nil : { Scenario.fail(Scenario.current.always!()) },
      changed: changed == nil
        ? nil
        : { thread, address, before, after in
          Scenario.fail(Scenario.current.changed!(Int(thread), UInt(address), UInt(before), UInt(after)))
        })
  }

  private static func fail(_ what: String?) {
    if let what { mp_model_fail(what) }
  }

  /// One run; what is wrong with it, if anything.
  func run(_ settings: mp_run, _ chooser: Chooser) -> Outcome {
    Items.reset()
    mp_machine_is_new(chooser.beginsNew ? 1 : 0)
    var settings = settings
    let outcome = mp_machine_run(
      &settings, { thread in Scenario.current.bodies[Int(thread)]() },
      { context, point in
        Int32(Unmanaged<Chooser>.fromOpaque(context!).takeUnretainedValue().choose(point.pointee))
      }, Unmanaged.passUnretained(chooser).toOpaque())
    switch outcome {
    case MP_DONE:
      Scenario.fault = nil
      if mp_machine_guard({ Scenario.fault = Items.check() ?? Scenario.current.check() }) == MP_FAILED {
        return .failed(String(cString: mp_machine_failure()))
      }
      return Scenario.fault.map { .failed($0) } ?? .done
    case MP_GIVEN_UP: return .givenUp
    case MP_AGAIN: return .again
    default:
      let address = mp_machine_failure_address()
      let place = address == 0 ? "" : ": \(Names.of(UInt(address)))"
      return .failed(String(cString: mp_machine_failure()) + place)
    }
  }

  enum Outcome: Equatable {
    case done
    case givenUp
    case again
    case failed(String)
  }

  static let all =
    cellScenarios + bitmapScenarios + lockScenarios + heapScenarios + denseScenarios + spareScenarios
    + uncollectedScenarios + cacheScenarios + objectScenarios + segmentScenarios + guardScenarios + processScenarios
}

/// Who says what happens next in a run.
class Chooser {
  /// Whether no earlier run has begun like this. Else the chooser says from where on it is new.
  var beginsNew: Bool { true }

  func choose(_ point: mp_point) -> Int { 0 }
}

extension mp_point {
  func option(_ index: Int) -> mp_option {
    withUnsafeBytes(of: options) { $0.bindMemory(to: mp_option.self)[index] }
  }
}
